"""An algorithm that is no part of the package: REINFORCE with a baseline (Williams 1992, section 4).

`python main.py --algorithm tests.reinforce:Reinforce` trains with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from a3g.algorithm_options import AlgorithmOptions
from a3g.algorithms.base import Algorithm
from a3g.config import TrainConfig
from a3g.experience.rollout import Rollout, Step
from a3g.networks.actor_critic import ActorCritic
from a3g.networks.pixel_network import NetworkSpec


@dataclass(frozen=True)
class ReinforceOptions(AlgorithmOptions):
    """Flags beside those that all algorithms have."""

    baseline_weight: float = 0.1
    """How much of the newest error the baseline takes over with each update."""


class Reinforce(Algorithm):
    """The baseline is an exponential average of the returns; it also stands for what a rollout cuts off."""

    options_class = ReinforceOptions

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        super().__init__(config, device)
        self.baseline = torch.zeros((), device=device)

    @classmethod
    def build_model(cls, spec: NetworkSpec) -> ActorCritic:
        return ActorCritic(spec)  # whose critic learns nothing here

    @staticmethod
    def preferences(model: Any, observations: Tensor, state: Tensor, episode_starts: Tensor) -> tuple[Tensor, Tensor]:
        logits, _, state = model(observations[None], state, episode_starts[None])
        return logits[0], state

    def act(self, observations: Tensor, state: Tensor, episode_starts: Tensor, random: torch.Generator) -> Step:
        logits, state = self.preferences(self.model, observations, state, episode_starts)
        return Step(torch.multinomial(logits.softmax(-1), 1, generator=random).squeeze(1), {}, state)

    def bootstrap(self, observations: Tensor, state: Tensor, episode_starts: Tensor) -> Tensor:
        return self.baseline.expand(len(observations))

    def updates(self, rollout: Rollout) -> Iterator[dict[str, float]]:
        returns, following = torch.empty_like(rollout.rewards), rollout.next_values
        for t in range(len(returns) - 1, -1, -1):
            following = rollout.rewards[t] + self.config.gamma * following * ~rollout.dones[t]
            returns[t] = following
        errors = returns - self.baseline
        self.flat.zero_gradients()
        with self.computing():
            logits, _, _ = self.model(rollout.observations, rollout.initial_state, rollout.episode_starts)
        chosen = logits.log_softmax(-1).gather(-1, rollout.actions[..., None]).squeeze(-1)
        loss = -(chosen * errors).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = self.flat.clip_gradients(self.config.max_grad_norm)
        self.baseline += self.options.baseline_weight * errors.mean()
        losses = {"policy_loss": float(loss.detach()), "baseline_loss": float(errors.square().mean())}
        yield {**losses, "gradient_norm": float(norm)}

    def state_dict(self) -> dict[str, Tensor]:
        return {"baseline": self.baseline.cpu().clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.baseline.copy_(state["baseline"])
