"""The exploration command: hands tasks to processes, keeps what they find, and says how it goes."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Protocol

import setproctitle

from a3g.cores import check_workers
from a3g.errors import UserError
from a3g.exploration.demonstrations import Demonstration, load_demonstrations, save_demonstrations
from a3g.exploration.search import SearchOptions
from a3g.exploration.tasks import StageTasks, Task, choose
from a3g.exploration.verification import ENGINES, engines_here
from a3g.explore_config import ExploreConfig
from a3g.files import remove_remains
from a3g.game.options import ENGINES as ALL_ENGINES
from a3g.game.stages import Stage
from a3g.processes.explore_output import StageStatistics, check_output, folder_for_us_alone, report
from a3g.processes.explore_worker import Message, run_explore_worker, title_of
from a3g.processes.fork_server import ONE_THREAD, process_context, start_process
from a3g.processes.run_end import EXIT_FAILURE, collect_stop_signals
from a3g.reporting.exploration_display import ExplorationDisplay
from a3g.reporting.say import say

_POLL_SECONDS = 0.2
# A process that dies is started again; so many deaths are no accidents.
_MOST_DEATHS = 5


class ProcessElsewhere(Protocol):
    """What stands for a process on another machine."""

    exitcode: int | None

    def kill(self) -> None:
        """End it, whatever it does."""

    def join(self) -> None:
        """Wait until it has ended."""


StartElsewhere = Callable[[int, SearchOptions], tuple[ProcessElsewhere, Connection]]
"""Gets the number of a process, and gives it with the connection through which it takes tasks; see `run_explore_worker`."""


@dataclass
class _Worker:
    number: int
    process: BaseProcess | ProcessElsewhere
    connection: Connection
    task: Task | None = None
    doing: str = "starts"
    processor_seconds: float = 0.0
    """That its task has taken so far."""


@dataclass
class _Exploration:
    config: ExploreConfig
    stages: dict[Stage, StageTasks]
    display: ExplorationDisplay
    start_elsewhere: StartElsewhere | None = None
    """None: the processes are on this machine."""
    statistics: dict[Stage, StageStatistics] = field(default_factory=dict)
    started_at: float = field(default_factory=time.monotonic)
    workers: list[_Worker] = field(default_factory=list)
    deaths: int = 0
    processor_seconds: float = 0.0
    """That all tasks have taken so far."""

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Explore until everything is found, or it is time to stop; leaves no process behind.

        Raises:
            UserError: if a file can't be written, or holds what does not clear its stage.
        """
        limit = 60.0 * self.config.max_minutes
        try:
            while not self.is_done and self.deaths < _MOST_DEATHS and not should_stop():
                if limit and time.monotonic() - self.started_at >= limit:
                    break
                self._hand_out()
                for connection in wait([each.connection for each in self.workers], timeout=_POLL_SECONDS):
                    self._receive(next(each for each in self.workers if each.connection is connection))
                self._show()
            self._show()
        finally:
            self._end_workers()

    @property
    def is_done(self) -> bool:
        return all(stage.is_done for stage in self.stages.values())

    def _hand_out(self) -> None:
        """Give every process that is free a task, and start processes as long as there are tasks."""
        for number in range(self.config.workers):
            worker = self.workers[number] if number < len(self.workers) else None
            if worker is not None and worker.task is not None:
                continue
            task = choose(list(self.stages.values()))
            if task is None:
                return
            if worker is None:
                worker = self._start(number)
                self.workers.append(worker)
            with contextlib.suppress(OSError):  # a process that is dead: `_receive` notices
                worker.connection.send(task)
            worker.task, worker.doing, worker.processor_seconds = task, f"{task.stage}", 0.0
            self.stages[task.stage].begin(task)

    def _start(self, number: int) -> _Worker:
        options = SearchOptions(self.config.seed, self.config.sticky_actions, self.config.shortening_steps)
        if self.start_elsewhere is not None:
            return _Worker(number, *self.start_elsewhere(number, options))
        context = process_context()
        ours, theirs = context.Pipe()
        process = context.Process(target=run_explore_worker, args=(number, theirs, options), name=title_of(number), daemon=True)
        start_process(process)
        theirs.close()
        return _Worker(number, process, ours)

    def _receive(self, worker: _Worker) -> None:
        """Take one message of a process."""
        try:
            message: Message = worker.connection.recv()
        except (EOFError, OSError):
            self._replace(worker)
            return
        self.processor_seconds += message.processor_seconds - worker.processor_seconds
        worker.processor_seconds = message.processor_seconds
        task, progress = worker.task, message.report
        assert task is not None
        if progress is None:
            if message.refused:
                raise UserError(f"A demonstration of {task.stage} in {self.config.demos_dir} can't be used: {message.refused}.")
            self.stages[task.stage].end(task)
            worker.task, worker.doing = None, "waits"
            return
        place = f", {progress.furthest:,} px" if progress.furthest else ""
        worker.doing = f"{task.stage} {progress.doing} ({task.kind}): {progress.agent_steps:,} agent steps{place}"
        if message.refused:
            self.display.say(f"{task.stage}: {message.refused}")
        elif progress.found is not None:
            self._keep(task, progress.found, progress.agent_steps, message)

    def _keep(self, task: Task, found: Demonstration, agent_steps: int, message: Message) -> None:
        """Keep a way, found after so many agent steps, in its stage's file too."""
        stage = self.stages[task.stage]
        if stage.first is None:
            since_start = time.monotonic() - self.started_at
            self.statistics[task.stage] = StageStatistics(
                message.seconds, message.processor_seconds, since_start, agent_steps, len(found.actions)
            )
            played = f"{agent_steps:,} agent steps and {message.seconds:.1f} s of exploring"
            self.display.say(f"{task.stage}: cleared in {len(found.actions)} agent steps, after {played}")
        if not stage.add(task, found):
            return
        self._save(stage)

    def _save(self, stage: StageTasks) -> None:
        try:
            save_demonstrations(self.config.demos_dir, stage.stage, stage.demonstrations())
        except OSError as error:
            reason = error.strerror or str(error)
            raise UserError(
                f"Can't write the demonstrations of {stage.stage} into {self.config.demos_dir}: {reason}; "
                "what was written before is kept, and the same command goes on from there."
            ) from error

    def _replace(self, worker: _Worker) -> None:
        """A process died: somebody else does its task."""
        worker.process.join()
        self.deaths += 1
        if worker.task is not None:
            self.stages[worker.task.stage].end(worker.task, interrupted=True)
        self.display.say(f"{title_of(worker.number)} died with exit code {worker.process.exitcode}; its task is done again")
        if self.deaths >= _MOST_DEATHS:
            self.display.say(f"{self.deaths} processes died, this can't go on")
            return
        worker.connection.close()
        self.workers[worker.number] = self._start(worker.number)

    def _end_workers(self) -> None:
        """End all processes; what they have handed over already is kept."""
        for worker in self.workers:
            worker.process.kill()
        try:
            for worker in self.workers:
                with contextlib.suppress(EOFError, OSError):
                    while worker.task is not None and worker.connection.poll():
                        message: Message = worker.connection.recv()
                        if message.report is not None and message.report.found is not None and not message.refused:
                            self._keep(worker.task, message.report.found, message.report.agent_steps, message)
        finally:
            for worker in self.workers:
                worker.process.join()
                worker.connection.close()

    def _show(self) -> None:
        cleared = sum(stage.first is not None for stage in self.stages.values())
        found = sum(min(len(stage.demonstrations()), stage.wanted) for stage in self.stages.values())
        self.display.update(cleared, found, {worker.number: worker.doing for worker in self.workers})


def explore(config: ExploreConfig, start_elsewhere: StartElsewhere | None = None) -> int:
    """Explore the stages asked for and return the exit code.

    Args:
        config: the options.
        start_elsewhere: starts processes on other machines; by default they are on this one.

    Raises:
        UserError: if a file of demonstrations is damaged, something can't be written, or the native core is missing.
    """
    setproctitle.setproctitle("a3g explore")
    os.environ.update(ONE_THREAD)
    missing = [name for name in ENGINES if name not in engines_here()]
    if ENGINES[0] in missing:
        raise UserError(f"Exploration needs the engine {ENGINES[0]}: {ALL_ENGINES[ENGINES[0]].how_to_get}.")
    check_workers(config.workers, os.environ)
    check_output(config)
    for name in missing:
        say(f"a3g: {name} is not installed here, so demonstrations are verified on {' and '.join(engines_here())} only.")
    with folder_for_us_alone(config.demos_dir):
        exploration, received = _explore(config, start_elsewhere)
    if received:
        say(f"a3g: {received[0].name}: stopped; what was found is kept, the same command goes on from there")
        return 128 + received[0]
    return 0 if exploration.is_done else EXIT_FAILURE


def _explore(config: ExploreConfig, start_elsewhere: StartElsewhere | None) -> tuple[_Exploration, list[signal.Signals]]:
    """Explore and report; returns where it stands, and the signals that stopped it."""
    known = load_demonstrations(config.demos_dir, config.wanted_stages())
    stages = {stage: StageTasks.of(stage, config.per_stage, known[stage]) for stage in known}
    received: list[signal.Signals] = []
    display = ExplorationDisplay(len(stages), config.per_stage * len(stages))
    exploration = _Exploration(config, stages, display, start_elsewhere)
    with collect_stop_signals(received):
        try:
            with display:
                exploration.run(lambda: bool(received))
        finally:
            with contextlib.suppress(OSError):
                remove_remains(config.demos_dir)
        seconds = time.monotonic() - exploration.started_at
        report(config, list(stages.values()), exploration.statistics, seconds, exploration.processor_seconds)
    return exploration, received
