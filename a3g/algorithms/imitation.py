"""Imitation of demonstrations (behavioural cloning, Pomerleau 1991), with a critic of what they earn.

What it leaves is a policy that other algorithms begin with, and a critic that knows roughly what the states are worth.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from a3g.algorithm_options import ImitationOptions
from a3g.algorithms.actor_critic import ActorCriticAlgorithm, Batch, LossParts
from a3g.config import TrainConfig


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
        """Advantages are not needed; returns are discounted to the demonstration's end or the rollout's."""
        returns = torch.empty_like(rewards)
        following = values[-1]
        for t in reversed(range(len(rewards))):
            following = rewards[t] + self.config.gamma * following * ~dones[t]
            returns[t] = following
        return torch.zeros_like(rewards), returns

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
    log_probs = F.log_softmax(logits, dim=-1)
    policy_loss = -log_probs.gather(-1, actions.unsqueeze(-1)).mean()
    value_loss = 0.5 * (returns - values).square().mean()
    entropy = -(log_probs.exp() * log_probs).sum(-1).mean()
    return LossParts(policy_loss + value_coef * value_loss, policy_loss.detach(), value_loss.detach(), entropy.detach())
