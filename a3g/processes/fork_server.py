"""The process from which a run's processes are forked: it has imported what all of them need, once for all.

Forking the launcher itself would hand its threads' locks, and one day a CUDA context, to children that can use neither.
The server has one thread and never touches CUDA. It ends with the launcher, and the processes forked from it end with it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing import forkserver, resource_tracker, util
from pathlib import Path
from typing import Any

import psutil

# What tells a run to stop: Ctrl-C, what schedulers send before they take the machine away, a terminal that is closed.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
TITLE = "a3g fork server"
# One process, one core: neither the server nor what is forked from it may make threads.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
# In the command line of a server that is still importing.
_STARTING = "multiprocessing.forkserver import main"
_SHARED_MEMORY = Path("/dev/shm")
_IS_USED = sys.platform == "linux"  # elsewhere it could not be told to end with the launcher


def start_fork_server() -> None:
    """Start the server if it isn't running; returns at once, while it imports.

    Raises:
        OSError: if that is impossible at present.
    """
    resource_tracker.ensure_running()  # first, since starting it unblocks signals
    if not _IS_USED:
        return
    forkserver.set_forkserver_preload(["a3g.processes.preload"])
    # Children inherit what is blocked, until they are ready for signals: only the launcher decides what those mean.
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        with _environment(PYTHONPATH=os.pathsep.join(filter(None, sys.path)), **ONE_THREAD), _socket_that_goes_with_us():
            forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)


def fork_server_is_starting() -> bool:
    """Whether the server runs, but is not ready yet."""
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if _STARTING in " ".join(child.cmdline()):
                return True
    return False


def process_context() -> Any:
    """What starts a run's processes, with torch's ways to hand tensors over."""
    from torch.multiprocessing import get_context

    return get_context("forkserver" if _IS_USED else "spawn")


def start_process(process: multiprocessing.process.BaseProcess) -> None:
    """
    Raises:
        OSError: if the process can't be started at present.
    """
    start_fork_server()
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        process.start()
    except EOFError as error:
        raise OSError("the fork server ended") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)


@contextlib.contextmanager
def _socket_that_goes_with_us() -> Iterator[None]:
    """Let the socket of a server that is started meanwhile lie where it is removed even if this process is killed.

    By default it lies in a folder under /tmp, which stays when this process is killed. What lies in /dev/shm can be made known
    to `multiprocessing`'s resource tracker, a process of its own, which removes it then.
    """
    if not os.access(_SHARED_MEMORY, os.W_OK):
        yield
        return
    settings: dict[str, Any] = multiprocessing.process.current_process()._config  # type: ignore[attr-defined]
    folder, before = settings.get("tempdir"), _socket()
    settings["tempdir"] = str(_SHARED_MEMORY)
    try:
        yield
    finally:
        settings["tempdir"] = folder
    socket = _socket()
    if socket is not None and socket != before:
        resource_tracker.register(f"/{socket.name}", "shared_memory")
        util.Finalize(None, _remove, args=(socket, os.getpid()), exitpriority=0)


def _socket() -> Path | None:
    """The server's socket, if it lies in shared memory."""
    address = forkserver._forkserver._forkserver_address  # type: ignore[attr-defined]
    return Path(address) if address and Path(address).parent == _SHARED_MEMORY else None


def _remove(socket: Path, owner: int) -> None:
    if os.getpid() == owner:
        socket.unlink(missing_ok=True)
        resource_tracker.unregister(f"/{socket.name}", "shared_memory")


@contextlib.contextmanager
def _environment(**values: str) -> Any:
    """Environment variables for what is started meanwhile."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
