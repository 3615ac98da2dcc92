"""Learning from an expert that sees more: it says what it would do in the states that the policy itself gets into.

DAgger (Ross et al. 2011, https://arxiv.org/abs/1011.0686) with the expert's whole distribution as target (policy distillation,
Rusu et al. 2015, https://arxiv.org/abs/1511.06295). The expert reads RAM, see `a3g.game.map_observation`, and the policy learns
to do the same from pictures alone (learning by cheating, Chen et al. 2019, https://arxiv.org/abs/1912.12294).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from a3g.algorithm_options import DaggerOptions
from a3g.algorithms.actor_critic import ActorCriticAlgorithm, Batch, LossParts
from a3g.algorithms.chosen_steps import draw_steps, weighted_by_advantage
from a3g.config import TrainConfig
from a3g.experience.rollout import Rollout, Step


class Dagger(ActorCriticAlgorithm):
    """Imitates an expert's distribution; a rollout comes from an `ExpertCollector`."""

    learns_from_expert = True
    options: DaggerOptions
    options_class = DaggerOptions

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        super().__init__(config, device)
        self._lanes_per_pass = self._samples_per_pass

    def columns(self) -> Mapping[str, torch.dtype]:
        return {"values": torch.float32}

    def act(self, observations: Tensor, state: Tensor, episode_starts: Tensor, random: torch.Generator) -> Step:
        """Greedily, as it will play; the column `log_probs` is (lanes, actions)."""
        logits, values, state = self.model(observations[None], state, episode_starts[None])
        log_probs = torch.log_softmax(logits[0], dim=-1)
        return Step(log_probs.argmax(dim=-1), {"log_probs": log_probs, "values": values[0]}, state)

    def _whole(self, rollout: Rollout) -> Batch:
        """With the expert's log-probabilities, (T, lanes, actions), in the place of log_probs, and how far the policy was from
        them in that of the advantages."""
        whole = super()._whole(rollout)
        expert = rollout.columns["expert_log_probs"]
        return whole._replace(log_probs=expert, advantages=divergence(expert, rollout.columns["log_probs"]))

    def _arrange(self, whole: Batch) -> Batch:
        return weighted_by_advantage(whole.in_one_step())

    def _batches(self, whole: Batch) -> Iterator[Tensor]:
        minibatches = self.options.minibatches
        size = max(1, round(whole.actions.numel() * self.options.learn_share / minibatches))
        yield from (draw_steps(whole.weights[0], size) for _ in range(minibatches))

    def _loss(self, logits: Tensor, values: Tensor, batch: Batch) -> LossParts:
        return dagger_loss(logits, values, batch.log_probs, batch.returns, batch.weights, self.options.value_coef)


def divergence(expert_log_probs: Tensor, log_probs: Tensor) -> Tensor:
    """The Kullback-Leibler divergence of a policy from the expert, (...), of log-probabilities (..., actions), in nats."""
    return (expert_log_probs.exp() * (expert_log_probs - log_probs)).sum(-1)


def dagger_loss(
    logits: Tensor, values: Tensor, expert_log_probs: Tensor, returns: Tensor, weights: Tensor, value_coef: float
) -> LossParts:
    """The policy's divergence from the expert, and half the critic's squared error; means over all samples.

    Args:
        logits: float (T, lanes, actions).
        values: float (T, lanes).
        expert_log_probs: float (T, lanes, actions).
        returns: float (T, lanes), the critic's targets.
        weights: float (T, lanes), of the samples.
        value_coef: weight of the value loss.
    """
    log_probs = torch.log_softmax(logits, dim=-1)
    policy_loss = (weights * divergence(expert_log_probs, log_probs)).mean()
    value_loss = 0.5 * (weights * (returns - values).square()).mean()
    entropy = -(weights * (log_probs.exp() * log_probs).sum(-1)).mean()
    return LossParts(policy_loss + value_coef * value_loss, policy_loss.detach(), value_loss.detach(), entropy.detach())
