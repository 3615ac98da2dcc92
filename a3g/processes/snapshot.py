"""A copy of all that the processes of a run share, in the launcher's own memory: what checkpoints are written from."""

from __future__ import annotations

import torch
from torch import Tensor

from a3g.processes.shared import SharedCounters, SharedModel, TestBoard


def model_tensors(shared: SharedModel) -> dict[str, Tensor]:
    """Weights, input statistics and the optimizer's state, by their names in a checkpoint."""
    tensors = {"model.weights": shared.weights.detach(), "model.input_statistics": shared.input_statistics}
    if shared.optimizer is not None:  # else every worker has its own
        tensors |= {f"optimizer.{name}": tensor for name, tensor in shared.optimizer.state[shared.weights].items()}
    return tensors


def board_tensors(board: TestBoard) -> dict[str, Tensor]:
    return {f"tester.{name}": tensor for name, tensor in vars(board).items()}


def counter_tensors(counters: SharedCounters) -> dict[str, Tensor]:
    """What the workers have counted, one row each."""
    return {f"counters.{name}": getattr(counters, name) for name in ("counts", "gauges", "stages")}


def is_sound(shared: SharedModel) -> bool:
    """Whether all numbers of the shared model and optimizer are finite. A sum shows it and takes a millisecond or two."""
    return all(bool(tensor.sum().isfinite()) for tensor in model_tensors(shared).values())


class Snapshot:
    """Its memory is taken once and for all, so that a run needs no more after a week than after its first checkpoint."""

    def __init__(self, shared: SharedModel, board: TestBoard, counters: SharedCounters) -> None:
        self._model = model_tensors(shared)
        self._sources = {**self._model, **board_tensors(board), **counter_tensors(counters)}
        self.tensors = {name: torch.empty_like(tensor) for name, tensor in self._sources.items()}
        self.take()

    def take(self) -> None:
        """Copy everything as it is now."""
        for name, source in self._sources.items():
            self.tensors[name].copy_(source)

    def put_back(self) -> None:
        """Give the shared model and optimizer the values they had when the snapshot was taken; counters go on."""
        for name, target in self._model.items():
            target.copy_(self.tensors[name])
