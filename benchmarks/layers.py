"""The layers that the native core computes instead of PyTorch, each against PyTorch's own in turn.

    python benchmarks/layers.py

On one core, 16 pictures at a time as a worker of 16 games has them: pictures to bfloat16 numbers in the layout that
convolutions like, and the three max poolings of the impala network with their gradients.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from a3g.networks import pictures, pooling
from a3g.networks.actor_critic import ActorCritic
from a3g.networks.pixel_network import NetworkSpec
from a3g.processes.process import compute_on_one_core
from benchmarks.training_run import machine

ROUNDS, REPEATS, GAMES = 30, 5, 16
POOLED = ((16, 80), (32, 40), (32, 20))  # channels, height and width


def milliseconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    for _ in range(REPEATS):
        work()
    return (time.perf_counter() - begin) * 1000 / REPEATS


def compare(name: str, work: Callable[[], object], switch: Callable[[bool], None]) -> None:
    """Time the work with and without the native core, by turns; prints medians."""
    taken: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(ROUNDS):
        for native, each in taken.items():
            switch(native)
            each.append(milliseconds(work))
    pytorch, native = statistics.median(taken[False]), statistics.median(taken[True])
    print(f"{name}: PyTorch {pytorch:.3f} ms, native {native:.3f} ms, {pytorch / native:.1f} times as fast", flush=True)


def switch_pictures(native: bool, interleave: object = pictures.interleave) -> None:
    pictures.interleave = interleave if native else None


def switch_pooling(native: bool) -> None:
    pooling.HAS_NATIVE = native


def pool(x: Tensor, gradient: Tensor) -> None:
    x.grad = None
    pooling.max_pool(x).backward(gradient)  # type: ignore[no-untyped-call]


def main() -> None:
    if pictures.interleave is None or not pooling.HAS_NATIVE:
        sys.exit("The native core is not installed.")
    compute_on_one_core()
    torch.manual_seed(0)
    print(machine())
    model = ActorCritic(NetworkSpec("nature"))
    seen = torch.randint(0, 256, (GAMES, 4, 80, 80), dtype=torch.uint8)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        compare(f"{GAMES} stacks of pictures", lambda: model.prepare(seen), switch_pictures)
    for channels, size in POOLED:
        x = torch.randn(GAMES, channels, size, size).bfloat16().contiguous(memory_format=torch.channels_last)
        gradient = torch.randn_like(pooling.max_pool(x))
        x.requires_grad_()
        name = f"max pooling of {channels} x {size} x {size}, and its gradient"
        compare(name, lambda x=x, gradient=gradient: pool(x, gradient), switch_pooling)  # type: ignore[misc]


if __name__ == "__main__":
    main()
