"""Starts and stops the processes of a run, and says how it goes. Knows nothing about learning."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from dataclasses import asdict, replace
from multiprocessing.process import BaseProcess
from typing import Any

import setproctitle
import torch

from a3g.config import TrainConfig
from a3g.files import copy_atomically, remove_remains
from a3g.processes.companion import Companion
from a3g.processes.counters import Count
from a3g.processes.divergence import DivergenceMonitor
from a3g.processes.fork_server import ONE_THREAD, fork_server_is_starting, process_context, start_process
from a3g.processes.heartbeat import HeartbeatMonitor
from a3g.processes.memory_estimate import saved_replays_bytes
from a3g.processes.prepare import prepare_run
from a3g.processes.process import EXIT_DAMAGED_WEIGHTS, compute_on_one_core, describe_computing, describe_gpus
from a3g.processes.reporters import Reporters
from a3g.processes.run_end import (
    TAKEN_OVER,
    collect_stop_signals,
    exit_code,
    make_saver,
    reached_its_goal,
    resume_command,
    test_at_end,
)
from a3g.processes.run_statistics import Run, read_status, write_summary
from a3g.processes.serial import train_serially
from a3g.processes.supervisor import STOP_TIMEOUT_SECONDS, Child, Supervisor
from a3g.processes.tester import run_tester
from a3g.processes.watch_server import TITLE, run_watch_server
from a3g.processes.worker import run_worker
from a3g.reporting.display import RunDisplay
from a3g.reporting.say import say
from a3g.reporting.status import RunStatus
from a3g.reporting.watch.address import bind, url
from a3g.runs.paths import leaving_path, worker_path

POLL_SECONDS = 0.2
PAGE_SECONDS = 1.0
URGENT_POLL_SECONDS = 0.002
# How many updates were left out is said this often at most; they are counted all the time.
SKIPPED_SECONDS = 60.0
# On a busy machine one step of the tester's many games takes long: it may be silent for longer.
TESTER_TIMEOUT_FACTOR = 5.0
# Workers that have a replay to write get longer to stop.
SLOW_DISK_BYTES_PER_SECOND = 50e6


def train(config: TrainConfig) -> int:
    """Run a training to its end and return the exit code.

    Raises:
        UserError: if something asked for isn't there; nothing has been changed then.
    """
    setproctitle.setproctitle("a3g launch")
    compute_on_one_core()
    # First of all, so that a port that is taken is said before anything is changed.
    listening = None if config.watch is None else bind(config.watch_host, config.watch)
    run = prepare_run(replace(config, workers=1) if config.serial else config)
    for line in (describe_computing(run.config), *describe_gpus(run.config, torch.cuda.device_count())):
        say(f"a3g: {line}")
    try:
        return train_serially(run) if config.serial else launch(run, listening=listening)
    finally:
        run.close()
        if listening is not None:
            listening.close()


def launch(
    run: Run,
    *,
    workers: bool = True,
    tester: bool = True,
    companion: Companion | None = None,
    listening: socket.socket | None = None,
) -> int:
    """Run a prepared training to its end and return the exit code.

    Args:
        run: what `prepare_run` gave.
        workers: whether this machine trains.
        tester: whether this machine tests.
        companion: what goes on beside the processes, as a part of a training on several machines.
        listening: the socket to serve the watch page at; None without one.
    """
    return _Launcher(run, workers, tester, companion, listening).run()


class _Launcher:
    """The main process of a run."""

    def __init__(
        self, run: Run, workers: bool, tester: bool, companion: Companion | None, listening: socket.socket | None
    ) -> None:
        self.run_, self._companion, self._listening = run, companion, listening
        self._context = process_context()
        counters = run.shared.counters
        self._workers = [self._worker(i) for i in range(run.config.workers)] if workers else []
        page = [] if listening is None else [self._page(listening)]
        children = [*([self._tester()] if tester else []), *self._workers, *page]
        self._signals: list[signal.Signals] = []
        timeout = run.config.heartbeat_timeout
        self._supervisor = Supervisor(children, timeout, counters.note_restart, lambda: bool(self._signals))
        self._display = RunDisplay(run.config, run.folder, counters.earlier_seconds, counters.agent_steps)
        self._reporters = Reporters(run.config, run.folder, self._context, self._display.say, self._signals)
        self._last_trouble = ""
        self._told_page_at = 0.0
        now, updates, skipped = time.monotonic(), counters.total(Count.UPDATES), counters.total(Count.SKIPPED_UPDATES)
        self._skipped, self._skipped_at = skipped, now
        self._divergence = DivergenceMonitor(run.config.lr, now, updates, skipped)
        self._diverged, self._restored_before = False, counters.restored
        self._saver = make_saver(run, self._say, {} if companion is None else companion.tensors(), bool(self._workers))

    def run(self) -> int:
        """Start everything, watch it until there is a reason to stop, and leave everything saved."""
        reason, failed = "stopped by an error", True
        # Children must not make threads of their own: one process, one core.
        os.environ.update(ONE_THREAD)
        with collect_stop_signals(self._signals), self._reporters, self._display:
            if self._listening is not None:
                self._display.say(f"watch it at {url(self._listening, self.run_.config.watch_host)}")
            try:
                if self.run_.resumed_from is None:  # from now on there is something to go on with
                    self._saver.save_at_once()
                # To start a process waits for the server to be ready, and Ctrl-C would have to wait with it.
                while not self._signals and fork_server_is_starting():
                    time.sleep(URGENT_POLL_SECONDS)
                if not self._signals:
                    self._supervisor.start(time.monotonic())
                if self._companion is not None:
                    self._companion.start()
                reason, failed = self._watch()
            finally:
                self._say_messages()
                self._display.say(f"{reason}: stopping, saving")
                self.run_.shared.control.stop.fill_(1)
                self.run_.shared.control.barrier.release()
                replays = saved_replays_bytes(self.run_.config)
                all_ended = self._supervisor.join(STOP_TIMEOUT_SECONDS + replays / SLOW_DISK_BYTES_PER_SECOND)
                if self._companion is not None:
                    self._companion.stop()
                self._say_messages()
                saved = self._save_the_end()
                if not self.run_.is_lost:
                    write_summary(self.run_, reason)
                self._display.finish(self._status())
            if not failed and test_at_end(self.run_, self._signals):
                write_summary(self.run_, reason)
        self._display.say_end(self._status(), reason)
        if saved and not reached_its_goal(self._signals, failed, reason):
            self._display.say(f"go on with it by: {resume_command(self.run_.folder)}")
        code = exit_code(self._signals, saved, failed)
        if not all_ended:  # `multiprocessing` would wait for them for ever
            sys.stdout.flush()
            os._exit(code)
        return code

    def _watch(self) -> tuple[str, bool]:
        """Returns why the run ends, and whether that is a failure."""
        config = self.run_.config
        while True:
            time.sleep(URGENT_POLL_SECONDS if self._saver.is_urgent else POLL_SECONDS)
            now = time.monotonic()
            if self._signals:  # first, since it may have ended children too, which are not to be restarted
                return self._signals[0].name, False
            if self.run_.is_lost:
                return TAKEN_OVER, True
            self._saver.poll(now)
            trouble = self._supervisor.check(now)
            self._say_messages()
            if not self._saver.is_urgent:
                self._say_skipped(now)
                status = self._status()
                self._display.update(status)
                self._reporters.check(now)
                self._tell_page(status, now)
            if trouble is None:
                trouble = self._check_divergence(now)
            if trouble is not None:
                return trouble, True
            ended = self._companion.poll(now) if self._companion is not None else None
            if ended is not None:
                return ended
            if self._workers and self._supervisor.all_finished("a3g train"):
                return f"total_steps {config.total_steps} reached", False
            if config.until_cleared and bool(self.run_.shared.results.cleared_all):
                return "cleared every stage asked for", False
            if config.max_minutes and self.run_.shared.counters.seconds_since_first_step >= 60 * config.max_minutes:
                return f"max_minutes {config.max_minutes:g} reached", False

    def _tell_page(self, status: RunStatus, now: float) -> None:
        """What only the launcher knows of the run's health, for the watch page, while somebody looks."""
        channel, counters = self.run_.shared.watch, self.run_.shared.counters
        if channel is None or not channel.wants_note or now - self._told_page_at < PAGE_SECONDS:
            return
        self._told_page_at = now
        channel.write_note(
            {
                "saving": asdict(status.saving),
                "trouble": status.last_trouble,
                "restarts": status.restarts,
                "restored": status.restored,
                "seconds_before": counters.earlier_seconds,
                "machines": [asdict(each) for each in ([] if self._companion is None else self._companion.machines())],
                "children": {child.title: child.restarts for child in self._supervisor.children},
            }
        )

    def _check_divergence(self, now: float) -> str | None:
        counters = self.run_.shared.counters
        updates, skipped = counters.total(Count.UPDATES), counters.total(Count.SKIPPED_UPDATES)
        trouble = self._divergence.check(now, updates, skipped, counters.restored - self._restored_before)
        self._diverged = trouble is not None
        return trouble

    def _save_the_end(self) -> bool:
        """Returns whether the run can be gone on with from where it ended, or from the last good checkpoint."""
        if self.run_.is_lost:
            self._saver.end_without_saving()
            return False
        if self._diverged:
            self._saver.end_without_saving()
            return True
        self._keep_games_of_unstarted_workers()
        return self._saver.save_the_end()

    def _keep_games_of_unstarted_workers(self) -> None:
        """Workers that were stopped before their first step keep the games that they were to go on with."""
        run = self.run_
        if run.resumed_from is None:
            return
        for number, child in enumerate(self._workers):
            if child.restarts == 0 and not child.monitor.has_beaten:
                with contextlib.suppress(OSError):  # the worker begins new games then, and says so
                    copy_atomically(worker_path(run.resumed_from, number), leaving_path(run.folder, number))

    def _status(self) -> RunStatus:
        return read_status(self.run_, self._saver.status(), self._last_trouble)

    def _say(self, message: str) -> None:
        self._last_trouble = f"{time.strftime('%H:%M:%S')} {message}"
        self._display.say(message)
        if self._companion is not None:
            self._companion.note(message)

    def _say_messages(self) -> None:
        for messages in (self._supervisor.messages, [] if self._companion is None else self._companion.messages):
            for message in messages:
                self._say(message)
            messages.clear()

    def _say_skipped(self, now: float) -> None:
        """Gradients that were not finite: each is counted, but they may come by the thousand."""
        skipped = self.run_.shared.counters.total(Count.SKIPPED_UPDATES)
        if skipped > self._skipped and now - self._skipped_at >= SKIPPED_SECONDS:
            self._say(f"left out {skipped - self._skipped:,} updates whose gradients were not finite")
            self._skipped, self._skipped_at = skipped, now

    def _after_death(self, process: BaseProcess) -> bool:
        """Clear up after a process; returns whether damaged weights may have been its end."""
        with contextlib.suppress(OSError):
            remove_remains(self.run_.folder)
        return self._saver.check_health(time.monotonic()) or process.exitcode == EXIT_DAMAGED_WEIGHTS

    def _tester(self) -> Child:
        run, heartbeats, number = self.run_, self.run_.shared.control.heartbeats, self.run_.config.workers

        def start(restarts: int) -> Any:
            return self._spawn("a3g test", run_tester, (run.config, run.shared, run.folder))

        monitor = HeartbeatMonitor(heartbeats, number)
        return Child("a3g test", start, monitor, lambda: heartbeats.count(number), TESTER_TIMEOUT_FACTOR, self._after_death)

    def _page(self, listening: socket.socket) -> Child:
        run, channel = self.run_, self.run_.shared.watch
        assert channel is not None

        def start(restarts: int) -> Any:
            return self._spawn(TITLE, run_watch_server, (run.config, run.shared, run.folder, listening))

        def nobody_looks(process: BaseProcess) -> bool:
            """Or workers would go on showing their games to a page that is gone."""
            channel.want({})
            return False

        beats = channel.heartbeats
        monitor = HeartbeatMonitor(beats, 0)
        return Child(TITLE, start, monitor, lambda: beats.count(0), on_death=nobody_looks, is_essential=False)

    def _worker(self, number: int) -> Child:
        run, counters, control, title = self.run_, self.run_.shared.counters, self.run_.shared.control, f"a3g train {number}"

        def start(restarts: int) -> Any:
            # A worker that died begins new games: those of the checkpoint are long past, or may be what it died of.
            resumed_from = run.resumed_from if restarts == 0 else None
            restart = counters.resumed + restarts
            arguments = (number, run.config, run.shared, restart, run.folder, resumed_from)
            return self._spawn(title, run_worker, arguments)

        def clear_up(process: BaseProcess) -> bool:
            control.barrier.forget(number)
            with contextlib.suppress(OSError):
                leaving_path(run.folder, number).unlink(missing_ok=True)
            return self._after_death(process)

        monitor = HeartbeatMonitor(control.heartbeats, number)
        return Child(title, start, monitor, lambda: int(counters.counts[number, Count.AGENT_STEPS]), on_death=clear_up)

    def _spawn(self, title: str, target: Any, arguments: tuple[Any, ...]) -> Any:
        process = self._context.Process(target=target, args=arguments, name=title, daemon=True)
        start_process(process)
        return process
