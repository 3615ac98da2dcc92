"""The files in which workers keep what only they know: games, recurrent state, randomness, an optimizer of their own."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from a3g.config import TrainConfig
from a3g.errors import UserError
from a3g.files import Memory, load_tensors, save_tensors
from a3g.game.emulators import resolve_emulator
from a3g.game.options import GameOptions
from a3g.network_spec import NetworkSpec

# A replay buffer may be part of it.
MAX_BYTES = 1 << 44


class WorkerState(NamedTuple):
    """A worker's file."""

    tensors: dict[str, Tensor]
    same_games: bool
    """Whether the settings that decide what is played are those of today."""
    same_optimizer: bool
    """Whether the worker's own optimizer state, if it has one, still fits."""


def save_worker_state(path: Path, state: dict[str, Tensor], config: TrainConfig, worker: int, device: torch.device) -> None:
    """Write a worker's state; raises OSError if it can't be written."""
    games, optimizer = _games(config, worker, device), _optimizer(config)
    save_tensors(path, state, {"games": json.dumps(games), "optimizer": json.dumps(optimizer)})


def load_worker_state(
    path: Path,
    config: TrainConfig,
    worker: int,
    device: torch.device,
    memory: Memory = lambda name, dtype, shape: None,
) -> WorkerState:
    """Read a worker's state.

    Args:
        memory: where tensors are to be read to, see `a3g.files.load_tensors`.

    Raises:
        UserError: if the file is missing or damaged.
    """
    tensors, metadata = load_tensors(path, "worker's state", memory=memory, max_bytes=MAX_BYTES)
    try:
        games = json.loads(metadata["games"])
        own_optimizer = games.pop("optimizer", None)  # where the first version kept it
        games["game"] = {**asdict(GameOptions()), **games["game"]}  # older files lack newer options: they had the defaults
        games["network"] = {**asdict(NetworkSpec()), **games["network"]}
        if "optimizer" in metadata:
            optimizer = json.loads(metadata["optimizer"])
        else:
            optimizer = {"name": own_optimizer, "network": games["network"]}
        if optimizer.keys() != {"name", "network"}:
            raise ValueError("no readable optimizer")
        optimizer["network"] = {**asdict(NetworkSpec()), **optimizer["network"]}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UserError(f"The worker's state file {path} is damaged ({error!r}).") from error
    now, optimizer_now = (json.loads(json.dumps(each)) for each in (_games(config, worker, device), _optimizer(config)))
    return WorkerState(tensors, games == now, optimizer == optimizer_now)


def _games(config: TrainConfig, worker: int, device: torch.device) -> dict[str, Any]:
    """What has to be the same for a worker to go on with games that were saved: not how it learns, but what it plays."""
    return {
        "stages": [stage and list(stage) for stage in config.worker_stages(worker)],
        "lanes": config.lanes,
        "game": asdict(config.game_options()),
        "network": asdict(config.network_spec()),
        "emulator": resolve_emulator(config.emulator),
        "device": device.type,
    }


def _optimizer(config: TrainConfig) -> dict[str, Any]:
    """What has to be the same for the state of a worker's own optimizer to fit."""
    return {"name": None if config.shared_optimizer else config.optimizer, "network": asdict(config.network_spec())}
