"""Starts and stops the processes of a run, and keeps its books. Knows nothing about learning."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from dataclasses import replace
from multiprocessing import resource_tracker
from pathlib import Path
from types import FrameType
from typing import Any

import setproctitle
import torch
from torch import multiprocessing

from a3g.config import TrainConfig, to_json
from a3g.errors import UserError
from a3g.files import write_atomically
from a3g.game.emulators import resolve_emulator
from a3g.learning.model import ActorCritic
from a3g.processes.books import Run, read_status, write_summary
from a3g.processes.checkpoint import CHECKPOINT_NAME, Progress, find_checkpoint, load_checkpoint, save_checkpoint
from a3g.processes.process import check_gpus
from a3g.processes.shared import SharedCounters, SharedModel, TestBoard
from a3g.processes.supervisor import Child, Supervisor
from a3g.processes.tester import run_tester
from a3g.processes.worker import Worker, run_worker
from a3g.reporting.status import RunStatus
from a3g.reporting.watch import Watcher
from a3g.weights import check_fit, load_weights, weights_path

POLL_SECONDS = 0.2
# Exit codes beside 0 (the run's goal reached) and 2 (a user's mistake), as shells use them: 128 + signal number.
EXIT_FAILURE = 1
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def train(config: TrainConfig) -> int:
    """Run a training to its end and return the exit code.

    Raises:
        UserError: if something asked for isn't there; nothing has been changed then.
    """
    setproctitle.setproctitle("a3g launch")
    torch.set_num_threads(1)
    if config.serial:
        return _train_serially(_prepare(replace(config, workers=1)))
    return _Launcher(_prepare(config)).run()


def _prepare(config: TrainConfig) -> Run:
    """Check everything that can be checked, then make the run's folder and the shared model."""
    resolve_emulator(config.emulator)
    check_gpus(config.gpu_ids)
    torch.manual_seed(config.seed)
    model = ActorCritic(config.network_spec())
    checkpoint = find_checkpoint(config.resume, config.log_dir) if config.resume else None
    if config.load and checkpoint is None:
        path = weights_path(config.load_model_dir, config.env)
        weights = load_weights(path)
        check_fit({name: tuple(tensor.shape) for name, tensor in weights.tensors.items()}, model.spec, path)
        model.load_state_dict(weights.tensors)
    shared, board, counters = SharedModel(model, config), TestBoard(), SharedCounters(config.workers)
    earlier = load_checkpoint(checkpoint, shared, board) if checkpoint is not None else Progress()
    earlier = replace(earlier, resumed=earlier.resumed + (checkpoint is not None))
    board.cleared_all.zero_()  # to be shown again: stages and settings may have changed
    counters.earlier_steps.fill_(earlier.agent_steps)
    folder = checkpoint.parent if checkpoint is not None and not config.run_name else _run_folder(config)
    _check_writable(folder)
    _check_writable(config.save_model_dir)
    try:
        write_atomically(folder / "config.json", json.dumps(to_json(config), indent=1).encode())
    except OSError as error:
        raise UserError(f"Can't write into the run's folder {folder}: {error.strerror}.") from error
    return Run(config, folder, shared, counters, board, earlier)


class _Launcher:
    """The main process of a run."""

    def __init__(self, run: Run) -> None:
        self.run_ = run
        self._context = multiprocessing.get_context("spawn")
        children = [Child("a3g test", self._start_tester)]
        children += [Child(f"a3g train {i}", self._worker_starter(i)) for i in range(run.config.workers)]
        self._supervisor = Supervisor(children)
        self._watcher = Watcher(run.config, run.folder)
        self._signal: signal.Signals | None = None

    def run(self) -> int:
        """Start everything, watch it until there is a reason to stop, and leave everything saved."""
        previous = {number: signal.signal(number, self._on_signal) for number in _STOP_SIGNALS}
        # Children must not make threads of their own: one process, one core.
        os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
        reason, failed = "stopped before it began", True
        try:
            self._supervisor.start(time.monotonic())
            with self._watcher:
                reason, failed = self._watch()
        finally:
            self.run_.counters.stop.fill_(1)
            self._supervisor.join()
            self._save_checkpoint()
            self._say_messages()
            write_summary(self.run_, reason, self._supervisor.restarts)
            for number, handler in previous.items():
                signal.signal(number, handler)
        self._watcher.say_end(self._status(), reason)
        if self._signal is not None:
            return 128 + self._signal
        return EXIT_FAILURE if failed else 0

    def _watch(self) -> tuple[str, bool]:
        """Returns why the run ends, and whether that is a failure."""
        config = self.run_.config
        next_checkpoint = time.monotonic() + config.checkpoint_interval
        while True:
            time.sleep(POLL_SECONDS)
            now = time.monotonic()
            if self._signal is not None:  # first, since it may have ended children too, which are not to be restarted
                return self._signal.name, False
            trouble = self._supervisor.check(now)
            self._say_messages()
            self._watcher.update(self._status())
            if trouble is not None:
                return trouble, True
            if self._supervisor.all_finished("a3g train"):
                return f"total_steps {config.total_steps} reached", False
            if config.until_cleared and bool(self.run_.board.cleared_all):
                return "cleared every stage asked for", False
            if config.max_minutes and self.run_.seconds() >= 60 * config.max_minutes:
                return f"max_minutes {config.max_minutes:g} reached", False
            if now >= next_checkpoint:
                self._save_checkpoint()
                next_checkpoint = now + config.checkpoint_interval

    def _status(self) -> RunStatus:
        return read_status(self.run_, self._supervisor.restarts)

    def _save_checkpoint(self) -> None:
        run = self.run_
        try:
            progress = run.progress(self._supervisor.restarts)
            save_checkpoint(run.folder / CHECKPOINT_NAME, run.shared, run.board, progress, run.config)
        except OSError as error:
            self._supervisor.messages.append(f"could not save a checkpoint: {error}")

    def _say_messages(self) -> None:
        for message in self._supervisor.messages:
            self._watcher.say(message)
        self._supervisor.messages.clear()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signal = signal.Signals(number)

    def _start_tester(self, restarts: int) -> Any:
        run = self.run_
        return self._spawn("a3g test", run_tester, (run.config, run.shared, run.counters, run.board, run.folder))

    def _worker_starter(self, worker: int) -> Any:
        def start(restarts: int) -> Any:
            run = self.run_
            arguments = (worker, run.config, run.shared, run.counters, run.earlier.resumed + restarts)
            return self._spawn(f"a3g train {worker}", run_worker, arguments)

        return start

    def _spawn(self, title: str, target: Any, arguments: tuple[Any, ...]) -> Any:
        process = self._context.Process(target=target, args=arguments, name=title, daemon=True)
        resource_tracker.ensure_running()  # now, since starting it unblocks signals
        # A child inherits what is blocked: Ctrl-C, which reaches every process of the terminal, is the launcher's.
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        return process


def _train_serially(run: Run) -> int:
    """One worker in this process, no tester; the same worker code."""
    gpu = run.config.gpu_ids[0]
    device = torch.device("cpu") if gpu < 0 else torch.device("cuda", gpu)
    worker = Worker(0, run.config, run.shared, run.counters, device, run.earlier.resumed)
    received: list[signal.Signals] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number))
        run.counters.stop.fill_(1)

    previous = {number: signal.signal(number, on_signal) for number in _STOP_SIGNALS}
    reason = "stopped by an error"
    try:
        worker.run()
        reason = received[0].name if received else f"total_steps {run.config.total_steps} reached"
    finally:
        save_checkpoint(run.folder / CHECKPOINT_NAME, run.shared, run.board, run.progress(0), run.config)
        write_summary(run, reason, 0)
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 128 + received[0] if received else 0


def _run_folder(config: TrainConfig) -> Path:
    name = config.run_name or f"{config.env}_{time.strftime('%Y-%m-%d_%H-%M-%S')}"
    folder = config.log_dir / name
    if (folder / CHECKPOINT_NAME).exists():
        raise UserError(f"The run {folder} exists: go on with it by --resume {name}, or choose another --run-name.")
    return folder


def _check_writable(folder: Path) -> None:
    """See that a folder can be written into, or be made; nothing stays behind.

    Raises:
        UserError: if not.
    """
    try:
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise UserError(f"Can't write into the folder {folder}: {error.strerror}.") from error
