"""A lock on a folder that holds between the processes of one machine and between machines that share the folder.

On one machine the kernel's lock on the folder says who holds it (flock(2)), and releases it however its holder ends. A network
file system has no such lock on folders, and its locks on files depend on how each machine mounted it. There a lease decides: a
file in the folder, which its holder changes every `RENEW_SECONDS`. Who finds a lease of another machine watches it: if it
changes, the folder is in use; if it has not changed for `STALE_SECONDS`, its holder is taken for dead. No two machines' clocks
are compared, nor times that a file server gives files.

Leases are numbered. Whoever takes the folder makes the lease with the next number, which only one process can: link(2) is
atomic on network file systems too, which open(2) recommends for locks. The one with the highest number holds the folder. A
holder that was silent for long and finds a higher number than its own has lost the folder. The last lease stays, so that
numbers only grow.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

RENEW_SECONDS = 10.0
# As long as most network file systems may keep what they know of a file, twice over, and six renewals.
STALE_SECONDS = 60.0
_WATCH_SECONDS = 0.5
# Nobody waits longer for a file server that is away.
_PATIENCE_SECONDS = 1.0
_LEASE = re.compile(r"\.lease-(\d{6,})")
# Written over in place, so that a renewal needs no room on the disk.
_LEASE_BYTES = 1024
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PID_NAMESPACE = Path("/proc/self/ns/pid")


class FolderInUseError(Exception):
    """Another process holds the folder; says which."""


@dataclass(frozen=True)
class Holder:
    """A process that holds a folder, as its lease says."""

    host: str
    boot: str
    """Of the kernel it runs on: differs between machines, and after every boot."""
    namespace: str
    """In which its number is valid; a container has its own."""
    pid: int
    started: int
    """Ticks from the boot to its start; tells processes apart that had the same number."""
    key: str
    """Random."""

    @classmethod
    def this_process(cls) -> Holder:
        pid = os.getpid()
        return cls(socket.gethostname(), _boot(), _namespace(), pid, _started(pid) or 0, secrets.token_hex(8))

    def is_alive(self) -> bool | None:
        """Whether it runs; None if that can't be seen from here."""
        if not self.boot or self.boot != _boot() or not self.namespace or self.namespace != _namespace():
            return None
        return _started(self.pid) == self.started

    def __str__(self) -> str:
        return "another process" if self.boot == _boot() else f"process {self.pid} on {self.host}"


class FolderLock:
    """A folder held by this process, from the making of this object until `release`, or until the process ends."""

    def __init__(
        self,
        folder: Path,
        say: Callable[[str], None] = lambda text: None,
        renew_seconds: float = RENEW_SECONDS,
        stale_seconds: float = STALE_SECONDS,
    ) -> None:
        """Take the folder. This may take `stale_seconds` seconds, if a process of another machine has left a lease.

        Args:
            folder: has to be there.
            say: told when there is something to wait for.
            renew_seconds: from one renewal to the next.
            stale_seconds: a lease of another machine that has not changed for so long has no holder any more.

        Raises:
            FolderInUseError: if another process holds it.
            OSError: if the folder can't be opened, or a lease can't be made.
        """
        self._folder, self._renew_seconds, self._stale_seconds, self._say = folder, renew_seconds, stale_seconds, say
        self._holder, self._beats, self._number = Holder.this_process(), 0, 0
        self._is_new, self._is_lost, self._is_released = False, False, False
        self._checked_at, self._wake = _now(), threading.Event()
        self._descriptor = os.open(folder, os.O_RDONLY)
        try:
            self._take(_flock(self._descriptor))
        except BaseException:
            os.close(self._descriptor)
            raise
        self._thread = threading.Thread(target=self._renew_until_released, daemon=True)
        self._thread.start()

    @property
    def is_lost(self) -> bool:
        """Whether another machine has taken the folder, after this process was silent for long; it is not to write any more."""
        if not self._has_looked:  # this process was stopped: it has to look before it writes anything
            self._wake.set()
            deadline = time.monotonic() + _PATIENCE_SECONDS
            while not self._has_looked and not self._is_lost and time.monotonic() < deadline:
                time.sleep(0.01)
        return self._is_lost

    def release(self, leave_no_trace: bool = False) -> None:
        """Leave the folder to others.

        Args:
            leave_no_trace: also remove the lease, if the folder had none before: nothing has been done in it.
        """
        self._is_released = True
        self._wake.set()
        self._thread.join(_PATIENCE_SECONDS)
        if not self._is_lost:
            with contextlib.suppress(OSError):
                if leave_no_trace and self._is_new:
                    self._path.unlink()
                else:
                    self._write(released=True)
        os.close(self._descriptor)

    # -- taking

    def _take(self, has_kernel_lock: bool | None) -> None:
        while True:
            leases = _leases(self._folder)
            found = leases[-1][1] if leases else None
            content = _read(found) if found is not None else b""
            self._wait_for_its_end(found, content, has_kernel_lock)
            self._number = leases[-1][0] + 1 if leases else 1
            self._is_new = not leases
            try:
                if self._make_lease():
                    return
            except OSError:
                if not has_kernel_lock:
                    raise
                return  # a full disk; among this machine's processes the kernel's lock is enough until there is room

    def _wait_for_its_end(self, lease: Path | None, content: bytes, has_kernel_lock: bool | None) -> None:
        """Return when the holder that a lease names is known to be none any more.

        Raises:
            FolderInUseError: if it holds the folder.
        """
        holder, released = _parse(content)
        here = holder is None or holder.boot == _boot()
        if here and has_kernel_lock is False:
            raise FolderInUseError("another process")
        if lease is None or released or (here and holder is not None and has_kernel_lock):
            return  # nobody's, or a process of this kernel's that has let its lock go
        alive = holder.is_alive() if holder is not None else None
        if alive is not None:
            if alive:
                raise FolderInUseError(str(holder))
            return
        name = str(holder) if holder is not None else "another process"
        self._say(f"{name} had {self._folder}: looks for up to {self._stale_seconds:g} s whether it still does")
        deadline = time.monotonic() + self._stale_seconds
        while time.monotonic() < deadline:
            time.sleep(min(_WATCH_SECONDS, self._renew_seconds))
            if _read(lease) != content:
                if _parse(_read(lease))[1] or not lease.exists():  # it has just ended, or somebody else was faster
                    return
                raise FolderInUseError(name)

    def _make_lease(self) -> bool:
        """Make the lease with this process's number; returns whether it is the highest, which only one process's is."""
        temporary = self._folder / f".lease-{self._holder.key}.{os.getpid()}.tmp"
        try:
            with temporary.open("wb") as file:
                file.write(self._content(released=False))
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(temporary, self._path)
            # A reply that was lost on the network looks like a failure: the number of links says what happened.
            if temporary.stat().st_nlink != 2:
                return False
        finally:
            temporary.unlink(missing_ok=True)
        leases = _leases(self._folder)
        if not leases or leases[-1][0] != self._number:
            self._path.unlink(missing_ok=True)
            return False
        for number, path in leases:
            if number < self._number:
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not every file system takes it
            os.fsync(self._descriptor)
        return True

    # -- holding

    def _renew_until_released(self) -> None:
        """A thread of its own: a file server that is away must keep nobody but it waiting."""
        while not self._is_lost:
            self._wake.wait(self._renew_seconds)
            self._wake.clear()
            if self._is_released:
                return
            with contextlib.suppress(OSError):  # a full disk, a server that is away: tried again
                self._renew()
            self._checked_at = _now()

    def _renew(self) -> None:
        try:
            self._write(released=False)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESTALE):
                raise
            if not self._is_followed():
                self._make_lease()  # somebody has removed it
        self._is_lost = self._is_followed()

    @property
    def _has_looked(self) -> bool:
        """Whether it was seen not long ago that nobody has taken the folder."""
        return _now() - self._checked_at <= 2 * self._renew_seconds

    def _is_followed(self) -> bool:
        leases = _leases(self._folder)
        return bool(leases) and leases[-1][0] > self._number

    def _write(self, released: bool) -> None:
        """Write over this process's lease, if it is still there."""
        self._beats += 1
        descriptor = os.open(self._path, os.O_WRONLY)
        try:
            os.pwrite(descriptor, self._content(released), 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _content(self, released: bool) -> bytes:
        text = json.dumps({"holder": asdict(self._holder), "beats": self._beats, "released": released})
        return text.encode().ljust(_LEASE_BYTES)

    @property
    def _path(self) -> Path:
        return self._folder / f".lease-{self._number:06}"


def _flock(descriptor: int) -> bool | None:
    """Take the kernel's lock on a folder; None where its file system has none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _leases(folder: Path) -> list[tuple[int, Path]]:
    """With their numbers, the lowest first."""
    found = [(int(match[1]), folder / name) for name in os.listdir(folder) if (match := _LEASE.fullmatch(name))]  # noqa: PTH208
    return sorted(found)


def _read(lease: Path) -> bytes:
    """Opening a file anew is what makes a network file system ask its server; empty if it isn't there."""
    try:
        return lease.read_bytes()
    except FileNotFoundError:
        return b""


def _parse(content: bytes) -> tuple[Holder | None, bool]:
    """The holder that a lease names, None if it is damaged or empty, and whether it has released the folder."""
    try:
        values = json.loads(content)
        return Holder(**values["holder"]), bool(values["released"])
    except (ValueError, TypeError, KeyError):
        return None, False


def _started(pid: int) -> int | None:
    """When a process was started, in ticks from the boot, see proc(5); None if there is none of this number."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def _boot() -> str:
    with contextlib.suppress(OSError):
        return _BOOT_ID.read_text().strip()
    return ""


def _namespace() -> str:
    with contextlib.suppress(OSError):
        return str(_PID_NAMESPACE.readlink())
    return ""


def _now() -> float:
    """Seconds, those included in which the machine was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
