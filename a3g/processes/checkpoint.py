"""Checkpoints: everything that a run needs to go on, in files without pickles.

`checkpoint-000042.safetensors` holds what the processes share and the best weights so far; beside it lies
`checkpoint-000042.worker-3.safetensors`, what worker 3 alone knows: its games, its randomness. Numbers only grow, so
the newest checkpoint is the one with the highest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from a3g.command_line import to_json, train_config_from_json
from a3g.config import TrainConfig
from a3g.errors import UserError
from a3g.files import Shapes, load_tensors, looking_into, read_json, save_tensors
from a3g.processes.shared import Count, SharedCounters, SharedModel, TestBoard
from a3g.processes.snapshot import board_tensors, counter_tensors, model_tensors

BEST_FILE = "best.file"  # the best weights' file, byte for byte, so that a checkpoint is enough to go on anywhere
_NAME = re.compile(r"checkpoint-(\d{6,})\.safetensors")
_NAME_OR_PART = re.compile(r"checkpoint-\d{6,}(\.worker-\d+)?\.safetensors")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Progress:
    """The counters of a run, at a checkpoint or at its end."""

    agent_steps: int = 0
    updates: int = 0
    episodes: int = 0
    skipped_updates: int = 0
    restarts: int = 0
    resumed: int = 0
    """How often the run was resumed."""
    restored: int = 0
    """How often the shared model was found damaged and taken back to what it was."""
    seconds: float = 0.0
    """Since the first worker's first step, pauses between resumed parts left out."""
    saved_at: float = 0.0
    """Seconds since 1970."""


def count_progress(counters: SharedCounters, earlier: Progress, seconds: float, restarts: int, restored: int) -> Progress:
    """The run's counters now: those that are in no worker's row plus those that are."""
    return replace(
        earlier,
        agent_steps=earlier.agent_steps + counters.total(Count.AGENT_STEPS),
        updates=earlier.updates + counters.total(Count.UPDATES),
        episodes=earlier.episodes + counters.total(Count.EPISODES),
        skipped_updates=earlier.skipped_updates + counters.total(Count.SKIPPED_UPDATES),
        restarts=earlier.restarts + restarts,
        restored=earlier.restored + restored,
        seconds=earlier.seconds + seconds,
    )


# -- files


def checkpoint_path(folder: Path, number: int) -> Path:
    return folder / f"checkpoint-{number:06}.safetensors"


def worker_path(checkpoint: Path, worker: int) -> Path:
    """Where a worker's own state of a checkpoint lies."""
    return checkpoint.with_suffix(f".worker-{worker}.safetensors")


def leaving_path(folder: Path, worker: int) -> Path:
    """Where a worker that ends leaves its state, for the checkpoint that is written next."""
    return worker_path(folder / "leaving.safetensors", worker)


def checkpoints_in(folder: Path) -> list[Path]:
    """A run's checkpoints, the oldest first; none if the folder isn't there."""
    numbered = [(int(match[1]), path) for path in folder.glob("checkpoint-*") if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(numbered)]


def next_number(folder: Path) -> int:
    """A number above those of all checkpoints in a folder."""
    numbers = [int(match[1]) for path in checkpoints_in(folder) if (match := _NAME.fullmatch(path.name))]
    return max(numbers, default=0) + 1


def adopt_leaving(folder: Path, checkpoint: Path, workers: int) -> None:
    """Let the states of workers that have ended belong to a checkpoint."""
    for worker in range(workers):
        left = leaving_path(folder, worker)
        if left.exists():
            left.replace(worker_path(checkpoint, worker))


def prune(folder: Path, keep: int | None = None, spare: Path | None = None) -> None:
    """Remove all but the newest `keep` checkpoints (None: no checkpoint), and workers' states that belong to none.

    The one to `spare` stays: workers may still be about to read their states of it. So do files of any other name.
    """
    found = checkpoints_in(folder)
    kept = [*found[-keep if keep else 0 :], *(path for path in found if spare is not None and path.name == spare.name)]
    for path in folder.glob("checkpoint-*.safetensors"):
        if _NAME_OR_PART.fullmatch(path.name) and not any(path.name.startswith(f"{each.stem}.") for each in kept):
            path.unlink(missing_ok=True)


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


def load_checkpoint(path: Path, shared: SharedModel, board: TestBoard, counters: SharedCounters) -> tuple[Progress, bytes]:
    """Put a checkpoint's content into what the processes share.

    Workers' counters are put back where the number of workers is the same, else they only count in the sums.

    Returns:
        the counters that are in no worker's row now, and the file of the best weights (may be empty)

    Raises:
        UserError: if it is missing or damaged, or was written with another network or optimizer; nothing is changed.
    """
    targets = {**model_tensors(shared), **board_tensors(board)}
    rows = counter_tensors(counters)

    def check(shapes: Shapes, metadata: dict[str, str]) -> None:
        found = {name: shape for name, shape in shapes.items() if name not in rows and name != BEST_FILE}
        if found != {name: tuple(tensor.shape) for name, tensor in targets.items()}:
            raise UserError(
                f"The checkpoint {path} was written with another network or optimizer: go on with the run's own settings."
            )

    tensors, progress, _ = _load_good(path, check)
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(tensors[name])
        if all(name in tensors and tensors[name].shape == row.shape for name, row in rows.items()):
            for name, row in rows.items():
                row.copy_(tensors[name])
            progress = replace(
                progress,
                agent_steps=progress.agent_steps - counters.total(Count.AGENT_STEPS),
                updates=progress.updates - counters.total(Count.UPDATES),
                episodes=progress.episodes - counters.total(Count.EPISODES),
                skipped_updates=progress.skipped_updates - counters.total(Count.SKIPPED_UPDATES),
            )
    best = tensors.get(BEST_FILE)
    return progress, b"" if best is None else best.numpy().tobytes()


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
        progress = _read_progress(read_json(metadata, "progress"))
        config = train_config_from_json(read_json(metadata, "config"))
    except ValueError as error:
        raise UserError(f"The checkpoint {path} has {error}.") from error
    for name, tensor in tensors.items():
        if name.startswith(("model.", "optimizer.")) and not bool(tensor.sum().isfinite()):
            raise UserError(f"The checkpoint {path} is of no use: {name} holds numbers that are not finite.")
    return tensors, progress, config


def _read_progress(values: dict[str, Any]) -> Progress:
    """
    Raises:
        ValueError: if they are no progress.
    """
    kinds = {field.name: type(field.default) for field in fields(Progress)}
    if any(name not in kinds or type(value) not in (int, kinds[name]) or value < 0 for name, value in values.items()):
        raise ValueError("no readable progress")
    return Progress(**values)


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


def find_automatically(config: TrainConfig, say: Say) -> Path | None:
    """What `--resume auto` goes on with: the run called `--run-name`, else the newest run of this environment.

    Returns:
        its newest good checkpoint; None if there is no such run, so that it begins now

    Raises:
        UserError: if the run's checkpoints are all damaged, or a folder can't be looked into.
    """
    with looking_into(config.log_dir / config.run_name):
        if config.run_name:
            folders = [config.log_dir / config.run_name]
        else:
            folders = [path for path in config.log_dir.glob(f"{config.env}_*") if checkpoints_in(path)]
            folders.sort(key=lambda folder: checkpoints_in(folder)[-1].stat().st_mtime)
        if not folders or not checkpoints_in(folders[-1]):
            return None
        return newest_good(folders[-1], say)
