"""Max pooling by the native core against PyTorch's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from a3g.networks import pooling
from a3g.networks.pooling import max_pool

SHAPES = [(3, 16, 80, 80), (2, 32, 41, 37), (1, 16, 1, 1), (2, 48, 2, 5), (4, 32, 1, 20)]
NEEDS_NATIVE = pytest.mark.skipif(not pooling.HAS_NATIVE, reason="The native core is not installed.")


def channels_last(x: Tensor) -> Tensor:
    return x.bfloat16().contiguous(memory_format=torch.channels_last)


def numbers(shape: tuple[int, int, int, int]) -> Tensor:
    """Of both signs, with many windows in which several are the largest, and zeros of both signs."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    x[:, ::2] = x[:, ::2].round()
    return channels_last(x)


@NEEDS_NATIVE
@pytest.mark.parametrize("shape", SHAPES)
def test_native_pooling_is_pytorchs(shape: tuple[int, int, int, int]) -> None:
    """The same numbers; the same of several largest ones is the one that learns; sums of gradients rounded once."""
    x = numbers(shape).requires_grad_()
    exact = x.detach().float().requires_grad_()
    y, expected = max_pool(x), F.max_pool2d(exact, 3, 2, 1)
    assert "NativeMaxPool" in type(y.grad_fn).__name__
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(y.float(), expected)
    gradient = torch.randn(y.shape, generator=torch.Generator().manual_seed(2)).bfloat16()
    y.backward(gradient)
    expected.backward(gradient.float())
    assert x.grad is not None
    assert exact.grad is not None
    assert torch.equal(x.grad, exact.grad.bfloat16())


@NEEDS_NATIVE
def test_numbers_that_are_none_and_infinite_ones_come_through() -> None:
    x = numbers((2, 16, 9, 9))
    x[0, :, 4, 4], x[0, :, 8, 8] = float("nan"), -float("nan")
    x[1, :, 4, 4], x[1, :, 6:, 6:] = float("inf"), -float("inf")
    y = max_pool(x)
    torch.testing.assert_close(y, F.max_pool2d(x, 3, 2, 1), rtol=0, atol=0, equal_nan=True)
    assert y.isnan().any()
    assert y.isinf().any()


@pytest.mark.parametrize(
    "x",
    [
        numbers((2, 16, 8, 8)).float(),
        channels_last(torch.randn(2, 12, 8, 8)),
        torch.randn(2, 16, 8, 8).bfloat16(),
    ],
    ids=["float32", "12 channels", "rows innermost"],
)
def test_what_the_native_core_does_not_pool_pytorch_does(x: Tensor) -> None:
    y = max_pool(x.requires_grad_())
    assert "NativeMaxPool" not in type(y.grad_fn).__name__
    assert torch.equal(y, F.max_pool2d(x, 3, 2, 1))
