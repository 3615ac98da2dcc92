"""The choice of arithmetic."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from a3g.accelerator.precision import resolve_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "expected"), [("float32", torch.float32), ("tf32", torch.float32), ("bfloat16", torch.bfloat16)]
)
def test_an_arithmetic_asked_for_is_taken(name: str, expected: torch.dtype) -> None:
    assert resolve_precision(name, CPU) is expected


def test_auto_computes_in_float32_where_bfloat16_instructions_are_missing_or_not_used() -> None:
    """Regression: only the processor was asked, so that bfloat16 was computed in software, several times slower."""
    program = (
        "import torch; from a3g.accelerator.precision import resolve_precision;"
        "print(resolve_precision('auto', torch.device('cpu')))"
    )
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout == "torch.float32\n"
