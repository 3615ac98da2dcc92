"""Max pooling, by the native core where it is installed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

try:
    import a3g_native
except ImportError:
    HAS_NATIVE = False
else:
    HAS_NATIVE = hasattr(a3g_native, "max_pool")


def max_pool(x: Tensor) -> Tensor:
    """Max pooling of 3 × 3 windows, stride 2, padding 1: (n, channels, height, width) to half of height and width.

    The native core does it for bfloat16 numbers, channels innermost in memory, on a CPU (benchmarks/layers.py: how fast).
    """
    native = HAS_NATIVE and x.device.type == "cpu" and x.dtype is torch.bfloat16 and x.shape[1] % 16 == 0
    if native and x.is_contiguous(memory_format=torch.channels_last):
        y: Tensor = _NativeMaxPool.apply(x)  # type: ignore[no-untyped-call]
        return y
    return F.max_pool2d(x, kernel_size=3, stride=2, padding=1)


class _NativeMaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        n, channels, height, width = ctx.shape = x.shape
        pooled = n, channels, (height + 1) // 2, (width + 1) // 2
        y = torch.empty(pooled, dtype=x.dtype, memory_format=torch.channels_last)
        winners = torch.empty(pooled, dtype=torch.uint8, memory_format=torch.channels_last)
        a3g_native.max_pool(_bits(x), _bits(y), _rows(winners).numpy())
        ctx.save_for_backward(winners)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (winners,) = ctx.saved_tensors
        result = torch.empty(ctx.shape, dtype=gradient.dtype, memory_format=torch.channels_last)
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        a3g_native.max_pool_gradient(_bits(gradient), _rows(winners).numpy(), _bits(result))
        return result


def _rows(x: Tensor) -> Tensor:
    """(n, height, width, channels), contiguous."""
    return x.permute(0, 2, 3, 1)


def _bits(x: Tensor) -> object:
    """The same memory as a NumPy array of `_rows`; NumPy has no bfloat16."""
    return _rows(x.detach()).view(torch.uint16).numpy()
