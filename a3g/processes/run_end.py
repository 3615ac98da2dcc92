"""How a run ends: signals that stop it, the last checkpoint and test, the exit code, and how to go on."""

from __future__ import annotations

import contextlib
import shlex
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from a3g.config import TrainConfig
from a3g.processes.fork_server import STOP_SIGNALS
from a3g.processes.run_statistics import Run
from a3g.processes.tester import Tester
from a3g.reporting.say import say
from a3g.runs.saver import Saver
from a3g.runs.snapshot import Snapshot

# Exit codes beside 0 (the run's goal reached) and 2 (a user's mistake), as shells use them: 128 + signal number.
EXIT_FAILURE = 1
# Why a run ends that has lost its folder: this machine was silent for long, and another one went on with the run.
TAKEN_OVER = "another machine has taken over the run"


@contextlib.contextmanager
def collect_stop_signals(received: list[signal.Signals], on_signal: Callable[[], Any] = lambda: None) -> Iterator[None]:
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


def exit_code(signals: list[signal.Signals], saved: bool, failed: bool = False) -> int:
    if signals and saved:
        return 128 + signals[0]
    return 0 if saved and not failed else EXIT_FAILURE


def reached_its_goal(signals: list[signal.Signals], failed: bool, reason: str) -> bool:
    """Whether there is nothing left to do; a run that only used up its minutes goes on for as many more."""
    return not signals and not failed and not reason.startswith("max_minutes")


def resume_command(folder: Path) -> str:
    """The command that goes on with a run."""
    name = folder.name if folder.parent == TrainConfig.log_dir else str(folder)
    return f"python main.py --resume {shlex.quote(name)}"


def test_at_end(run: Run, signals: list[signal.Signals]) -> bool:
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


def make_saver(
    run: Run, say: Callable[[str], None], others: Mapping[str, Tensor] | None = None, has_workers: bool = True
) -> Saver:
    """
    Args:
        run: what is saved.
        say: called with sentences for people.
        others: what belongs in its checkpoints beside what its processes share.
        has_workers: whether workers here leave their own state for the checkpoints.
    """
    shared = run.shared
    return Saver(
        run.folder,
        run.config,
        Snapshot(shared.model.tensors(), {**shared.tensors_beside_model(), **(others or {})}),
        shared.control.barrier,
        shared.counters.progress,
        on_restored=shared.counters.note_restored,
        stopping=lambda: bool(shared.control.stop),
        worker_beats=lambda: shared.control.heartbeats.count(0),
        say=say,
        now=time.monotonic(),
        resumed_from=run.resumed_from,
        saved_at=run.saved_at,
        has_workers=has_workers,
    )
