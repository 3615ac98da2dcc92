"""Checkpoints: everything that a run needs to go on, in files without pickles.

`checkpoint-000042.safetensors` holds what the processes share and the best weights so far; beside it lies
`checkpoint-000042.worker-3.safetensors`, what worker 3 alone knows: its games, its randomness. Numbers only grow, so
the newest checkpoint is the one with the highest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from a3g.config import TrainConfig
from a3g.config_json import to_json, train_config_from_json
from a3g.errors import UserError
from a3g.files import Shapes, load_tensors, looking_into, read_json, save_tensors
from a3g.runs.paths import checkpoints_in
from a3g.runs.progress import Progress

COUNTERS = "counters."  # what the names of the counters begin with
SERVER = "server."  # likewise of what a parameter server has beside the weights: a run may go on with or without one
AVERAGE = "average."  # likewise of an average of the weights
BEST_FILE = "best.file"  # the best weights' file, byte for byte, so that a checkpoint is enough to go on anywhere

Say = Callable[[str], None]


# -- saving and loading


def save_checkpoint(
    path: Path, tensors: Mapping[str, Tensor], progress: Progress, config: TrainConfig, best: bytes = b""
) -> int:
    """Write a checkpoint, atomically; returns its size in bytes.

    Args:
        path: the file.
        tensors: of a `Snapshot`.
        progress: the counters at that moment.
        config: the run's settings.
        best: the file of the best weights so far.

    Raises:
        OSError: if it can't be written.
    """
    if best:
        tensors = {**tensors, BEST_FILE: torch.frombuffer(bytearray(best), dtype=torch.uint8)}
    metadata = {"progress": json.dumps(asdict(progress)), "config": json.dumps(to_json(config))}
    return save_tensors(path, tensors, metadata)


def load_checkpoint(path: Path, expected: Mapping[str, tuple[int, ...]]) -> tuple[dict[str, Tensor], Progress, bytes]:
    """Read a checkpoint.

    Args:
        path: the file.
        expected: names and shapes of what it must have: weights, optimizer, the tester's results.

    Returns:
        the tensors (counters may have other shapes than today's), the counters, and the file of the best weights (may be
        empty)

    Raises:
        UserError: if it is missing or damaged, or was written with another network or optimizer.
    """

    def check(shapes: Shapes, metadata: dict[str, str]) -> None:
        beside = (COUNTERS, SERVER, AVERAGE)
        found = {name: shape for name, shape in shapes.items() if not name.startswith(beside) and name != BEST_FILE}
        if found != dict(expected):
            raise UserError(
                f"The checkpoint {path} was written with another network or optimizer: go on with the run's own settings."
            )

    tensors, progress, _ = _load_good(path, check)
    best = tensors.pop(BEST_FILE, None)
    return tensors, progress, b"" if best is None else best.numpy().tobytes()


def load_config(path: Path) -> TrainConfig:
    """The settings of the run that wrote a checkpoint.

    Raises:
        UserError: if it is missing, damaged or unreadable.
    """
    return _load_good(path)[2]


def load_progress(path: Path) -> Progress:
    """Where the run stood that wrote a checkpoint; raises as `load_config`."""
    return _load_good(path)[1]


def _load_good(
    path: Path, check: Callable[[Shapes, dict[str, str]], None] = lambda shapes, metadata: None
) -> tuple[dict[str, Tensor], Progress, TrainConfig]:
    """
    Raises:
        UserError: if anything in it is not as it should be.
    """
    tensors, metadata = load_tensors(path, "checkpoint", check)
    try:
        progress = Progress.from_json(read_json(metadata, "progress"))
        config = train_config_from_json(read_json(metadata, "config"))
    except ValueError as error:
        raise UserError(f"The checkpoint {path} has {error}.") from error
    for name, tensor in tensors.items():
        if name.startswith(("model.", "optimizer.")) and not bool(tensor.sum().isfinite()):
            raise UserError(f"The checkpoint {path} is of no use: {name} holds numbers that are not finite.")
    return tensors, progress, config


# -- finding one


def find_checkpoint(resume: str, log_dir: Path, say: Say) -> Path:
    """The checkpoint that `--resume` names: a run's name or its folder, whose newest good one it is, or the file itself.

    Args:
        resume: as on the command line.
        log_dir: the folder of the runs' folders.
        say: called with a sentence about every damaged checkpoint that is passed over.

    Raises:
        UserError: if there is none, or a folder can't be looked into.
    """
    with looking_into(Path(resume)):
        if Path(resume).is_file():
            return Path(resume)
    for folder in (Path(resume), log_dir / resume):
        with looking_into(folder):
            if checkpoints_in(folder):
                return newest_good(folder, say)
    raise UserError(f"There is no checkpoint to resume: neither {resume} nor {log_dir / resume} is a run with one.")


def newest_good(folder: Path, say: Say) -> Path:
    """The newest checkpoint in a folder that is not damaged.

    Raises:
        UserError: if all are.
    """
    passed_over = []
    for path in reversed(checkpoints_in(folder)):
        try:
            _load_good(path)
        except UserError as error:
            passed_over.append(error)
            continue
        for damaged in passed_over:
            say(f"a3g: {damaged} It is passed over.")
        return path
    if len(passed_over) == 1:
        raise passed_over[0]
    raise UserError(f"None of the {len(passed_over)} checkpoints in {folder} can be read. The newest: {passed_over[0]}")


def find_automatically(log_dir: Path, run_name: str, env: str, say: Say) -> Path | None:
    """What `--resume auto` goes on with: the run of this name, else, if the name is empty, the newest run of the environment.

    Returns:
        its newest good checkpoint; None if there is no such run, so that it begins now

    Raises:
        UserError: if the run's checkpoints are all damaged, or a folder can't be looked into.
    """
    with looking_into(log_dir / run_name):
        if run_name:
            folders = [log_dir / run_name]
        else:
            folders = [path for path in log_dir.glob(f"{env}_*") if checkpoints_in(path)]
            folders.sort(key=lambda folder: checkpoints_in(folder)[-1].stat().st_mtime)
        if not folders or not checkpoints_in(folders[-1]):
            return None
        return newest_good(folders[-1], say)
