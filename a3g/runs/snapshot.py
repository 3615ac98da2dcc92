"""A copy of all that the processes of a run share, in the launcher's own memory: what checkpoints are written from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor


def are_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all numbers are finite. A sum shows it and takes a millisecond or two."""
    return all(bool(tensor.sum().isfinite()) for tensor in tensors)


class Snapshot:
    """Its memory, for two copies, is taken once and for all, so that a run needs no more after a week than after its first
    checkpoint."""

    def __init__(self, model: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> None:
        """
        Args:
            model: the shared model and optimizer, in shared memory; only finite numbers are ever taken.
            others: what belongs in a checkpoint beside them.
        """
        self._model = dict(model)
        self._sources = {**self._model, **others}
        self.tensors = {name: tensor.clone() for name, tensor in self._sources.items()}
        self._next = {name: torch.empty_like(tensor) for name, tensor in self._sources.items()}

    @property
    def source_is_sound(self) -> bool:
        """Whether all numbers of the shared model and optimizer are finite now."""
        return are_finite(self._model.values())

    def take(self) -> bool:
        """Copy everything as it is now, unless the copy of the model or optimizer holds numbers that are not finite.

        Returns:
            whether it is taken; else the snapshot is what it was
        """
        for name, source in self._sources.items():
            self._next[name].copy_(source)
        if not are_finite(self._next[name] for name in self._model):
            return False
        self.tensors, self._next = self._next, self.tensors
        return True

    def restore(self) -> None:
        """Give the shared model and optimizer the values they had when the snapshot was taken; counters go on."""
        for name, target in self._model.items():
            target.copy_(self.tensors[name])
