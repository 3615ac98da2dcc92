"""Keeps the processes of a run alive: restarts those that die or hang, gives up on those that keep dying."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil

from a3g.processes.heartbeat import HeartbeatMonitor
from a3g.processes.process import EXIT_DAMAGED_WEIGHTS

# A process that died this often in a row without having done anything is not started again.
MAX_DEATHS_WITHOUT_WORK = 3
# Nor is one that died so often in a row, each time within QUICK_DEATH_SECONDS of its start. The delay before each restart
# doubles from one second to LONGEST_DELAY_SECONDS.
MAX_QUICK_DEATHS = 10
QUICK_DEATH_SECONDS = 60.0
LONGEST_DELAY_SECONDS = 60.0
# A process without a heartbeat that has not been running on a processor for so long hangs.
IDLE_SECONDS = 1.0
KILL_SECONDS = 5.0
# A process that could not be started is tried again after so long.
RETRY_SECONDS = 10.0
# A run told to stop has ten seconds for everything: these for its processes, the rest for the checkpoint.
STOP_TIMEOUT_SECONDS = 6.0
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
class Overdue:
    """What a process has done since its heartbeat timed out."""

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
    monitor: HeartbeatMonitor
    work: Callable[[], int]
    """How much the process, and those before it in its place, have done."""
    timeout_factor: float = 1.0
    """Its heartbeat may be missing for so many times as long as that of others."""
    on_death: Callable[[BaseProcess], bool] = lambda process: False
    """Called after each death; returns whether something else than the process was the cause."""
    is_essential: bool = True
    """Whether the run ends if it keeps dying; without, it is left out from then on."""
    process: BaseProcess | None = None
    """None while it waits to be started again."""
    started_at: float = 0.0
    work_at_start: int = 0
    due_at: float = 0.0
    """When it is to be started, on the clock of `check`."""
    restarts: int = 0
    deaths_without_work: int = 0
    quick_deaths: int = 0
    overdue: Overdue | None = None
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
    should_stop: Callable[[], bool] = lambda: False
    """Whether the run is told to stop: nothing is started then. Starting thousands of processes takes long."""
    messages: list[str] = field(default_factory=list)
    """What happened, for people."""
    _oom_kills: int | None = field(default_factory=count_oom_kills)

    def start(self, now: float) -> None:
        """Start the children, as long as the run is not told to stop."""
        for child in self.children:
            if self.should_stop():
                return
            self._start(child, now)

    def check(self, now: float) -> str | None:
        """Restart what has died or hangs since the last call.

        Args:
            now: a monotonic clock, in seconds.

        Returns:
            why the run can't go on, or None
        """
        for child in self.children:
            if child.finished:
                continue
            if child.process is None:
                if now >= child.due_at and not self.should_stop():
                    self._start(child, now)
                continue
            overdue = child.monitor.timed_out(now, child.timeout_factor * self.heartbeat_timeout)
            if not overdue:
                child.overdue = None
            if child.process.is_alive() and not (overdue and self._hangs(child, now)):
                continue
            if child.process.is_alive():
                child.process.kill()
                child.process.join(KILL_SECONDS)  # not for ever: it may be waiting for a disk that is gone
                what = f"gave no sign of life for {child.timeout_factor * self.heartbeat_timeout:g} s and was killed"
            elif child.process.exitcode == 0:
                child.finished = True
                continue
            else:
                what = self._describe_end(child.process.exitcode)
            trouble = self._note_death(child, what, now)
            if trouble is not None and child.is_essential:
                return trouble
            if trouble is not None:
                child.finished = True
                self.messages.append(f"{trouble}; the run goes on without it")
        return None

    def all_finished(self, titles: str) -> bool:
        """Whether every child whose title begins with `titles` has ended by itself."""
        return all(child.finished for child in self.children if child.title.startswith(titles))

    def join(self, patience: float = STOP_TIMEOUT_SECONDS) -> bool:
        """Wait for children that were told to stop; kill those that don't in time.

        Those that have only begun to start, and have nothing to save yet, are killed at once.

        Args:
            patience: how long, in seconds.

        Returns:
            whether all have ended; what waits for a disk that is gone doesn't even when killed
        """
        for child in self.children:
            if child.process is not None and child.process.is_alive() and not child.monitor.has_beaten:
                child.process.kill()
        deadline = time.monotonic() + patience
        killed = []
        for child in self.children:
            if child.process is None:
                continue
            child.process.join(max(deadline - time.monotonic(), 0.0))
            if child.process.is_alive():
                self.messages.append(f"{child.title} did not stop within {patience:.0f} s and was killed")
                child.process.kill()
                killed.append((child.title, child.process))
        deadline = time.monotonic() + STOP_KILL_SECONDS
        for title, process in killed:
            process.join(max(deadline - time.monotonic(), 0.0))
            if process.is_alive():
                self.messages.append(f"{title} could not even be killed (does it wait for a disk that is gone?); left alone")
        return not any(process.is_alive() for _, process in killed)

    def _hangs(self, child: Child, now: float) -> bool:
        """Whether a process without a heartbeat hangs, and does not just wait for a processor on a busy machine.

        A process that is stopped or asleep hangs; one that computes hangs when it has had `heartbeat_timeout` seconds for it.
        """
        assert child.process is not None
        try:
            process = psutil.Process(child.process.pid)
            computing, times = process.status() == psutil.STATUS_RUNNING, process.cpu_times()
        except psutil.Error:
            return True  # it is just ending
        used = times.user + times.system
        if child.overdue is None:
            child.overdue = Overdue(used, now)
        if computing:
            child.overdue.idle_since = now
        return now - child.overdue.idle_since >= IDLE_SECONDS or used - child.overdue.used >= self.heartbeat_timeout

    def _note_death(self, child: Child, what: str, now: float) -> str | None:
        """Count a death and decide when the child starts again; returns why it does not.

        Args:
            what: what happened to the child, as the rest of a sentence.
        """
        assert child.process is not None
        process, child.process, child.overdue = child.process, None, None
        excused = child.on_death(process)
        child.quick_deaths = child.quick_deaths + 1 if now - child.started_at < QUICK_DEATH_SECONDS else 1
        child.deaths_without_work = 0 if excused or child.work() != child.work_at_start else child.deaths_without_work + 1
        if child.deaths_without_work >= MAX_DEATHS_WITHOUT_WORK:
            return f"{child.title} died {child.deaths_without_work} times in a row; the last time it {what}"
        if child.quick_deaths >= MAX_QUICK_DEATHS:
            return (
                f"{child.title} died {child.quick_deaths} times in a row, each time within {QUICK_DEATH_SECONDS:.0f} s; "
                f"the last time it {what}"
            )
        delay = backoff(child.quick_deaths)
        child.due_at = now + delay
        child.restarts += 1
        self.on_restart()
        self.messages.append(f"{child.title} {what}; started again" + (f" in {delay:.0f} s" if delay else ""))
        return None

    def _start(self, child: Child, now: float) -> None:
        try:
            child.process = child.start(child.restarts)
        except OSError as error:  # no memory left for it at present, say
            child.due_at = now + RETRY_SECONDS
            self.messages.append(f"{child.title} could not be started: {error}; tried again in {RETRY_SECONDS:.0f} s")
        child.started_at, child.work_at_start = now, child.work()
        child.monitor.restart(now)

    def _describe_end(self, exit_code: int | None) -> str:
        before, self._oom_kills = self._oom_kills, count_oom_kills()
        unknown = before is None or self._oom_kills is None
        return describe_exit(exit_code, None if unknown else self._oom_kills != before)


def backoff(deaths: int) -> float:
    """Seconds to wait after so many quick deaths in a row: none after the first."""
    return 0.0 if deaths <= 1 else min(2.0 ** (deaths - 2), LONGEST_DELAY_SECONDS)


def describe_exit(exit_code: int | None, out_of_memory: bool | None) -> str:
    """How a process ended, as the rest of a sentence; a negative exit code is a signal, and so is one above 128.

    Args:
        exit_code: of the process.
        out_of_memory: whether the kernel has killed something for want of memory meanwhile; None if it doesn't tell.
    """
    if exit_code == EXIT_DAMAGED_WEIGHTS:
        return "ended because the shared weights were damaged"
    with_output = f"died by exit code {exit_code} (see its output above)"
    if exit_code is None or 0 <= exit_code <= 128:
        return with_output
    try:
        name = signal.Signals(-exit_code if exit_code < 0 else exit_code - 128).name
    except ValueError:  # one without a name, or no signal at all
        return f"died by signal {-exit_code}" if exit_code < 0 else with_output
    if name != "SIGKILL" or out_of_memory is False:
        return f"died by {name}"
    return f"died by {name} (out of memory?)" if out_of_memory is None else f"died by {name} of the kernel: out of memory"
