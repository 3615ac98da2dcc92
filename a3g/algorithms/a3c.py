"""A3C's own loss (Mnih et al. 2016): one update per rollout. Without locks and with a GPU per worker it is A3G."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from a3g.accelerator.precision import uncached_casts
from a3g.algorithm_options import A3COptions
from a3g.algorithms.actor_critic import ActorCriticAlgorithm, Batch, LossParts, evaluate_actions
from a3g.config import TrainConfig
from a3g.experience.rollout import Rollout

# With fewer lanes, gradients of the encoder step by step cost more than computing all steps again at once.
LANES_TO_KEEP = 4


def actor_critic_loss(
    logits: Tensor, values: Tensor, actions: Tensor, advantages: Tensor, returns: Tensor, value_coef: float, entropy_coef: float
) -> LossParts:
    """A3C's loss (Mnih et al. 2016, section 4) with GAE, as the original A3G has it: summed over time, mean over lanes.

    Args:
        logits: float (T, lanes, actions).
        values: float (T, lanes).
        actions: int64 (T, lanes).
        advantages: float (T, lanes).
        returns: float (T, lanes), the critic's targets.
        value_coef: weight of the value loss, half the squared error.
        entropy_coef: weight of the entropy bonus.
    """
    chosen, entropy = evaluate_actions(logits, actions)
    policy_loss = -(chosen * advantages).sum(0).mean()
    value_loss = 0.5 * (returns - values).square().sum(0).mean()
    total = policy_loss + value_coef * value_loss - entropy_coef * entropy.sum(0).mean()
    return LossParts(total, policy_loss.detach(), value_loss.detach(), entropy.detach().mean())


class A3C(ActorCriticAlgorithm):
    """Each rollout is learned from once, before the weights change.

    So the encoder's activations from acting can serve for the backward pass as well. What follows the features is
    computed again, all steps at once: that costs less than its gradients step by step.
    """

    options: A3COptions
    options_class = A3COptions

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        super().__init__(config, device)
        self.keeps_activations = self.options.keep_activations and config.lanes >= LANES_TO_KEEP and device.type == "cpu"
        self._features: list[Tensor] = []
        """Of each step since the last update, with their graph."""

    def _encode(self, observations: Tensor) -> Tensor:
        if not self.keeps_activations:
            return super()._encode(observations)
        with torch.enable_grad(), uncached_casts():
            features = super()._encode(observations)
        if len(self._features) == self.config.num_steps:  # a rollout that nobody has learned from
            self._features.clear()
        self._features.append(features)
        return features.detach()

    def updates(self, rollout: Rollout) -> Iterator[dict[str, float]]:
        yield from super().updates(rollout)
        self._features.clear()  # frees the memory of this graph before the next grows

    def _batches(self, whole: Batch) -> Iterator[Tensor]:
        yield torch.arange(self.config.lanes, device=self.device)

    def _loss(self, logits: Tensor, values: Tensor, batch: Batch) -> LossParts:
        targets = batch.actions, batch.advantages, batch.returns
        return actor_critic_loss(logits, values, *targets, self.options.value_coef, self.options.entropy_coef)

    def _update(self, whole: Batch, lanes: Tensor) -> Tensor:
        if not self._features:
            return super()._update(whole, lanes)
        self.flat.zero_gradients()
        with self.computing():
            features = torch.cat(self._features)
            logits, values, _ = self.model.decide(features, whole.initial_state, whole.episode_starts)
            loss = self._loss(logits, values, whole)
        loss.total.backward()  # type: ignore[no-untyped-call]
        return self._with_norm(torch.stack(loss).detach())
