"""What every process of a run does first: its title, its threads, its GPU, its signals."""

from __future__ import annotations

import os
import signal

import psutil
import setproctitle
import torch


def prepare_process(title: str, gpu_id: int = -1) -> torch.device:
    """Set a child process up; call it before anything touches CUDA.

    Args:
        title: what `ps` and `top` show.
        gpu_id: the process's GPU, -1 for none. It becomes the only one that the process can see, so that no context
            is ever made on another.

    Returns:
        the device that the process computes on
    """
    setproctitle.setproctitle(title)
    # Ctrl-C reaches every process of the terminal; only the launcher decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    if gpu_id < 0:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return torch.device("cpu")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else []
    os.environ["CUDA_VISIBLE_DEVICES"] = names[gpu_id] if names else str(gpu_id)
    return torch.device("cuda", 0)


def resident_bytes() -> int:
    """Memory of this process that is in RAM now, shared pages included."""
    return int(psutil.Process().memory_info().rss)
