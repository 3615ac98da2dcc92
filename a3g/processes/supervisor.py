"""Keeps the processes of a run alive: restarts what dies or falls silent, gives up on what keeps dying."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil

from a3g.processes.heartbeat import Pulse

# What died this often in a row without having done anything will not get better.
MAX_FRUITLESS_DEATHS = 3
# Nor will what died so often in a row, each time within QUICK_DEATH_SECONDS; between those deaths it is given more and
# more time, from one second to LONGEST_DELAY_SECONDS.
MAX_QUICK_DEATHS = 10
QUICK_DEATH_SECONDS = 60.0
LONGEST_DELAY_SECONDS = 60.0
# A silent process that has not wanted to compute for so long hangs.
IDLE_SECONDS = 1.0
KILL_SECONDS = 5.0
# What could not even be started is tried again this soon.
RETRY_SECONDS = 10.0
# A run told to stop has ten seconds for everything: these for its processes, the rest for the checkpoint.
STOP_PATIENCE_SECONDS = 6.0
# And these for those that had to be killed to be gone.
STOP_KILL_SECONDS = 2.0


def count_oom_kills() -> int | None:
    """How many processes this machine's kernel has killed for want of memory since it started; None if it doesn't tell."""
    try:
        for line in Path("/proc/vmstat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    except OSError:
        pass
    return None


@dataclass
class Silence:
    """What a process has done since it was silent for too long."""

    used: float
    """Its processor time then, in seconds."""
    idle_since: float
    """When it last wanted to compute, on the clock of `check`."""


@dataclass
class Child:
    """A process of the run and how to start it again."""

    title: str
    start: Callable[[int], BaseProcess]
    """Called with the number of restarts so far."""
    pulse: Pulse
    work: Callable[[], int]
    """How much the process, and those before it in its place, have done."""
    patience: float = 1.0
    """How many times as long as others it may be silent."""
    on_death: Callable[[BaseProcess], bool] = lambda process: False
    """Called after each death; returns whether it was not the process's own fault."""
    process: BaseProcess | None = None
    """None while it waits to be started again."""
    started_at: float = 0.0
    work_at_start: int = 0
    due_at: float = 0.0
    """When it is to be started, on the clock of `check`."""
    restarts: int = 0
    fruitless_deaths: int = 0
    quick_deaths: int = 0
    silence: Silence | None = None
    finished: bool = False
    """It ended by itself, with exit code 0."""


@dataclass
class Supervisor:
    """Starts the children, notices their ends, stops them all."""

    children: list[Child]
    heartbeat_timeout: float
    """Seconds without a heartbeat after which a process is killed."""
    on_restart: Callable[[], None] = lambda: None
    """Called for each process that died and will be started again."""
    messages: list[str] = field(default_factory=list)
    """What happened, for people."""
    _oom_kills: int | None = field(default_factory=count_oom_kills)

    def start(self, now: float) -> None:
        for child in self.children:
            self._start(child, now)

    def check(self, now: float) -> str | None:
        """Restart what has died or fallen silent since the last call.

        Args:
            now: a monotonic clock, in seconds.

        Returns:
            why the run can't go on, or None
        """
        for child in self.children:
            if child.finished:
                continue
            if child.process is None:
                if now >= child.due_at:
                    self._start(child, now)
                continue
            silent = child.pulse.silent_too_long(now, child.patience * self.heartbeat_timeout)
            if not silent:
                child.silence = None
            if child.process.is_alive() and not (silent and self._hangs(child, now)):
                continue
            if child.process.is_alive():
                child.process.kill()
                child.process.join(KILL_SECONDS)  # not for ever: it may be waiting for a disk that is gone
                cause = f"being silent for {child.patience * self.heartbeat_timeout:g} s or longer, and was killed"
            elif child.process.exitcode == 0:
                child.finished = True
                continue
            else:
                cause = self._describe_end(child.process.exitcode)
            trouble = self._bury(child, cause, now)
            if trouble is not None:
                return trouble
        return None

    def all_finished(self, titles: str) -> bool:
        """Whether every child whose title begins with `titles` has ended by itself."""
        return all(child.finished for child in self.children if child.title.startswith(titles))

    def join(self) -> bool:
        """Wait for children that were told to stop; kill those that don't within STOP_PATIENCE_SECONDS.

        Returns:
            whether all have ended; what waits for a disk that is gone doesn't even when killed
        """
        deadline = time.monotonic() + STOP_PATIENCE_SECONDS
        killed = []
        for child in self.children:
            if child.process is None:
                continue
            child.process.join(max(deadline - time.monotonic(), 0.0))
            if child.process.is_alive():
                self.messages.append(f"{child.title} did not stop within {STOP_PATIENCE_SECONDS:.0f} s and was killed")
                child.process.kill()
                killed.append((child.title, child.process))
        deadline = time.monotonic() + STOP_KILL_SECONDS
        for title, process in killed:
            process.join(max(deadline - time.monotonic(), 0.0))
            if process.is_alive():
                self.messages.append(f"{title} could not even be killed (does it wait for a disk that is gone?); left alone")
        return not any(process.is_alive() for _, process in killed)

    def _hangs(self, child: Child, now: float) -> bool:
        """Whether a silent process hangs, and does not just wait for a processor on a machine that is busy with others.

        What is stopped or asleep hangs; what wants to compute does when it has had `heartbeat_timeout` seconds for it.
        """
        assert child.process is not None
        try:
            process = psutil.Process(child.process.pid)
            computing, times = process.status() == psutil.STATUS_RUNNING, process.cpu_times()
        except psutil.Error:
            return True  # it is just ending
        used = times.user + times.system
        if child.silence is None:
            child.silence = Silence(used, now)
        if computing:
            child.silence.idle_since = now
        return now - child.silence.idle_since >= IDLE_SECONDS or used - child.silence.used >= self.heartbeat_timeout

    def _bury(self, child: Child, cause: str, now: float) -> str | None:
        """Enter a death into the books, and when the child starts again; returns why it does not."""
        assert child.process is not None
        process, child.process, child.silence = child.process, None, None
        excused = child.on_death(process)
        child.quick_deaths = child.quick_deaths + 1 if now - child.started_at < QUICK_DEATH_SECONDS else 1
        child.fruitless_deaths = 0 if excused or child.work() != child.work_at_start else child.fruitless_deaths + 1
        if child.fruitless_deaths >= MAX_FRUITLESS_DEATHS:
            return f"{child.title} died {child.fruitless_deaths} times in a row, at last by {cause}"
        if child.quick_deaths >= MAX_QUICK_DEATHS:
            return (
                f"{child.title} died {child.quick_deaths} times in a row, each time within {QUICK_DEATH_SECONDS:.0f} s, "
                f"at last by {cause}"
            )
        delay = backoff(child.quick_deaths)
        child.due_at = now + delay
        child.restarts += 1
        self.on_restart()
        self.messages.append(f"{child.title} died by {cause}; started again" + (f" in {delay:.0f} s" if delay else ""))
        return None

    def _start(self, child: Child, now: float) -> None:
        try:
            child.process = child.start(child.restarts)
        except OSError as error:  # no memory left for it at present, say
            child.due_at = now + RETRY_SECONDS
            self.messages.append(f"{child.title} could not be started: {error}; tried again in {RETRY_SECONDS:.0f} s")
        child.started_at, child.work_at_start = now, child.work()
        child.pulse.restart(now)

    def _describe_end(self, exit_code: int | None) -> str:
        before, self._oom_kills = self._oom_kills, count_oom_kills()
        unknown = before is None or self._oom_kills is None
        return describe_exit(exit_code, None if unknown else self._oom_kills != before)


def backoff(deaths: int) -> float:
    """Seconds to wait after so many quick deaths in a row: none after the first."""
    return 0.0 if deaths <= 1 else min(2.0 ** (deaths - 2), LONGEST_DELAY_SECONDS)


def describe_exit(exit_code: int | None, out_of_memory: bool | None) -> str:
    """An exit code in words; a negative one is a signal, and so is one above 128.

    Args:
        exit_code: of the process.
        out_of_memory: whether the kernel has killed something for want of memory meanwhile; None if it doesn't tell.
    """
    if exit_code is None or 0 <= exit_code <= 128:
        return f"exit code {exit_code}, with what it printed above"
    try:
        name = signal.Signals(-exit_code if exit_code < 0 else exit_code - 128).name
    except ValueError:  # one without a name, or no signal at all
        return f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}, with what it printed above"
    if name != "SIGKILL" or out_of_memory is False:
        return name
    return f"{name} (out of memory?)" if out_of_memory is None else f"{name} of the kernel: out of memory"
