"""Checkpoints: everything that a run needs to go on, in one file without pickles."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from a3g.config import TrainConfig, to_json, train_config_from_json
from a3g.errors import UserError
from a3g.files import load_tensors, save_tensors
from a3g.processes.shared import Count, SharedCounters, SharedModel, TestBoard

CHECKPOINT_NAME = "checkpoint.safetensors"


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
    seconds: float = 0.0
    """Since the first worker's first step, pauses between resumed parts left out."""


def count_progress(counters: SharedCounters, earlier: Progress, seconds: float, restarts: int) -> Progress:
    """The run's counters now: those at its last resumption plus what has been counted since."""
    return Progress(
        agent_steps=earlier.agent_steps + counters.total(Count.AGENT_STEPS),
        updates=earlier.updates + counters.total(Count.UPDATES),
        episodes=earlier.episodes + counters.total(Count.EPISODES),
        skipped_updates=earlier.skipped_updates + counters.total(Count.SKIPPED_UPDATES),
        restarts=earlier.restarts + restarts,
        resumed=earlier.resumed,
        seconds=earlier.seconds + seconds,
    )


def save_checkpoint(path: Path, shared: SharedModel, board: TestBoard, progress: Progress, config: TrainConfig) -> None:
    """Write weights, optimizer state, input statistics, test results and counters, atomically.

    Raises:
        OSError: if it can't be written; the checkpoint before stays.
    """
    tensors = {f"model.{name}": tensor for name, tensor in _model_tensors(shared).items()}
    tensors |= {f"optimizer.{name}": tensor for name, tensor in _optimizer_tensors(shared).items()}
    tensors |= {f"tester.{name}": tensor for name, tensor in vars(board).items()}
    metadata = {"progress": json.dumps(asdict(progress)), "config": json.dumps(to_json(config))}
    save_tensors(path, {name: tensor.detach().clone() for name, tensor in tensors.items()}, metadata)


def load_checkpoint(path: Path, shared: SharedModel, board: TestBoard) -> Progress:
    """Put a checkpoint's content into the shared model, optimizer and test board.

    Raises:
        UserError: if it is missing or damaged, or was written with another network or optimizer.
    """
    tensors, metadata = load_tensors(path, "checkpoint")
    targets = {f"model.{name}": tensor for name, tensor in _model_tensors(shared).items()}
    targets |= {f"optimizer.{name}": tensor for name, tensor in _optimizer_tensors(shared).items()}
    targets |= {f"tester.{name}": tensor for name, tensor in vars(board).items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if found != {name: tuple(tensor.shape) for name, tensor in targets.items()}:
        raise UserError(
            f"The checkpoint {path} was written with another network or optimizer: go on with the run's own settings."
        )
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(tensors[name])
    try:
        return Progress(**_read_json(metadata, "progress", path))
    except TypeError as error:
        raise UserError(f"The checkpoint {path} has no readable progress ({error}).") from error


def load_config(path: Path) -> TrainConfig:
    """The settings of the run that wrote a checkpoint.

    Raises:
        UserError: if it is missing, damaged or unreadable.
    """
    _, metadata = load_tensors(path, "checkpoint")
    return train_config_from_json(_read_json(metadata, "config", path))


def find_checkpoint(resume: str, log_dir: Path) -> Path:
    """The checkpoint file that `--resume` names: a run's name, its folder, or the file itself.

    Raises:
        UserError: if there is none.
    """
    for candidate in (Path(resume), Path(resume) / CHECKPOINT_NAME, log_dir / resume / CHECKPOINT_NAME):
        if candidate.is_file():
            return candidate
    raise UserError(
        f"There is no checkpoint to resume: neither {resume} nor {log_dir / resume} is a run with a {CHECKPOINT_NAME}."
    )


def _model_tensors(shared: SharedModel) -> dict[str, Tensor]:
    return {"weights": shared.weights, "input_statistics": shared.input_statistics}


def _optimizer_tensors(shared: SharedModel) -> dict[str, Tensor]:
    if shared.optimizer is None:  # every worker has its own, gone with it
        return {}
    return dict(shared.optimizer.state[shared.weights])


def _read_json(metadata: dict[str, str], key: str, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(metadata[key])
    except (KeyError, ValueError) as error:
        raise UserError(f"The checkpoint {path} has no readable {key}.") from error
    if not isinstance(content, dict):
        raise UserError(f"The checkpoint {path} has no readable {key}.")
    return content
