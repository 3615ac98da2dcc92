"""A policy and a value function on one body."""

from __future__ import annotations

from torch import Tensor, nn

from a3g.network_spec import NetworkSpec
from a3g.networks.pixel_network import PixelNetwork


class ActorCritic(PixelNetwork):
    """Action logits and state values from stacks of pictures."""

    def __init__(self, spec: NetworkSpec) -> None:
        """Raises as `PixelNetwork`."""
        super().__init__(spec)
        self.actor = nn.Linear(spec.hidden_size, spec.num_actions)
        self.critic = nn.Linear(spec.hidden_size, 1)
        self._initialise()

    def forward(self, observations: Tensor, state: Tensor, episode_starts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Play through a rollout.

        Args:
            observations: uint8 (T, lanes, stack, height, width).
            state: recurrent state before the first step, (2, lanes, hidden_size or 0).
            episode_starts: bool (T, lanes), true where a step is the first of its episode: its state is zeroed before.

        Returns:
            logits float32 (T, lanes, actions), values float32 (T, lanes), the state after the last step.
        """
        return self.decide(self.encode(observations), state, episode_starts)

    def decide(self, features: Tensor, state: Tensor, episode_starts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The second half of `forward`: from what `encode` returned to what `forward` returns."""
        steps, lanes = features.shape[:2]
        x, state = self.remember(features, state, episode_starts)
        logits = self.actor(x).float().view(steps, lanes, -1)
        values = self.critic(x).float().view(steps, lanes)
        return logits, values, state

    def _initialise_heads(self) -> None:
        """Normal rows scaled to norm 0.01 (actor) and 1 (critic), as in the original A3G."""
        for head, norm in ((self.actor, 0.01), (self.critic, 1.0)):
            nn.init.normal_(head.weight)
            head.weight.mul_(norm / head.weight.norm(dim=1, keepdim=True))
