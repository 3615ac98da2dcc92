"""Encoders, by name: from observations to features."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from a3g.networks.pooling import max_pool


class _ResidualBlock(nn.Module):
    """x + conv(relu(conv(relu(x))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.second(F.relu(self.first(F.relu(x))))
        return x + residual


class _ImpalaBlock(nn.Module):
    """A convolution, a pooling and two residual blocks (Espeholt et al. 2018, figure 3, right)."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.residual = nn.ModuleList(_ResidualBlock(channels) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = max_pool(self.conv(x))
        for block in self.residual:
            x = block(x)
        return x


Shape = tuple[int, int, int]
MAP_FEATURES = 384
"""Of the first layer of the network that reads maps."""


def _impala(shape: Shape) -> nn.Sequential:
    return nn.Sequential(_ImpalaBlock(shape[0], 16), _ImpalaBlock(16, 32), _ImpalaBlock(32, 32))


def _nature(shape: Shape) -> nn.Sequential:
    """Mnih et al. 2015, methods."""
    return nn.Sequential(
        nn.Conv2d(shape[0], 32, 8, stride=4), nn.ReLU(), nn.Conv2d(32, 64, 4, stride=2), nn.ReLU(), nn.Conv2d(64, 64, 3)
    )


def _nips(shape: Shape) -> nn.Sequential:
    """DQN's first network (Mnih et al. 2013, section 4.1), which the A3C paper used as well."""
    return nn.Sequential(nn.Conv2d(shape[0], 16, 8, stride=4), nn.ReLU(), nn.Conv2d(16, 32, 4, stride=2))


def _conv4(shape: Shape) -> nn.Sequential:
    """Four small strided convolutions, as in many A3C programs (https://github.com/gianluca-maselli/A3C)."""
    layers: list[nn.Module] = []
    for channels_in in (shape[0], 32, 32, 32):
        layers += [nn.ReLU(), nn.Conv2d(channels_in, 32, 3, stride=2, padding=1)]
    return nn.Sequential(*layers[1:])


def _map(shape: Shape) -> nn.Sequential:
    """For `a3g.game.map_observation`: a layer more than the fully connected one that follows."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), MAP_FEATURES))


# No encoder ends with its ReLU: the network applies that after flattening. Where the memory layout changes, the backward
# pass of a ReLU took several times as long.
ENCODERS = {
    "impala": _impala,
    "nature": _nature,
    "nips": _nips,
    "conv4": _conv4,
    "map": _map,
}
