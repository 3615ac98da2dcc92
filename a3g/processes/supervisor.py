"""Keeps the processes of a run alive: restarts what dies, gives up on what keeps dying."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess

# A process that died this often in a row, each time within QUICK_DEATH_SECONDS, will not get better.
MAX_QUICK_DEATHS = 3
QUICK_DEATH_SECONDS = 60.0
STOP_PATIENCE_SECONDS = 15.0


@dataclass
class Child:
    """A process of the run and how to start it again."""

    title: str
    start: Callable[[int], BaseProcess]
    """Called with the number of restarts so far."""
    process: BaseProcess | None = None
    started_at: float = 0.0
    restarts: int = 0
    quick_deaths: int = 0
    finished: bool = False
    """It ended by itself, with exit code 0."""


@dataclass
class Supervisor:
    """Starts the children, notices their ends, stops them all."""

    children: list[Child]
    messages: list[str] = field(default_factory=list)
    """What happened, for people."""

    @property
    def restarts(self) -> int:
        return sum(child.restarts for child in self.children)

    def start(self, now: float) -> None:
        for child in self.children:
            self._start(child, now)

    def check(self, now: float) -> str | None:
        """Restart what died since the last call.

        Args:
            now: a monotonic clock, in seconds.

        Returns:
            why the run can't go on, or None
        """
        for child in self.children:
            if child.finished or child.process is None or child.process.is_alive():
                continue
            if child.process.exitcode == 0:
                child.finished = True
                continue
            cause = describe_exit(child.process.exitcode)
            child.quick_deaths = child.quick_deaths + 1 if now - child.started_at < QUICK_DEATH_SECONDS else 1
            if child.quick_deaths >= MAX_QUICK_DEATHS:
                return f"{child.title} died {child.quick_deaths} times in a row, at last by {cause}"
            child.restarts += 1
            self.messages.append(f"{child.title} died by {cause}; started again")
            self._start(child, now)
        return None

    def all_finished(self, titles: str) -> bool:
        """Whether every child whose title begins with `titles` has ended by itself."""
        return all(child.finished for child in self.children if child.title.startswith(titles))

    def join(self) -> None:
        """Wait for children that were told to stop; kill those that don't within STOP_PATIENCE_SECONDS."""
        deadline = time.monotonic() + STOP_PATIENCE_SECONDS
        for child in self.children:
            if child.process is None:
                continue
            child.process.join(max(deadline - time.monotonic(), 0.0))
            if child.process.is_alive():
                self.messages.append(f"{child.title} did not stop within {STOP_PATIENCE_SECONDS:.0f} s and was killed")
                child.process.kill()
                child.process.join()

    def _start(self, child: Child, now: float) -> None:
        child.process = child.start(child.restarts)
        child.started_at = now


def describe_exit(exit_code: int | None) -> str:
    """An exit code in words; a negative one is a signal."""
    if exit_code is None or exit_code >= 0:
        return f"exit code {exit_code}"
    name = signal.Signals(-exit_code).name
    return f"{name} (out of memory?)" if name == "SIGKILL" else name
