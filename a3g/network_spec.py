"""What a network looks like, as plain values: knows nothing of PyTorch, so that the options can use it."""

from __future__ import annotations

from dataclasses import dataclass

MAP_STAGES, MAP_PAGES, MAP_AREA_TYPES = 32, 24, 4
MAP_PLACE_AT = 970
"""Where in an observation that is a map (`a3g.game.map_observation`) as many numbers say where Mario is: of each group the one
that holds is 1."""
FIRST_MAP_SIZE = MAP_PLACE_AT + MAP_STAGES + MAP_PAGES + MAP_AREA_TYPES
"""Bytes that maps had at first. What came later stands behind them."""
MAP_ENCODER = "map"
"""The encoder that reads maps."""


@dataclass(frozen=True)
class NetworkSpec:
    """All that is needed to rebuild a network; travels with its weights."""

    encoder: str = "impala"
    """Name in `a3g.networks.encoders.ENCODERS`."""
    observation_shape: tuple[int, int, int] = (4, 80, 80)
    """(stack, height, width)."""
    num_actions: int = 10
    hidden_size: int = 512
    lstm: bool = True
    fc: bool = True
    """Whether a fully connected layer stands between the encoder and the LSTM; without an LSTM it has to."""

    def __post_init__(self) -> None:
        """
        Raises:
            ValueError: if a dimension is missing or below 1, or if layers are missing.
        """
        if len(self.observation_shape) != 3:
            raise ValueError(f"observation_shape must be (stack, height, width), not {self.observation_shape}")
        if min(self.observation_shape) < 1:
            raise ValueError(f"observation_shape must be at least 1 in each dimension, not {self.observation_shape}")
        for name in ("num_actions", "hidden_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not (self.fc or self.lstm):
            raise ValueError("a network without an LSTM must have the fully connected layer")
