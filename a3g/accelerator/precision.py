"""In what arithmetic networks compute on a device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """float32 or bfloat16; ``auto`` takes bfloat16 where the processor has instructions for it."""
    if name in ("float32", "tf32") or (name == "auto" and not _computes_bfloat16(device)):
        return torch.float32
    return torch.bfloat16


def prepare_gpu_arithmetic(name: str, fixed_shapes: bool = False) -> None:
    """Set how this process's GPU multiplies float32 numbers; has no effect on the CPU.

    Args:
        name: ``tf32`` for mantissas of 10 bits, anything else for exact products. PyTorch's own default is tf32 for
            convolutions and float32 for the rest.
        fixed_shapes: whether it pays to try out, for every new shape, which way to compute a convolution is fastest.
    """
    torch.backends.cudnn.benchmark = fixed_shapes
    # PyTorch's newer switches, `fp32_precision`, contradict these when only they are set, and reading these then fails.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = name == "tf32"


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """A context in which networks compute in `dtype`; weights are converted once and kept until it ends."""
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype is torch.bfloat16)


@contextmanager
def fresh_autocast(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """`autocast` that finds no weights converted earlier and leaves none behind, even inside another `autocast`.

    A CUDA graph must hold the conversions itself: with weights converted before the recording it would compute with
    those for ever, and what it converts lies in its own memory, which is no one else's to use.
    """
    torch.clear_autocast_cache()
    try:
        with autocast(device, dtype):
            yield
    finally:
        torch.clear_autocast_cache()


@contextmanager
def uncached_casts(active: bool = True) -> Iterator[None]:
    """Inside an `autocast`: convert weights for each use by itself, so that gradients of several uses add up in float32.

    Of weights converted once, gradients add up in the smaller type, in which a long sum comes to a standstill.
    """
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(before and not active)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)


def _computes_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    has_instructions = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    # The library that computes convolutions and products can be told to leave such instructions out
    # (ONEDNN_MAX_CPU_ISA). bfloat16 then takes five to ten times as long as float32.
    return bool(has_instructions and torch.ops.mkldnn._is_mkldnn_bf16_supported())
