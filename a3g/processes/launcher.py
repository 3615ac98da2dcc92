"""Starts and stops the processes of a run, and keeps its books. Knows nothing about learning."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

import setproctitle
import torch

from a3g.config import TrainConfig
from a3g.errors import UserError
from a3g.files import remove_remains
from a3g.processes.books import Run, read_status, write_summary
from a3g.processes.checkpoint import Progress, leaving_path, worker_path
from a3g.processes.fork_server import ONE_THREAD, STOP_SIGNALS, fork_server_is_starting, process_context, start_process
from a3g.processes.heartbeat import Pulse
from a3g.processes.prepare import prepare_run
from a3g.processes.process import compute_on_one_core, describe_computing, describe_gpus
from a3g.processes.saver import Saver
from a3g.processes.shared import Count
from a3g.processes.supervisor import Child, Supervisor
from a3g.processes.tester import run_tester
from a3g.processes.worker import Worker, run_worker
from a3g.processes.worker_state import load_worker_state
from a3g.reporting.say import say
from a3g.reporting.status import RunStatus
from a3g.reporting.watch import Watcher

POLL_SECONDS = 0.2
URGENT_POLL_SECONDS = 0.002
# Updates that were left out are spoken of this often at most; they are counted all the time.
SKIPPED_SECONDS = 60.0
# The tester gives way to the workers, and may get next to nothing of a busy machine.
TESTER_PATIENCE = 5.0
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
        children = [self._tester(), *(self._worker(i) for i in range(run.config.workers))]
        self._supervisor = Supervisor(children, run.config.heartbeat_timeout)
        self._watcher = Watcher(run.config, run.folder)
        self._last_trouble = ""
        self._skipped, self._skipped_at = self._progress().skipped_updates, time.monotonic()
        self._saver = Saver(run, self._progress, self._say, time.monotonic())

    def run(self) -> int:
        """Start everything, watch it until there is a reason to stop, and leave everything saved."""
        reason, failed = "stopped by an error", True
        # Children must not make threads of their own: one process, one core.
        os.environ.update(ONE_THREAD)
        with _stop_signals() as self._signals:
            try:
                if self.run_.resumed_from is None:  # from now on there is something to go on with
                    self._saver.save_at_once()
                # To start a process waits for the server to be ready, and Ctrl-C would have to wait with it.
                while not self._signals and fork_server_is_starting():
                    time.sleep(URGENT_POLL_SECONDS)
                if not self._signals:
                    self._supervisor.start(time.monotonic())
                with self._watcher:
                    reason, failed = self._watch()
            finally:
                self._say_messages()
                self.run_.counters.stop.fill_(1)
                self.run_.counters.gate.open()
                all_ended = self._supervisor.join()
                self._say_messages()
                saved = self._saver.save_the_end()
                write_summary(self.run_, reason, self._progress())
        self._watcher.say_end(self._status(), reason)
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
                self._watcher.update(self._status())
            if trouble is not None:
                return trouble, True
            if self._supervisor.all_finished("a3g train"):
                return f"total_steps {config.total_steps} reached", False
            if config.until_cleared and bool(self.run_.board.cleared_all):
                return "cleared every stage asked for", False
            if config.max_minutes and self.run_.seconds() >= 60 * config.max_minutes:
                return f"max_minutes {config.max_minutes:g} reached", False

    def _progress(self) -> Progress:
        saver, supervisor = getattr(self, "_saver", None), self._supervisor
        return self.run_.progress(supervisor.restarts, saver.restored if saver is not None else 0)

    def _status(self) -> RunStatus:
        return read_status(self.run_, self._progress(), self._saver.status(), self._last_trouble)

    def _say(self, message: str) -> None:
        self._last_trouble = f"{time.strftime('%H:%M:%S')} {message}"
        self._watcher.say(message)

    def _say_messages(self) -> None:
        for message in self._supervisor.messages:
            self._say(message)
        self._supervisor.messages.clear()

    def _say_skipped(self, now: float) -> None:
        """Gradients that were not finite: each is counted, but they may come by the thousand."""
        skipped = self._progress().skipped_updates
        if skipped > self._skipped and now - self._skipped_at >= SKIPPED_SECONDS:
            self._say(f"left out {skipped - self._skipped:,} updates whose gradients were not finite")
            self._skipped, self._skipped_at = skipped, now

    def _after_death(self, process: BaseProcess) -> bool:
        """Clear up after a process; returns whether damaged weights may have been its end."""
        with contextlib.suppress(OSError):
            remove_remains(self.run_.folder)
        return self._saver.check_health(time.monotonic())

    def _tester(self) -> Child:
        run, heartbeats, number = self.run_, self.run_.counters.heartbeats, self.run_.config.workers

        def start(restarts: int) -> Any:
            return self._spawn("a3g test", run_tester, (run.config, run.shared, run.counters, run.board, run.folder))

        pulse = Pulse(heartbeats, number)
        return Child("a3g test", start, pulse, lambda: heartbeats.count(number), TESTER_PATIENCE, self._after_death)

    def _worker(self, number: int) -> Child:
        run, counters, title = self.run_, self.run_.counters, f"a3g train {number}"

        def start(restarts: int) -> Any:
            # A worker that died begins new games: those of the checkpoint are long past, or may be what it died of.
            resumed_from = run.resumed_from if restarts == 0 else None
            restart = run.earlier.resumed + restarts
            arguments = (number, run.config, run.shared, counters, restart, run.folder, resumed_from)
            return self._spawn(title, run_worker, arguments)

        def clear_up(process: BaseProcess) -> bool:
            counters.gate.forget(number)
            with contextlib.suppress(OSError):
                leaving_path(run.folder, number).unlink(missing_ok=True)
            return self._after_death(process)

        pulse = Pulse(counters.heartbeats, number)
        return Child(title, start, pulse, lambda: int(counters.counts[number, Count.AGENT_STEPS]), on_death=clear_up)

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
    worker = Worker(0, run.config, run.shared, run.counters, device, run.earlier.resumed, run.folder)
    if run.resumed_from is not None:
        try:
            load_worker_state(worker_path(run.resumed_from, 0), worker)
        except UserError as error:
            say(f"a3g: begins new games: {error}")
    saver = Saver(run, lambda: run.progress(0, 0), lambda message: say(f"a3g: {message}"), time.monotonic())
    reason = "stopped by an error"
    with _stop_signals(lambda: run.counters.stop.fill_(1)) as received:
        try:
            with _stop_in_time(run):
                worker.run()
            minutes = bool(run.counters.stop)
            goal = f"max_minutes {run.config.max_minutes:g}" if minutes else f"total_steps {run.config.total_steps}"
            reason = received[0].name if received else f"{goal} reached"
        finally:
            run.counters.stop.fill_(1)
            saved = saver.save_the_end()
            write_summary(run, reason, run.progress(0, 0))
    return _exit_code(received, saved)


@contextlib.contextmanager
def _stop_in_time(run: Run) -> Iterator[None]:
    """Tell the worker in this process to stop when `max_minutes` are over, those before it was resumed included."""
    limit = run.config.max_minutes
    timer = threading.Timer(max(60 * limit - run.seconds(), 0.0), lambda: run.counters.stop.fill_(1))
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
def _stop_signals(on_signal: Callable[[], Any] = lambda: None) -> Iterator[list[signal.Signals]]:
    """Collect the signals that tell a run to stop, instead of ending by them; the first is the one that counts."""
    received: list[signal.Signals] = []

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number))
        on_signal()

    unheard = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()  # under nohup
    previous = {number: signal.signal(number, handle) for number in STOP_SIGNALS if number not in unheard}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
