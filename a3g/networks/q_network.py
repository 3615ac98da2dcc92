"""Action values from stacks of pictures."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from a3g.errors import UserError
from a3g.network_spec import NetworkSpec
from a3g.networks.pixel_network import PixelNetwork


class QNetwork(PixelNetwork):
    """The action values Q(s, .) (Mnih et al. 2015), without memory."""

    def __init__(self, spec: NetworkSpec) -> None:
        """
        Raises:
            UserError: as `PixelNetwork`, and for an LSTM.
        """
        if spec.lstm:
            raise UserError("A network of action values has no LSTM here: add --no-lstm.")
        super().__init__(spec)
        self.head = nn.Linear(spec.hidden_size, spec.num_actions)
        self._make_further_heads()
        self._initialise()

    def forward(self, observations: Tensor) -> Tensor:
        """
        Args:
            observations: uint8 (n, stack, height, width).

        Returns:
            float32 (n, actions)
        """
        return self._values(nn.functional.relu(self.fc(self.encode(observations[None])[0])))

    def _values(self, x: Tensor) -> Tensor:
        """From the features, (n, hidden_size)."""
        # In float32: bfloat16 would round values of 100 to halves, and actions often differ by less.
        with torch.autocast(x.device.type, enabled=False):
            values: Tensor = self.head(x.float())
        return values

    def _make_further_heads(self) -> None:
        """For subclasses."""

    def _initialise_heads(self) -> None:
        """Small values at first: what has not been learned must not tower over what has."""
        for head in (self.head, getattr(self, "value", None)):
            if head is not None:
                head.weight.mul_(0.01)


class DuelingQNetwork(QNetwork):
    """Q(s, a) = V(s) + A(s, a) - mean A(s, .) (Wang et al. 2016, equation 9), both heads on the same hidden layer."""

    def _make_further_heads(self) -> None:
        self.value = nn.Linear(self.spec.hidden_size, 1)

    def _values(self, x: Tensor) -> Tensor:
        advantages = super()._values(x)
        with torch.autocast(x.device.type, enabled=False):
            value: Tensor = self.value(x.float())
        return value + advantages - advantages.mean(dim=1, keepdim=True)
