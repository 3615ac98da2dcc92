"""Pure functions on tensors: advantages and the losses."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class LossParts(NamedTuple):
    """A loss and what it is made of, all scalars; only `total` carries gradients."""

    total: Tensor
    policy: Tensor
    value: Tensor
    entropy: Tensor
    """Mean entropy of the policy, in nats."""


def gae(rewards: Tensor, values: Tensor, dones: Tensor, gamma: float, lambda_: float) -> Tensor:
    """Generalised advantage estimation (Schulman et al. 2016, equation 16).

    Args:
        rewards: float (T, lanes), with the bootstrap of truncated episodes already added.
        values: float (T + 1, lanes), the last row that of the state after the rollout.
        dones: bool (T, lanes), whether the episode ended with the step.
        gamma: discount factor.
        lambda_: weight of longer returns; 1 gives the return minus the value.

    Returns:
        advantages, float (T, lanes)
    """
    goes_on = (~dones).to(rewards.dtype)
    deltas = rewards + gamma * values[1:] * goes_on - values[:-1]
    advantages = torch.empty_like(rewards)
    running = torch.zeros_like(rewards[0])
    for t in range(len(rewards) - 1, -1, -1):
        running = deltas[t] + gamma * lambda_ * goes_on[t] * running
        advantages[t] = running
    return advantages


def actor_critic_loss(
    logits: Tensor, values: Tensor, actions: Tensor, advantages: Tensor, returns: Tensor, value_coef: float, entropy_coef: float
) -> LossParts:
    """A3C's loss (Mnih et al. 2016, section 4) with GAE, as seed 002 has it: summed over time, mean over lanes.

    Args:
        logits: float (T, lanes, actions).
        values: float (T, lanes).
        actions: int64 (T, lanes).
        advantages: float (T, lanes).
        returns: float (T, lanes), the critic's targets.
        value_coef: weight of the value loss, half the squared error.
        entropy_coef: weight of the entropy bonus.
    """
    log_probs = F.log_softmax(logits, dim=-1)
    entropy = -(log_probs.exp() * log_probs).sum(-1)
    chosen = log_probs.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
    policy_loss = -(chosen * advantages).sum(0).mean()
    value_loss = 0.5 * (returns - values).square().sum(0).mean()
    total = policy_loss + value_coef * value_loss - entropy_coef * entropy.sum(0).mean()
    return LossParts(total, policy_loss.detach(), value_loss.detach(), entropy.detach().mean())


def ppo_loss(
    logits: Tensor,
    values: Tensor,
    actions: Tensor,
    advantages: Tensor,
    returns: Tensor,
    old_log_probs: Tensor,
    clip: float,
    value_coef: float,
    entropy_coef: float,
) -> LossParts:
    """The clipped objective (Schulman et al. 2017, equations 7 and 9), means over all samples.

    Args:
        old_log_probs: float (T, lanes), of `actions` under the policy that chose them.
        clip: epsilon, how far the probability ratio may move before it stops paying.
        logits, values, actions, advantages, returns, value_coef, entropy_coef: as in `actor_critic_loss`.
    """
    log_probs = F.log_softmax(logits, dim=-1)
    entropy = -(log_probs.exp() * log_probs).sum(-1).mean()
    chosen = log_probs.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
    ratio = (chosen - old_log_probs).exp()
    policy_loss = -torch.min(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages).mean()
    value_loss = 0.5 * (returns - values).square().mean()
    total = policy_loss + value_coef * value_loss - entropy_coef * entropy
    return LossParts(total, policy_loss.detach(), value_loss.detach(), entropy.detach())
