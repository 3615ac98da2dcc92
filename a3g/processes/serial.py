"""Training in one process, without a tester: for tests and debuggers."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

import torch

from a3g.processes.run_end import collect_stop_signals, exit_code, make_saver, resume_command, test_at_end
from a3g.processes.run_statistics import Run, write_summary
from a3g.processes.worker import make_worker
from a3g.reporting.say import say


def train_serially(run: Run) -> int:
    """One worker in this process, no tester; the same worker code. Saved when it ends."""
    gpu = run.config.gpu_ids[0]
    device = torch.device("cpu") if gpu < 0 else torch.device("cuda", gpu)
    if gpu >= 0:
        torch.cuda.set_device(device)  # everything on this GPU, so that no other gets a context
    shared = run.shared
    worker = make_worker(0, run.config, shared, device, shared.counters.resumed, run.folder, run.resumed_from)
    saver = make_saver(run, lambda message: say(f"a3g: {message}"))
    reason = "stopped by an error"
    received: list[signal.Signals] = []
    with collect_stop_signals(received, lambda: shared.control.stop.fill_(1)):
        try:
            with _stop_in_time(run):
                worker.run()
            minutes = bool(shared.control.stop)
            goal = f"max_minutes {run.config.max_minutes:g}" if minutes else f"total_steps {run.config.total_steps}"
            reason = received[0].name if received else f"{goal} reached"
        finally:
            say(f"a3g: {reason}: stopping, saving")
            shared.control.stop.fill_(1)
            saved = not run.is_lost and saver.save_the_end()
            if not run.is_lost:
                write_summary(run, reason)
        if test_at_end(run, received):
            write_summary(run, reason)
        if saved and received:
            say(f"a3g: go on with it by: {resume_command(run.folder)}")
    return exit_code(received, saved)


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
