"""What a network looks like, as plain values: knows nothing of PyTorch, so that the options can use it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NetworkSpec:
    """All that is needed to rebuild a network; travels with its weights."""

    encoder: str = "impala"
    """Name in `a3g.learning.model.ENCODERS`."""
    observation_shape: tuple[int, int, int] = (4, 80, 80)
    """(stack, height, width)."""
    num_actions: int = 10
    hidden_size: int = 512
    lstm: bool = True
