"""Imitation of demonstrations (behavioural cloning, Pomerleau 1991), with a critic of what they earn.

What it leaves is a policy that other algorithms begin with, and a critic that knows roughly what the states are worth.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from a3g.algorithm_options import ImitationOptions
from a3g.algorithms.actor_critic import ActorCriticAlgorithm, Batch, LossParts, evaluate_actions
from a3g.config import TrainConfig
from a3g.experience.advantages import gae


class Imitation(ActorCriticAlgorithm):
    """Learns the demonstrations' actions and discounted returns; a rollout comes from a `DemonstrationCollector`."""

    learns_from_demonstrations = True
    options: ImitationOptions
    options_class = ImitationOptions

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        super().__init__(config, device)
        if not config.lstm:
            self._lanes_per_pass = self._samples_per_pass

    def _compute_targets(self, rewards: Tensor, values: Tensor, dones: Tensor) -> tuple[Tensor, Tensor]:
        """Returns discounted to the demonstration's end or the rollout's, whatever `tau` is; advantages are not needed."""
        advantages = gae(rewards, values, dones, self.config.gamma, 1.0)
        return advantages, advantages + values[:-1]

    def _arrange(self, whole: Batch) -> Batch:
        return whole if self.config.lstm else whole.in_one_step()

    def _batches(self, whole: Batch) -> Iterator[Tensor]:
        """Equal shares of the steps in random order; with an LSTM, of the lanes, to train it through time."""
        yield from torch.randperm(whole.actions.shape[1], device=self.device).chunk(self.options.minibatches)

    def _loss(self, logits: Tensor, values: Tensor, batch: Batch) -> LossParts:
        return imitation_loss(logits, values, batch.actions, batch.returns, self.options.value_coef)


def imitation_loss(logits: Tensor, values: Tensor, actions: Tensor, returns: Tensor, value_coef: float) -> LossParts:
    """The cross-entropy of the demonstrations' actions, and half the critic's squared error; means over all samples.

    Args:
        logits: float (T, lanes, actions).
        values: float (T, lanes).
        actions: int64 (T, lanes), the demonstrations'.
        returns: float (T, lanes), the critic's targets.
        value_coef: weight of the value loss.
    """
    chosen, entropies = evaluate_actions(logits, actions)
    policy_loss = -chosen.mean()
    value_loss = 0.5 * (returns - values).square().mean()
    total = policy_loss + value_coef * value_loss
    return LossParts(total, policy_loss.detach(), value_loss.detach(), entropies.mean().detach())
