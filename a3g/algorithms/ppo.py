"""The clipped objective (Schulman et al. 2017): several epochs of minibatches per rollout, each an update of its own."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from a3g.algorithm_options import PPOOptions
from a3g.algorithms.actor_critic import ActorCriticAlgorithm, Batch, LossParts, evaluate_actions
from a3g.algorithms.chosen_steps import draw_steps, weighted_by_advantage
from a3g.config import TrainConfig


def ppo_loss(
    logits: Tensor,
    values: Tensor,
    actions: Tensor,
    advantages: Tensor,
    returns: Tensor,
    old_log_probs: Tensor,
    clip_range: float,
    value_coef: float,
    entropy_coef: float,
    weights: Tensor | None = None,
) -> LossParts:
    """The clipped objective (Schulman et al. 2017, equations 7 and 9), means over all samples.

    Args:
        logits: float (T, lanes, actions).
        values: float (T, lanes).
        actions: int64 (T, lanes).
        advantages: float (T, lanes).
        returns: float (T, lanes), the critic's targets.
        old_log_probs: float (T, lanes), of `actions` under the policy that chose them.
        clip_range: epsilon, how far the probability ratio may move before it stops paying.
        value_coef: weight of the value loss, half the squared error.
        entropy_coef: weight of the entropy bonus.
        weights: float (T, lanes), of the samples; by default 1 each.
    """
    w = torch.ones_like(values) if weights is None else weights
    chosen, entropies = evaluate_actions(logits, actions)
    entropy = (w * entropies).mean()
    ratio = (chosen - old_log_probs).exp()
    gain = torch.min(ratio * advantages, ratio.clamp(1 - clip_range, 1 + clip_range) * advantages)
    policy_loss = -(w * gain).mean()
    value_loss = 0.5 * (w * (returns - values).square()).mean()
    total = policy_loss + value_coef * value_loss - entropy_coef * entropy
    return LossParts(total, policy_loss.detach(), value_loss.detach(), entropy.detach())


class PPO(ActorCriticAlgorithm):
    """Minibatches are whole lanes, so that an LSTM is trained through time, or with `learn_share` chosen single steps."""

    options: PPOOptions
    options_class = PPOOptions

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        super().__init__(config, device)
        self._chooses_steps = self.options.learn_share < 1.0
        if self._chooses_steps:
            self._lanes_per_pass = self._samples_per_pass

    def _arrange(self, whole: Batch) -> Batch:
        return weighted_by_advantage(whole.in_one_step()) if self._chooses_steps else whole

    def _batches(self, whole: Batch) -> Iterator[Tensor]:
        """Several times shares of the lanes in random order, or steps drawn by their weights."""
        epochs, minibatches = self.options.epochs, self.options.minibatches
        for _ in range(epochs):
            if self._chooses_steps:
                size = max(1, round(whole.actions.numel() * self.options.learn_share / minibatches))
                yield from (draw_steps(whole.weights[0], size) for _ in range(minibatches))
            else:
                yield from torch.randperm(self.config.lanes, device=self.device).chunk(minibatches)

    def _prepare(self, whole: Batch, lanes: Tensor) -> Batch:
        """Advantages with mean 0 and standard deviation 1 over the minibatch."""
        chosen, weights = whole.advantages[:, lanes], whole.weights[:, lanes]
        mean = (weights * chosen).mean()
        deviation = (weights * (chosen - mean).square()).mean().sqrt()
        return whole._replace(advantages=(whole.advantages - mean) / (deviation + 1e-8))

    def _loss(self, logits: Tensor, values: Tensor, batch: Batch) -> LossParts:
        targets = batch.actions, batch.advantages, batch.returns, batch.log_probs
        coefficients = self.options.clip, self.options.value_coef, self.options.entropy_coef
        return ppo_loss(logits, values, *targets, *coefficients, batch.weights)
