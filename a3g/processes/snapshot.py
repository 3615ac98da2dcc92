"""A copy of all that the processes of a run share, in the launcher's own memory: what checkpoints are written from."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from a3g.processes.shared import SharedCounters, SharedModel, TestBoard

# Root mean square of the weights. That of a network that learns is far below 10; what is above this has diverged, and the
# next forward pass may overflow, though every number is still finite.
_LARGEST_MEAN_WEIGHT = 1e4


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
    """Whether all numbers of the shared model and optimizer are finite, and the weights of a possible size."""
    return _are_sound(model_tensors(shared))


def weights_are_sound(weights: Tensor) -> bool:
    """Whether a vector of weights is finite and of a possible size."""
    mean = float(weights.norm()) / math.sqrt(weights.numel())
    return mean <= _LARGEST_MEAN_WEIGHT  # false for nan


def _are_sound(model: Mapping[str, Tensor]) -> bool:
    """Sums show it and take a millisecond or two."""
    return weights_are_sound(model["model.weights"]) and all(bool(tensor.sum().isfinite()) for tensor in model.values())


class Snapshot:
    """Its memory, for two copies, is taken once and for all, so that a run needs no more after a week than after its first
    checkpoint."""

    def __init__(self, shared: SharedModel, board: TestBoard, counters: SharedCounters) -> None:
        self._model = model_tensors(shared)
        self._sources = {**self._model, **board_tensors(board), **counter_tensors(counters)}
        self.tensors = {name: tensor.clone() for name, tensor in self._sources.items()}
        self._next = {name: torch.empty_like(tensor) for name, tensor in self._sources.items()}

    def take(self) -> bool:
        """Copy everything as it is now, unless the copy of the model or optimizer is damaged.

        Returns:
            whether it is taken; else the snapshot is what it was
        """
        for name, source in self._sources.items():
            self._next[name].copy_(source)
        if not _are_sound({name: self._next[name] for name in self._model}):
            return False
        self.tensors, self._next = self._next, self.tensors
        return True

    def put_back(self) -> None:
        """Give the shared model and optimizer the values they had when the snapshot was taken; counters go on."""
        for name, target in self._model.items():
            target.copy_(self.tensors[name])
