"""Whether a run can fit into this machine's memory, found out before anything is made."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from a3g.algorithms import algorithm_class
from a3g.config import TrainConfig
from a3g.errors import UserError
from a3g.network_spec import NetworkSpec

# What a worker takes beside its model and rollouts, at the least: what it does not share with the fork server.
WORKER_BYTES = 50 << 20
_FLOAT_BYTES = 4
_SHARED = Path("/dev/shm")


@dataclass(frozen=True)
class MemoryEstimate:
    """What a run takes at the least, in bytes; activations and the tester come on top."""

    shared: int
    """Weights and the optimizer's state, in shared memory."""
    worker: int
    """Each worker: its copy of the weights, their gradients, a rollout's pictures, its replay."""
    total: int
    disk: int = 0
    """Replays in files and in checkpoints."""


def estimate_memory(config: TrainConfig) -> MemoryEstimate:
    spec = config.network_spec()
    weights = _FLOAT_BYTES * count_parameters(config.algorithm, spec)
    stack, height, width = spec.observation_shape
    pictures = (config.num_steps + 1) * config.lanes * stack * height * width
    moments = (2 + config.amsgrad) if config.optimizer == "Adam" else 1
    optimizers = 1 if config.shared_optimizer else config.workers
    shared = weights * (1 + moments * optimizers)
    replay = algorithm_class(config.algorithm).replay_size(config)
    worker = WORKER_BYTES + 2 * weights + pictures + replay.memory
    # A new checkpoint is written before the oldest goes. Those of a run that is resumed are there already.
    checkpoints = 1 if config.resume else config.keep_checkpoints + 1
    disk = config.workers * (replay.disk + checkpoints * replay.checkpoint)
    return MemoryEstimate(shared, worker, shared + config.workers * worker, disk)


def saved_replays_bytes(config: TrainConfig) -> int:
    """What all workers' replays take in one checkpoint."""
    return config.workers * algorithm_class(config.algorithm).replay_size(config).checkpoint


def count_parameters(algorithm: str, spec: NetworkSpec) -> int:
    """How many numbers a network learns, without making it.

    Linear layers and LSTMs have at most the square of the hidden size, so three small networks tell the number for any
    (Newton's interpolation of a polynomial of degree 2).
    """
    build = algorithm_class(algorithm).build_model
    small = [build(replace(spec, hidden_size=size)).parameters() for size in (1, 2, 3)]
    first, second, third = (sum(parameter.numel() for parameter in parameters) for parameters in small)
    steps = spec.hidden_size - 1
    return first + steps * (second - first) + steps * (steps - 1) // 2 * (third - 2 * second + first)


def check_memory(config: TrainConfig) -> None:
    """
    Raises:
        UserError: if the run can't fit into what this machine has left.
    """
    needed = estimate_memory(config)
    available = psutil.virtual_memory().available + psutil.swap_memory().free
    if needed.total > available:
        raise UserError(
            f"The run needs {_gigabytes(needed.total)} of memory at the least ({config.workers} workers with "
            f"{_gigabytes(needed.worker)} each, {_gigabytes(needed.shared)} shared), and {_gigabytes(available)} are free: "
            f"use fewer --workers or --lanes, a smaller {_smaller(config)}."
        )
    free = _free_shared()
    if free is not None and needed.shared > free:
        raise UserError(
            f"The run needs {_gigabytes(needed.shared)} of shared memory at the least, and {_SHARED} has "
            f"{_gigabytes(free)} free: make it larger (in a container by --shm-size), or use a smaller --hidden-size."
        )
    room = free_disk(config.log_dir) if needed.disk else None
    if room is not None and needed.disk > room:
        raise UserError(
            f"The replays of {config.workers} workers need {_gigabytes(needed.disk)} of disk, with those in checkpoints, and "
            f"{config.log_dir} has {_gigabytes(room)} free: use a smaller --replay-size, fewer --keep-checkpoints, "
            "--no-save-replay, or another --log-dir."
        )


def free_disk(folder: Path) -> int | None:
    """Bytes free where a folder is or is to be made; None if nobody knows."""
    try:
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        return shutil.disk_usage(existing).free
    except OSError:
        return None


def _smaller(config: TrainConfig) -> str:
    """What takes the most memory, as the rest of a sentence."""
    names = ["--hidden-size", "--num-steps"]
    if algorithm_class(config.algorithm).replay_size(config).memory:
        names = ["--replay-size", *names]
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _free_shared() -> int | None:
    try:
        return shutil.disk_usage(_SHARED).free
    except OSError:  # no such place on this system
        return None


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"
