"""Differences of parameters as bfloat16, half the bytes of float32."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Packed = NDArray[np.int16]


def pack(difference: Tensor) -> tuple[Packed, Tensor]:
    """Round a difference to bfloat16.

    Args:
        difference: float32, of any shape.

    Returns:
        its bits as int16, and what the receiver will unpack from them, float32
    """
    rounded = difference.to(torch.bfloat16)
    return rounded.view(torch.int16).numpy(), rounded.float()


def unpack(packed: Packed) -> Tensor:
    """The difference, float32, in memory of its own."""
    return torch.tensor(packed).view(torch.bfloat16).float()


class ErrorFeedback:
    """Keeps what rounding has cut off and adds it to the next difference, so that nothing is lost for good.

    Seide et al. 2014, "1-bit stochastic gradient descent"; that it keeps the convergence of uncompressed training:
    Karimireddy et al. 2019.
    """

    def __init__(self, size: int) -> None:
        self._residual = torch.zeros(size)

    def pack(self, difference: Tensor) -> tuple[Packed, Tensor]:
        """As the function `pack`, with what earlier calls cut off added before."""
        wanted = difference + self._residual
        packed, sent = pack(wanted)
        torch.sub(wanted, sent, out=self._residual)
        return packed, sent

    def reset(self) -> None:
        """Forget what was cut off: the differences after this one begin elsewhere."""
        self._residual.zero_()
