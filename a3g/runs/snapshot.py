"""A copy of all that the processes of a run share, in the launcher's own memory: what checkpoints are written from."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

# Root mean square of the weights. That of a network that learns is far below 10; what is above this has diverged, and the
# next forward pass may overflow, though every number is still finite.
_LARGEST_MEAN_WEIGHT = 1e4
_WEIGHTS = "model.weights"


def weights_are_sound(weights: Tensor) -> bool:
    """Whether a vector of weights is finite and of a possible size."""
    mean = float(weights.norm()) / math.sqrt(weights.numel())
    return mean <= _LARGEST_MEAN_WEIGHT  # false for nan


def _are_sound(model: Mapping[str, Tensor]) -> bool:
    """Sums show it and take a millisecond or two."""
    return weights_are_sound(model[_WEIGHTS]) and all(bool(tensor.sum().isfinite()) for tensor in model.values())


class Snapshot:
    """Its memory, for two copies, is taken once and for all, so that a run needs no more after a week than after its first
    checkpoint."""

    def __init__(self, model: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> None:
        """
        Args:
            model: the shared model and optimizer, in shared memory; never taken when damaged.
            others: what belongs in a checkpoint beside them.
        """
        self._model = dict(model)
        self._sources = {**self._model, **others}
        self.tensors = {name: tensor.clone() for name, tensor in self._sources.items()}
        self._next = {name: torch.empty_like(tensor) for name, tensor in self._sources.items()}

    @property
    def source_is_sound(self) -> bool:
        """Whether all numbers of the shared model and optimizer are finite now, and the weights of a possible size."""
        return _are_sound(self._model)

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

    def restore(self) -> None:
        """Give the shared model and optimizer the values they had when the snapshot was taken; counters go on."""
        for name, target in self._model.items():
            target.copy_(self.tensors[name])
