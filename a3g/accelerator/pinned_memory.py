"""CPU memory that a GPU reads and writes by itself, without a copy through the driver's own buffer: page-locked memory."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor


def host_zeros(*shape: int, dtype: torch.dtype, pinned: bool) -> Tensor:
    """Zeros on the CPU, page-locked if `pinned`; copies to and from there can then be left to the GPU (non_blocking)."""
    return torch.zeros(shape, dtype=dtype, pin_memory=pinned)


class Registration:
    """Memory that exists already, shared by processes for instance, page-locked for this process's GPU until released.

    Every process registers for itself. If the driver refuses, `error` says so and copies work all the same, only slower.
    """

    def __init__(self, memory: Tensor, device: torch.device) -> None:
        """
        Args:
            memory: contiguous, on the CPU; must not be freed before `release`.
            device: the GPU, which gets a context now if it has none.
        """
        self._address, self._device = memory.data_ptr(), device
        self._runtime: Any = torch.cuda.cudart()  # type: ignore[no-untyped-call]
        torch.zeros((), device=device)  # the driver registers for a context
        code = int(self._runtime.cudaHostRegister(self._address, memory.nbytes, 0))
        self._registered = code == 0
        self.error = (
            "" if self._registered else f"the driver does not page-lock {memory.nbytes / 1e6:.0f} MB (CUDA error {code})"
        )
        """Empty if the memory is registered."""
        if not self._registered:
            # The runtime reports the refusal once more at the next kernel, whoever launches it: take it here.
            with contextlib.suppress(RuntimeError):
                torch.zeros(1, device=device).add_(1)

    def release(self) -> None:
        """Undo the registration, when the last copy is done."""
        if self._registered:
            torch.cuda.synchronize(self._device)
            self._runtime.cudaHostUnregister(self._address)
            self._registered = False
