"""Pictures from bytes to what a network computes with, by the native core where it is installed."""

from __future__ import annotations

import torch
from torch import Tensor

try:
    from a3g_native import interleave
except ImportError:
    interleave = None


def can_look_up(pictures: Tensor, dtype: torch.dtype) -> bool:
    """Whether `look_up` can make numbers of this type of these pictures."""
    return interleave is not None and pictures.device.type == "cpu" and dtype in (torch.float32, torch.bfloat16)


def look_up(pictures: Tensor, table: Tensor) -> Tensor:
    """`table[pictures]` in the layout that convolutions like, the stack innermost in memory.

    In one pass over the pictures; PyTorch takes one for each conversion, operation and change of layout
    (benchmarks/layers.py: how fast).

    Args:
        pictures: uint8 (n, stack, height, width).
        table: float32 or bfloat16 (256,).

    Returns:
        (n, stack, height, width) of the table's type
    """
    result = torch.empty(pictures.shape, dtype=table.dtype, memory_format=torch.channels_last)
    interleave(pictures.contiguous().numpy(), _as_numpy(table), _as_numpy(result.permute(0, 2, 3, 1)))
    return result


def _as_numpy(x: Tensor) -> object:
    """The same memory; NumPy has no bfloat16."""
    return (x.view(torch.uint16) if x.dtype is torch.bfloat16 else x).numpy()
