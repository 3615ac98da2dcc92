"""In what arithmetic networks compute on a device."""

from __future__ import annotations

import torch


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """float32 or bfloat16; ``auto`` takes bfloat16 where the processor has instructions for it."""
    if name == "float32" or (name == "auto" and not _computes_bfloat16(device)):
        return torch.float32
    return torch.bfloat16


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """A context in which networks compute in `dtype`; weights are converted once and kept until it ends."""
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype is torch.bfloat16)


def _computes_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
