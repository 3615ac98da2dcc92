"""Starts and stops the processes of a run, and says how it goes. Knows nothing about learning."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any

import setproctitle
import torch

from a3g.config import TrainConfig
from a3g.files import remove_remains, write_atomically
from a3g.processes.counters import Count
from a3g.processes.divergence import DivergenceMonitor
from a3g.processes.fork_server import ONE_THREAD, STOP_SIGNALS, fork_server_is_starting, process_context, start_process
from a3g.processes.heartbeat import HeartbeatMonitor
from a3g.processes.prepare import prepare_run
from a3g.processes.process import EXIT_DAMAGED_WEIGHTS, compute_on_one_core, describe_computing, describe_gpus
from a3g.processes.run_statistics import Run, read_status, write_summary
from a3g.processes.supervisor import Child, Supervisor
from a3g.processes.tester import Tester, run_tester
from a3g.processes.worker import make_worker, run_worker
from a3g.reporting.display import RunDisplay
from a3g.reporting.say import say
from a3g.reporting.status import RunStatus
from a3g.runs.paths import leaving_path, worker_path
from a3g.runs.saver import Saver
from a3g.runs.snapshot import Snapshot

POLL_SECONDS = 0.2
URGENT_POLL_SECONDS = 0.002
# How many updates were left out is said this often at most; they are counted all the time.
SKIPPED_SECONDS = 60.0
# The tester gives way to the workers and may get next to nothing of a busy machine: it may be silent for longer.
TESTER_TIMEOUT_FACTOR = 5.0
# Exit codes beside 0 (the run's goal reached) and 2 (a user's mistake), as shells use them: 128 + signal number.
EXIT_FAILURE = 1


def train(config: TrainConfig) -> int:
    """Run a training to its end and return the exit code.

    Raises:
        UserError: if something asked for isn't there; nothing has been changed then.
    """
    setproctitle.setproctitle("a3g launch")
    compute_on_one_core()
    run = prepare_run(replace(config, workers=1) if config.serial else config)
    for line in (describe_computing(run.config), *describe_gpus(run.config, torch.cuda.device_count())):
        say(f"a3g: {line}")
    try:
        return _train_serially(run) if config.serial else _Launcher(run).run()
    finally:
        run.close()


class _Launcher:
    """The main process of a run."""

    def __init__(self, run: Run) -> None:
        self.run_ = run
        self._context = process_context()
        counters = run.shared.counters
        self._workers = [self._worker(i) for i in range(run.config.workers)]
        children = [self._tester(), *self._workers]
        self._signals: list[signal.Signals] = []
        timeout = run.config.heartbeat_timeout
        self._supervisor = Supervisor(children, timeout, counters.note_restart, lambda: bool(self._signals))
        self._display = RunDisplay(run.config, run.folder, counters.earlier_seconds, counters.agent_steps)
        self._last_trouble = ""
        now, updates, skipped = time.monotonic(), counters.total(Count.UPDATES), counters.total(Count.SKIPPED_UPDATES)
        self._skipped, self._skipped_at = skipped, now
        self._divergence = DivergenceMonitor(run.config.lr, now, updates, skipped)
        self._diverged, self._restored_before = False, counters.restored
        self._saver = _make_saver(run, self._say)

    def run(self) -> int:
        """Start everything, watch it until there is a reason to stop, and leave everything saved."""
        reason, failed = "stopped by an error", True
        # Children must not make threads of their own: one process, one core.
        os.environ.update(ONE_THREAD)
        with _stop_signals(self._signals), self._display:
            try:
                if self.run_.resumed_from is None:  # from now on there is something to go on with
                    self._saver.save_at_once()
                # To start a process waits for the server to be ready, and Ctrl-C would have to wait with it.
                while not self._signals and fork_server_is_starting():
                    time.sleep(URGENT_POLL_SECONDS)
                if not self._signals:
                    self._supervisor.start(time.monotonic())
                reason, failed = self._watch()
            finally:
                self._say_messages()
                self._display.say(f"{reason}: stopping, saving")
                self.run_.shared.control.stop.fill_(1)
                self.run_.shared.control.barrier.release()
                all_ended = self._supervisor.join()
                self._say_messages()
                saved = self._save_the_end()
                write_summary(self.run_, reason)
                self._display.finish(self._status())
            if not failed and _test_at_end(self.run_, self._signals):
                write_summary(self.run_, reason)
        self._display.say_end(self._status(), reason)
        if saved and not _reached_its_goal(self._signals, failed, reason):
            self._display.say(f"go on with it by: {resume_command(self.run_.folder)}")
        code = _exit_code(self._signals, saved, failed)
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
            self._saver.poll(now)
            trouble = self._supervisor.check(now)
            self._say_messages()
            if not self._saver.is_urgent:
                self._say_skipped(now)
                self._display.update(self._status())
            if trouble is None:
                trouble = self._check_divergence(now)
            if trouble is not None:
                return trouble, True
            if self._supervisor.all_finished("a3g train"):
                return f"total_steps {config.total_steps} reached", False
            if config.until_cleared and bool(self.run_.shared.results.cleared_all):
                return "cleared every stage asked for", False
            if config.max_minutes and self.run_.shared.counters.seconds_since_first_step >= 60 * config.max_minutes:
                return f"max_minutes {config.max_minutes:g} reached", False

    def _check_divergence(self, now: float) -> str | None:
        counters = self.run_.shared.counters
        updates, skipped = counters.total(Count.UPDATES), counters.total(Count.SKIPPED_UPDATES)
        trouble = self._divergence.check(now, updates, skipped, counters.restored - self._restored_before)
        self._diverged = trouble is not None
        return trouble

    def _save_the_end(self) -> bool:
        """Returns whether the run can be gone on with from where it ended, or from the last good checkpoint."""
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
                    write_atomically(leaving_path(run.folder, number), worker_path(run.resumed_from, number).read_bytes())

    def _status(self) -> RunStatus:
        return read_status(self.run_, self._saver.status(), self._last_trouble)

    def _say(self, message: str) -> None:
        self._last_trouble = f"{time.strftime('%H:%M:%S')} {message}"
        self._display.say(message)

    def _say_messages(self) -> None:
        for message in self._supervisor.messages:
            self._say(message)
        self._supervisor.messages.clear()

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


def _train_serially(run: Run) -> int:
    """One worker in this process, no tester; the same worker code. Saved when it ends."""
    gpu = run.config.gpu_ids[0]
    device = torch.device("cpu") if gpu < 0 else torch.device("cuda", gpu)
    if gpu >= 0:
        torch.cuda.set_device(device)  # everything on this GPU, so that no other gets a context
    shared = run.shared
    worker = make_worker(0, run.config, shared, device, shared.counters.resumed, run.folder, run.resumed_from)
    saver = _make_saver(run, lambda message: say(f"a3g: {message}"))
    reason = "stopped by an error"
    received: list[signal.Signals] = []
    with _stop_signals(received, lambda: shared.control.stop.fill_(1)):
        try:
            with _stop_in_time(run):
                worker.run()
            minutes = bool(shared.control.stop)
            goal = f"max_minutes {run.config.max_minutes:g}" if minutes else f"total_steps {run.config.total_steps}"
            reason = received[0].name if received else f"{goal} reached"
        finally:
            say(f"a3g: {reason}: stopping, saving")
            shared.control.stop.fill_(1)
            saved = saver.save_the_end()
            write_summary(run, reason)
        if _test_at_end(run, received):
            write_summary(run, reason)
        if saved and received:
            say(f"a3g: go on with it by: {resume_command(run.folder)}")
    return _exit_code(received, saved)


def _make_saver(run: Run, say: Callable[[str], None]) -> Saver:
    shared = run.shared
    return Saver(
        run.folder,
        run.config,
        Snapshot(shared.model.tensors(), shared.tensors_beside_model()),
        shared.control.barrier,
        shared.counters.progress,
        on_restored=shared.counters.note_restored,
        stopping=lambda: bool(shared.control.stop),
        worker_beats=lambda: shared.control.heartbeats.count(0),
        say=say,
        now=time.monotonic(),
        resumed_from=run.resumed_from,
        saved_at=run.saved_at,
    )


def _test_at_end(run: Run, signals: list[signal.Signals]) -> bool:
    """Test the last weights in this process if that is asked for, when all is saved; a further signal ends it.

    Returns:
        whether there was time for it: whoever sends another signal than Ctrl-C wants the machine soon
    """
    if not run.config.test_at_end or any(number != signal.SIGINT for number in signals):
        return False
    say("a3g: tests the last weights; the run is saved, Ctrl-C ends the test")
    before = len(signals)
    tester = Tester(run.config, run.shared, run.folder, torch.device("cpu"))
    tester.test_last(lambda: len(signals) > before)
    return True


def resume_command(folder: Path) -> str:
    """The command that goes on with a run."""
    name = folder.name if folder.parent == TrainConfig.log_dir else str(folder)
    return f"python main.py --resume {shlex.quote(name)}"


def _reached_its_goal(signals: list[signal.Signals], failed: bool, reason: str) -> bool:
    """Whether there is nothing left to do; a run that only used up its minutes goes on for as many more."""
    return not signals and not failed and not reason.startswith("max_minutes")


@contextlib.contextmanager
def _stop_in_time(run: Run) -> Iterator[None]:
    """Tell the worker in this process to stop when `max_minutes` are over, those before it was resumed included."""
    limit = run.config.max_minutes
    timer = threading.Timer(
        max(60 * limit - run.shared.counters.seconds_since_first_step, 0.0), lambda: run.shared.control.stop.fill_(1)
    )
    timer.daemon = True
    if limit:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _exit_code(signals: list[signal.Signals], saved: bool, failed: bool = False) -> int:
    if signals and saved:
        return 128 + signals[0]
    return 0 if saved and not failed else EXIT_FAILURE


@contextlib.contextmanager
def _stop_signals(received: list[signal.Signals], on_signal: Callable[[], Any] = lambda: None) -> Iterator[None]:
    """Collect the signals that tell a run to stop, instead of ending by them; the first is the one that counts.

    Args:
        received: the signals are appended to it.
        on_signal: called after each.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number))
        on_signal()

    unheard = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()  # under nohup
    previous = {number: signal.signal(number, handle) for number in STOP_SIGNALS if number not in unheard}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
