"""The files in which workers keep what only they know: games, recurrent state, randomness, an optimizer of their own."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from a3g.errors import UserError
from a3g.files import Shapes, load_tensors, save_tensors
from a3g.game.emulators import resolve_emulator

if TYPE_CHECKING:
    from a3g.processes.worker import Worker

_OWN_OPTIMIZER = "optimizer."


def own_games(worker: Worker) -> dict[str, Any]:
    """What has to be the same for a worker to go on with games that were saved: not how it learns, but what it plays."""
    config = worker.config
    return {
        "stages": [stage and list(stage) for stage in config.worker_stages(worker.number)],
        "lanes": config.lanes,
        "game": asdict(config.game_options()),
        "network": asdict(config.network_spec()),
        "emulator": resolve_emulator(config.emulator),
        "device": worker.device.type,
        "optimizer": None if config.shared_optimizer else config.optimizer,
    }


def worker_state(worker: Worker) -> dict[str, torch.Tensor]:
    """All that the worker's next rollouts and updates depend on beside what is shared, as copies."""
    state = {f"collector.{name}": tensor for name, tensor in worker.collector.state().items()}
    state["random"] = torch.get_rng_state()
    if worker.device.type == "cuda":
        state["cuda_random"] = torch.cuda.get_rng_state(worker.device)
    if worker.shared.optimizer is None:
        own = worker.optimizer.state[worker.shared.weights]
        state |= {f"{_OWN_OPTIMIZER}{name}": tensor.clone() for name, tensor in own.items()}
    return state


def save_worker_state(path: Path, worker: Worker, state: dict[str, torch.Tensor]) -> None:
    """Write a worker's state; raises OSError if it can't be written."""
    save_tensors(path, state, {"games": json.dumps(own_games(worker))})


def load_worker_state(path: Path, worker: Worker) -> None:
    """Let a worker go on where another one, in an earlier start of the run, was.

    Raises:
        UserError: if the file is missing, damaged or about other games. An optimizer of the worker's own goes on
            from its state all the same, where that fits.
    """
    saved: dict[str, Any] = {}

    def check(shapes: Shapes, metadata: dict[str, str]) -> None:
        saved.update(_games_of(metadata))

    state, _ = load_tensors(path, "worker's state", check)
    # An optimizer's own state fits the network, whatever was played.
    lost = _lost_optimizer(saved, state, worker)
    now = _games_of({"games": json.dumps(own_games(worker))})
    if {**saved, "optimizer": None} != {**now, "optimizer": None} or lost:
        raise UserError(f"The games in {path} are not those of the settings now{lost}.")
    try:
        collector = {name[10:]: tensor for name, tensor in state.items() if name.startswith("collector.")}
        worker.collector.restore(collector)
        torch.set_rng_state(state["random"])
        if worker.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_random"], worker.device)
    except (KeyError, ValueError, TypeError, RuntimeError, StopIteration) as error:
        raise UserError(f"The worker's state file {path} does not fit ({error!r}).") from error


def _games_of(metadata: dict[str, str]) -> dict[str, Any]:
    try:
        games = json.loads(metadata.get("games", ""))
    except (ValueError, RecursionError):
        games = None
    return games if isinstance(games, dict) else {}


def _lost_optimizer(saved: dict[str, Any], state: dict[str, torch.Tensor], worker: Worker) -> str:
    """Let the worker's own optimizer go on from a saved state, whatever its games; returns what to say if it can't."""
    if worker.shared.optimizer is not None:
        return ""
    own = worker.optimizer.state[worker.shared.weights]
    found = {name: state.get(f"{_OWN_OPTIMIZER}{name}") for name in own}
    fits = saved.get("optimizer") == worker.config.optimizer and all(
        tensor is not None and tensor.shape == own[name].shape and tensor.dtype == own[name].dtype
        for name, tensor in found.items()
    )
    if not fits:
        return f", and the state of its {worker.config.optimizer} is lost"
    for name, tensor in found.items():
        assert tensor is not None
        own[name].copy_(tensor)
    return ""
