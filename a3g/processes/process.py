"""What every process of a run does first: its title, its threads, its GPU, its signals."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

import psutil
import setproctitle
import torch

from a3g.errors import UserError
from a3g.processes.lifeline import end_with_parent

# What tells a run to stop: Ctrl-C, and what schedulers send before they take the machine away.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


def prepare_process(title: str, gpu_id: int = -1) -> torch.device:
    """Set a child process up; call it before anything touches CUDA.

    Args:
        title: what `ps` and `top` show.
        gpu_id: the process's GPU, -1 for none. It becomes the only one that the process can see, so that no context
            is ever made on another.

    Returns:
        the device that the process computes on
    """
    end_with_parent()
    setproctitle.setproctitle(title)
    # Signals reach every process of a terminal or of a batch job; only the launcher decides what they mean.
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    torch.set_num_threads(1)
    return prepare_device(gpu_id)


def prepare_device(gpu_id: int) -> torch.device:
    """Make one GPU the only one that this process can see, or none with -1; call it before anything touches CUDA."""
    if gpu_id < 0:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return torch.device("cpu")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[gpu_id] if visible else str(gpu_id)
    return torch.device("cuda", 0)


def check_gpus(gpu_ids: Sequence[int]) -> None:
    """
    Raises:
        UserError: if a GPU asked for isn't there; -1, the CPU, always is.
    """
    wanted = [gpu for gpu in gpu_ids if gpu >= 0]
    # Counts through the driver's management library: makes no CUDA context.
    found = torch.cuda.device_count() if wanted else 0
    for gpu in wanted:
        if gpu >= found:
            there = f"this machine has {found}, numbered from 0" if found else "PyTorch finds none on this machine"
            raise UserError(f"There is no GPU {gpu}: {there}; use -1 for the CPU.")


def resident_bytes() -> int:
    """Memory of this process that is in RAM now, shared pages included."""
    return int(psutil.Process().memory_info().rss)
