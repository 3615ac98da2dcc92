"""What every process of a run does first: its title, its threads, its GPU, its signals."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Sequence

import psutil
import setproctitle
import torch

from a3g.accelerator.precision import prepare_gpu_arithmetic, resolve_precision
from a3g.config import TrainConfig
from a3g.errors import UserError
from a3g.game.emulators import resolve_emulator
from a3g.processes.fork_server import STOP_SIGNALS
from a3g.processes.parent_death import end_with_parent
from a3g.reporting.say import make_output_patient

# Exit code of a worker that got damaged weights from the shared model and could not act with them.
EXIT_DAMAGED_WEIGHTS = 3

# mallopt(3): options by their numbers in <malloc.h>, and what they are set to. Blocks of more than 32 MB, the most that
# older glibc takes here, still come from the kernel and go back to it; bfloat16 activations are smaller.
_M_TRIM_THRESHOLD, _KEPT_BYTES = -1, 1 << 30
_M_MMAP_THRESHOLD, _LARGEST_BLOCK = -3, 1 << 25


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
    make_output_patient()
    # Signals reach every process of a terminal or of a batch job; only the launcher decides what they mean.
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    compute_on_one_core()
    return prepare_device(gpu_id)


def compute_on_one_core() -> None:
    """Set PyTorch up for a process that has one core to itself.

    What it frees stays with the process for the next time. By default glibc gives large blocks back to the kernel, and an
    update asked for them again and again: 50,000 page faults, a fifth of its time, for 1,024 agent steps of preset quick.
    """
    torch.set_num_threads(1)
    with contextlib.suppress(AttributeError):  # no glibc, no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_BLOCK)


def prepare_device(gpu_id: int) -> torch.device:
    """Make one GPU the only one that this process can see, or none with -1; call it before anything touches CUDA."""
    if gpu_id < 0:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return torch.device("cpu")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[gpu_id] if visible else str(gpu_id)
    prepare_gpu_arithmetic("float32")  # what is not asked for otherwise is exact
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
            # A scheduler or the user may leave this process only some of the machine's GPUs; those count from 0 again.
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            which = "" if visible is None else f", as CUDA_VISIBLE_DEVICES={visible!r} says"
            raise UserError(f"There is no GPU {gpu}: {there}{which}; use -1 for the CPU.")


def describe_computing(config: TrainConfig) -> str:
    """On what the games run and, on the CPU, in what the networks compute; for people."""
    games = f"the games run on {resolve_emulator(config.emulator)}"
    if max(config.gpu_ids) >= 0:  # to ask a GPU would make a context on it
        return f"{games}."
    precision = "bfloat16" if resolve_precision(config.precision, torch.device("cpu")) is torch.bfloat16 else "float32"
    reasons = {"bfloat16": "which this processor computes in", "float32": "since this processor does not compute in bfloat16"}
    why = f", {reasons[precision]}" if config.precision == "auto" else ""
    return f"{games}; the networks compute in {precision}{why}."


def describe_gpus(config: TrainConfig, found: int) -> list[str]:
    """What a run makes of the machine's GPUs, for people; nothing on a machine without.

    Args:
        found: how many there are.
    """
    dealt = [config.gpu_ids[worker % len(config.gpu_ids)] for worker in range(config.workers)]
    used = sorted({gpu for gpu in dealt if gpu >= 0})
    idle = [str(gpu) for gpu in range(found) if gpu not in used]
    lines = []
    if used:
        shares = ", ".join(f"{dealt.count(gpu)} on GPU {gpu}" for gpu in used)
        features = {"CUDA graphs": config.gpu_graphs, "halves in turn": config.gpu_overlap, "pinned memory": config.gpu_pinned}
        switches = ", ".join(f"{name} {'on' if on else 'off'}" for name, on in features.items())
        lines.append(f"workers: {shares}; {switches}, precision {config.precision}.")
    if idle:
        subject = f"GPU {idle[0]} is" if len(idle) == 1 else f"GPUs {' '.join(idle)} are"
        everyone = " ".join(map(str, range(found)))
        lines.append(f"{subject} idle: --gpu-ids {everyone} deals the workers out to every GPU here.")
    return lines


def gpu_bytes(device: torch.device) -> int:
    """GPU memory that PyTorch holds for this process, CUDA graphs' included; its context comes on top."""
    return torch.cuda.memory_reserved(device) if device.type == "cuda" else 0


def resident_bytes() -> int:
    """Memory of this process that is in RAM now, shared pages included."""
    return int(psutil.Process().memory_info().rss)
