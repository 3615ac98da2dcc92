"""Saves a run while it goes on, and watches that what it saves is sound."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

from a3g.processes.books import Run
from a3g.processes.checkpoint import Progress, adopt_leaving, checkpoint_path, next_number, prune, save_checkpoint, worker_path
from a3g.processes.snapshot import Snapshot, is_sound
from a3g.processes.tester import BEST_NAME
from a3g.reporting.status import SavingStatus

# After a failure, such as a full disk, saving is tried again this soon.
RETRY_SECONDS = 10.0
HEALTH_SECONDS = 2.0
# An update takes milliseconds; whoever is inside the gate longer hangs, and the copy is made all the same. A single
# worker passes the gate with a whole rollout: it has as long as it may be silent.
GATE_PATIENCE_SECONDS = 2.0
# A checkpoint is written in less than a second; a disk that has not taken it after so long hangs, and a run has to end.
WRITER_PATIENCE_SECONDS = 30.0


class Saver:
    """Takes checkpoints in three steps, so that the launcher never waits: the gate closes, the copy is made when all
    workers are outside, and a thread writes it to the disk."""

    def __init__(self, run: Run, progress: Callable[[], Progress], say: Callable[[str], None], now: float) -> None:
        """
        Args:
            run: what to save.
            progress: gives the counters as they stand.
            say: called with sentences for people.
            now: a monotonic clock, in seconds, as in `poll`.
        """
        self._run, self._progress, self._say = run, progress, say
        self._gate = run.counters.gate
        self._snapshot = Snapshot(run.shared, run.board, run.counters)
        self._snapshot_steps = self._steps()
        self._next = now + run.config.checkpoint_interval
        self._next_health = now + HEALTH_SECONDS
        self._number = 0
        self._closed_at: float | None = None
        self._writer: threading.Thread | None = None
        self._failure: str | None = None
        self._bytes = 0
        self._saved_at = run.earlier.saved_at
        self._pause = 0.0
        self.trouble = ""
        """Why nothing can be saved at present; empty if it can."""
        self.restored = 0
        """How often the shared model was damaged and taken back."""

    @property
    def is_urgent(self) -> bool:
        """Whether workers may be waiting, so that `poll` should be called again at once."""
        return self._closed_at is not None

    def status(self) -> SavingStatus:
        return SavingStatus(self._saved_at, self._bytes, 1e3 * max(self._pause, self._gate.longest_wait), self.trouble)

    def poll(self, now: float) -> None:
        """Do what is due; returns soon."""
        if now >= self._next_health:
            self.check_health(now)
        if self._writer is not None:
            if self._writer.is_alive():
                return
            self._finish_writing(now)
        if self._closed_at is None and now >= self._next and self._steps() != self._snapshot_steps:
            self._count_up()
            self._gate.close(self._number)
            self._closed_at = now
        if self._closed_at is not None:
            empty = self._gate.is_empty
            if empty or now - self._closed_at > self._patience:
                if not empty:
                    self._say("a worker did not pause for the checkpoint; it may hold a part of that worker's update")
                self._take()
                # A single worker's part comes first, so that whatever the newest checkpoint is, it is exact.
                part = _Part(self._run, self._number) if empty and self._run.config.workers == 1 else None
                self._gate.open()
                self._closed_at = None
                arguments = (self._number, self._progress(), part)
                self._writer = threading.Thread(target=self._write, args=arguments, daemon=True)
                self._writer.start()

    def check_health(self, now: float) -> bool:
        """See that the shared model and optimizer are sound, and take them back to the last snapshot if not.

        Returns:
            whether they had to be taken back
        """
        self._next_health = now + HEALTH_SECONDS
        if is_sound(self._run.shared):
            return False
        was_closed = self._closed_at is not None
        self._gate.close()
        deadline = time.monotonic() + GATE_PATIENCE_SECONDS
        while not self._gate.is_empty and time.monotonic() < deadline:
            time.sleep(0.001)
        self._snapshot.put_back()
        if not was_closed:
            self._gate.open()
        self.restored += 1
        lost = self._steps() - self._snapshot_steps
        self._say(
            "the shared weights or the optimizer's state were damaged (not finite): taken back to the last checkpoint, "
            f"{lost:,} agent steps ago"
        )
        return True

    def save_at_once(self) -> None:
        """Save while no worker runs: before they start, or after they have ended."""
        self._gate.open()
        self._closed_at = None
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
            adopt_leaving(self._run.folder, checkpoint_path(self._run.folder, self._number), self._run.config.workers)
        except OSError as error:
            self._say(f"could not keep the workers' games: {error}")
        self._write(self._number, self._progress())
        self._note_written(time.monotonic())

    def save_the_end(self) -> bool:
        """Save for the last time; returns whether that was possible."""
        self.save_at_once()
        if self.trouble:
            self._say(f"the run's end could not be saved, what there is ends with the checkpoint before: {self.trouble}")
        return not self.trouble

    @property
    def _patience(self) -> float:
        config = self._run.config
        return GATE_PATIENCE_SECONDS if config.workers > 1 else max(GATE_PATIENCE_SECONDS, config.heartbeat_timeout)

    def _steps(self) -> int:
        return self._progress().agent_steps

    def _count_up(self) -> None:
        """A number that no checkpoint and no worker's part has had, even if that of the last could not be written."""
        self._number += 1
        with contextlib.suppress(OSError):
            self._number = max(next_number(self._run.folder), self._number)

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
        run, self._failure = self._run, None
        try:
            best = _read_if_there(run.folder / BEST_NAME)
            path = checkpoint_path(run.folder, number)
            if part is not None and not part.wait(self._patience):
                return
            self._bytes = save_checkpoint(path, self._snapshot.tensors, progress, run.config, best)
            self._saved_at = time.time()
            prune(run.folder, run.config.keep_checkpoints, run.resumed_from)
        except Exception as error:  # whatever it is, training goes on and the launcher says it
            self._failure = str(error) or type(error).__name__
            with contextlib.suppress(OSError):  # workers' parts of a checkpoint that is none
                prune(run.folder)

    def _finish_writing(self, now: float) -> None:
        assert self._writer is not None
        self._writer.join()
        self._writer = None
        self._note_written(now)

    def _note_written(self, now: float) -> None:
        interval = self._run.config.checkpoint_interval
        if self._failure is None:
            if self.trouble:
                self._say("checkpoints can be saved again")
            self._next = now + interval
        else:
            if self._failure != self.trouble and not self._run.counters.stop:
                self._say(f"could not save a checkpoint, training goes on: {self._failure}")
            self._next = now + min(interval, RETRY_SECONDS)
        self.trouble = self._failure or ""


class _Part:
    """A single worker's part of a checkpoint, expected. Made while the worker is outside the gate."""

    def __init__(self, run: Run, number: int) -> None:
        self._counters = run.counters
        self._path = worker_path(checkpoint_path(run.folder, number), 0)
        self._beats = run.counters.heartbeats.count(0)

    def wait(self, patience: float) -> bool:
        """Wait until the part is there, or `patience` seconds: a worker that is dead or hangs keeps no checkpoint.

        Returns:
            False if the run stops before: the worker leaves its state for the checkpoint of the end

        Raises:
            OSError: if the worker has gone on without having written it, as on a full disk.
        """
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            goes_on = self._counters.heartbeats.count(0) != self._beats  # first: what it writes comes before it goes on
            if self._path.exists():
                return True
            if goes_on:
                raise OSError("the worker went on without having saved its games")
            if self._counters.stop:
                return False
            time.sleep(0.01)
        return True


def _read_if_there(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
