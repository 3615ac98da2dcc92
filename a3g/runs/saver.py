"""Saves a run while it goes on, and watches that what it saves is sound."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from a3g.config import TrainConfig
from a3g.files import temporary_path
from a3g.reporting.status import SavingStatus
from a3g.runs.barrier import CheckpointBarrier
from a3g.runs.checkpoint import save_checkpoint
from a3g.runs.paths import BEST_NAME, adopt_leaving, checkpoint_path, next_number, prune, worker_path
from a3g.runs.progress import Progress
from a3g.runs.snapshot import Snapshot

# After a failure, such as a full disk, saving is tried again this soon.
RETRY_SECONDS = 10.0
HEALTH_SECONDS = 2.0
# An update takes milliseconds; whoever is inside the barrier longer hangs, and the copy is made all the same. A single
# worker passes the barrier with a whole rollout: it has as long as it may be silent.
BARRIER_PATIENCE_SECONDS = 2.0
# A checkpoint is written in less than a second; a disk that has not taken it after so long hangs, and a run has to end.
WRITER_PATIENCE_SECONDS = 30.0


class Saver:
    """Takes checkpoints in three steps, so that the launcher never waits: the barrier is raised, the copy is made when all
    workers are outside, and a thread writes it to the disk."""

    def __init__(
        self,
        folder: Path,
        config: TrainConfig,
        snapshot: Snapshot,
        barrier: CheckpointBarrier,
        progress: Callable[[], Progress],
        on_restored: Callable[[], None],
        stopping: Callable[[], bool],
        worker_beats: Callable[[], int],
        say: Callable[[str], None],
        now: float,
        resumed_from: Path | None = None,
        saved_at: float = 0.0,
        has_workers: bool = True,
    ) -> None:
        """
        Args:
            folder: the run's.
            config: the run's settings, written into every checkpoint.
            snapshot: of all that the processes share.
            barrier: before the shared model.
            progress: gives the counters as they stand.
            on_restored: called when the shared model was damaged and has been restored from the last snapshot.
            stopping: whether the workers have been told to stop.
            worker_beats: counts the first worker's signs of life.
            say: called with sentences for people.
            now: a monotonic clock, in seconds, as in `poll`.
            resumed_from: checkpoint that workers may still be about to read.
            saved_at: when the newest checkpoint was written, in seconds since 1970.
            has_workers: whether workers on this machine leave their own state for the checkpoints.
        """
        self._folder, self._config, self._snapshot, self._barrier = folder, config, snapshot, barrier
        self._progress, self._stopping, self._worker_beats, self._say = progress, stopping, worker_beats, say
        self._on_restored, self._resumed_from = on_restored, resumed_from
        self._expects_part = has_workers and config.workers == 1
        self._snapshot_steps = self._steps()
        self._next = now + config.checkpoint_interval
        self._next_health = now + HEALTH_SECONDS
        self._number = 0
        self._held_since: float | None = None
        self._writer: threading.Thread | None = None
        self._failure: str | None = None
        self._bytes = 0
        self._saved_at = saved_at
        self._pause = 0.0
        self.trouble = ""
        """Why nothing can be saved at present; empty if it can."""

    @property
    def is_urgent(self) -> bool:
        """Whether workers may be waiting, so that `poll` should be called again at once."""
        return self._held_since is not None

    def status(self) -> SavingStatus:
        return SavingStatus(self._saved_at, self._bytes, 1e3 * max(self._pause, self._barrier.longest_wait), self.trouble)

    def poll(self, now: float) -> None:
        """Do what is due; returns soon."""
        if now >= self._next_health:
            self.check_health(now)
        if self._writer is not None:
            if self._writer.is_alive():
                return
            self._finish_writing(now)
        if self._held_since is None and now >= self._next and self._steps() != self._snapshot_steps:
            self._count_up()
            self._barrier.hold(self._number)
            self._held_since = now
        if self._held_since is not None:
            empty = self._barrier.is_clear
            if empty or now - self._held_since > self._part_timeout:
                if not empty:
                    self._say("a worker did not pause for the checkpoint; it may hold a part of that worker's update")
                self._take()
                # A single worker's part comes first, so that whatever the newest checkpoint is, it is exact.
                part = self._expect_part() if empty and self._expects_part else None
                self._barrier.release()
                self._held_since = None
                arguments = (self._number, self._progress(), part)
                self._writer = threading.Thread(target=self._write, args=arguments, daemon=True)
                self._writer.start()

    def check_health(self, now: float) -> bool:
        """See that the shared model and optimizer are sound, and take them back to the last snapshot if not.

        Returns:
            whether they had to be restored
        """
        self._next_health = now + HEALTH_SECONDS
        if self._snapshot.source_is_sound:
            return False
        was_closed = self._held_since is not None
        self._barrier.hold()
        deadline = time.monotonic() + BARRIER_PATIENCE_SECONDS
        while not self._barrier.is_clear and time.monotonic() < deadline:
            time.sleep(0.001)
        self._snapshot.restore()
        if not was_closed:
            self._barrier.release()
        self._on_restored()
        lost = self._steps() - self._snapshot_steps
        self._say(
            "the shared weights or the optimizer's state were damaged (not finite, or far too large): restored from the last "
            f"checkpoint, {lost:,} agent steps ago"
        )
        return True

    def save_at_once(self) -> None:
        """Save while no worker runs: before they start, or after they have ended."""
        self._barrier.release()
        self._held_since = None
        if self._writer is not None:
            self._writer.join(WRITER_PATIENCE_SECONDS)
            if self._writer.is_alive():
                self._failure = f"the disk has not taken the last one within {WRITER_PATIENCE_SECONDS:g} s"
                self._note_written(time.monotonic())
                return
            self._finish_writing(time.monotonic())
        self._take()
        self._count_up()
        try:
            adopt_leaving(self._folder, checkpoint_path(self._folder, self._number), self._config.workers)
        except OSError as error:
            self._say(f"could not keep the workers' games: {error}")
        self._write(self._number, self._progress())
        self._note_written(time.monotonic())

    def end_without_saving(self) -> None:
        """Let the checkpoint under way be finished; what came after it is not worth keeping."""
        self._barrier.release()
        self._held_since = None
        if self._writer is not None:
            self._writer.join(WRITER_PATIENCE_SECONDS)

    def save_the_end(self) -> bool:
        """Save for the last time; returns whether that was possible."""
        self.save_at_once()
        if self.trouble:
            self._say(f"the run's end could not be saved, what there is ends with the checkpoint before: {self.trouble}")
        return not self.trouble

    @property
    def _part_timeout(self) -> float:
        config = self._config
        return BARRIER_PATIENCE_SECONDS if config.workers > 1 else max(BARRIER_PATIENCE_SECONDS, config.heartbeat_timeout)

    def _expect_part(self) -> _Part:
        return _Part(worker_path(checkpoint_path(self._folder, self._number), 0), self._worker_beats, self._stopping)

    def _steps(self) -> int:
        return self._progress().agent_steps

    def _count_up(self) -> None:
        """A number that no checkpoint and no worker's part has had, even if that of the last could not be written."""
        self._number += 1
        with contextlib.suppress(OSError):
            self._number = max(next_number(self._folder), self._number)

    def _take(self) -> None:
        """Copy what the processes share, unless it is damaged."""
        began = time.monotonic()
        if not self._snapshot.take():
            self.check_health(began)
            self._snapshot.take()
        self._snapshot_steps = self._steps()
        self._pause = time.monotonic() - began

    def _write(self, number: int, progress: Progress, part: _Part | None = None) -> None:
        """In a thread of its own: a slow disk must not keep the launcher from its other duties."""
        self._failure = None
        try:
            best = _read_if_there(self._folder / BEST_NAME)
            path = checkpoint_path(self._folder, number)
            if part is not None and not part.wait(self._part_timeout):
                return
            self._bytes = save_checkpoint(path, self._snapshot.tensors, progress, self._config, best)
            self._saved_at = time.time()
            prune(self._folder, self._config.keep_checkpoints, self._resumed_from)
        except Exception as error:  # whatever it is, training goes on and the launcher says it
            self._failure = getattr(error, "strerror", None) or str(error) or type(error).__name__
            with contextlib.suppress(OSError):  # workers' parts of a checkpoint that is none
                prune(self._folder)

    def _finish_writing(self, now: float) -> None:
        assert self._writer is not None
        self._writer.join()
        self._writer = None
        self._note_written(now)

    def _note_written(self, now: float) -> None:
        interval = self._config.checkpoint_interval
        if self._failure is None:
            if self.trouble:
                self._say("checkpoints can be saved again")
            self._next = now + interval
        else:
            if self._failure != self.trouble and not self._stopping():
                self._say(f"could not save a checkpoint, training goes on: {self._failure}")
            self._next = now + min(interval, RETRY_SECONDS)
        self.trouble = self._failure or ""


class _Part:
    """A single worker's part of a checkpoint, expected. Made while the worker is outside the barrier."""

    def __init__(self, path: Path, beats: Callable[[], int], stopping: Callable[[], bool]) -> None:
        self._path, self._count_beats, self._stopping = path, beats, stopping
        self._beats = beats()

    def wait(self, seconds: float) -> bool:
        """Wait until the part is there, or `seconds` seconds: a worker that is dead or hangs keeps no checkpoint.

        Returns:
            False if the run stops before: the worker leaves its state for the checkpoint of the end

        Raises:
            OSError: if the worker has gone on without having written it, as on a full disk.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            has_gone_on = self._count_beats() != self._beats  # first: what it writes comes before it goes on
            if self._path.exists():
                return True
            if has_gone_on:
                raise OSError(f"the worker could not save its games{_why_not(self._path.parent)}")
            if self._stopping():
                return False
            time.sleep(0.01)
        return True


def _why_not(folder: Path) -> str:
    """Why nothing can be written into a folder, by trying it; empty if it can."""
    path = temporary_path(folder / "probe")
    try:
        with path.open("wb") as file:
            file.write(bytes(1 << 20))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return f": {error.strerror}"
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
    return ""


def _read_if_there(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
