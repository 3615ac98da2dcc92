"""Copies between a worker's device and the CPU's shared memory: parameters one way, gradients the other, one copy each."""

from __future__ import annotations

from torch import Tensor

from a3g.accelerator.pinned_memory import Registration, host_zeros


class GradientTransfer:
    """Brings a worker's gradients to the CPU. For a worker on the CPU there is nothing to copy."""

    def __init__(self, gradients: Tensor, shared_parameters: Tensor, pinned: bool) -> None:
        """
        Args:
            gradients: of the worker's own model, on its device.
            shared_parameters: on the CPU; a GPU reads them directly if they are page-locked.
            pinned: on a GPU: let it copy by itself, to and from page-locked memory.
        """
        self._gradients = gradients
        self._on_cpu, self._registration = gradients, None
        if gradients.device.type == "cuda":
            self._on_cpu = host_zeros(*gradients.shape, dtype=gradients.dtype, pinned=pinned)
            self._registration = Registration(shared_parameters.detach(), gradients.device) if pinned else None

    @property
    def error(self) -> str:
        """Why the shared parameters could not be page-locked, else empty."""
        return self._registration.error if self._registration is not None else ""

    def to_cpu(self) -> Tensor:
        """The gradients on the CPU, complete; the next call overwrites them."""
        if self._on_cpu is not self._gradients:
            self._on_cpu.copy_(self._gradients)  # waits: the optimizer reads them at once
        return self._on_cpu

    def close(self) -> None:
        """Give the memory back to the driver."""
        if self._registration is not None:
            self._registration.release()
