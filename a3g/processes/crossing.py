"""What crosses between a worker's device and the CPU's shared memory: weights one way, gradients the other, one copy each."""

from __future__ import annotations

import torch
from torch import Tensor

from a3g.learning.flat import FlatModel
from a3g.learning.host_memory import Registration, host_zeros


class Crossing:
    """The CPU's end of the copies. On the CPU there is nothing to cross."""

    def __init__(self, flat: FlatModel, weights: Tensor, device: torch.device, pinned: bool) -> None:
        """
        Args:
            flat: the worker's own model, on `device`.
            weights: the shared ones.
            pinned: on a GPU: let it copy by itself, to and from page-locked memory.
        """
        self._gradients = flat.gradients
        self._landing, self._registration = flat.gradients, None
        if device.type == "cuda":
            self._landing = host_zeros(*flat.gradients.shape, dtype=flat.gradients.dtype, pinned=pinned)
            self._registration = Registration(weights.detach(), device) if pinned else None

    @property
    def error(self) -> str:
        """Why the shared weights could not be page-locked, else empty."""
        return self._registration.error if self._registration is not None else ""

    def gradients(self) -> Tensor:
        """The flat model's gradients on the CPU, complete; the next call overwrites them."""
        if self._landing is not self._gradients:
            self._landing.copy_(self._gradients)  # waits: the optimizer reads them at once
        return self._landing

    def close(self) -> None:
        """Give the memory back to the driver."""
        if self._registration is not None:
            self._registration.release()
