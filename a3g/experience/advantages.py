"""Advantages from rewards and values: pure functions on tensors."""

from __future__ import annotations

import torch
from torch import Tensor


def gae(rewards: Tensor, values: Tensor, dones: Tensor, gamma: float, gae_lambda: float) -> Tensor:
    """Generalised advantage estimation (Schulman et al. 2016, equation 16).

    Args:
        rewards: float (T, lanes), with the bootstrap of truncated episodes already added.
        values: float (T + 1, lanes), the last row that of the state after the rollout.
        dones: bool (T, lanes), whether the episode ended with the step.
        gamma: discount factor.
        gae_lambda: weight of longer returns; 1 gives the return minus the value.

    Returns:
        advantages, float (T, lanes)
    """
    nonterminal = (~dones).to(rewards.dtype)
    deltas = rewards + gamma * values[1:] * nonterminal - values[:-1]
    advantages = torch.empty_like(rewards)
    running = torch.zeros_like(rewards[0])
    for t in range(len(rewards) - 1, -1, -1):
        running = deltas[t] + gamma * gae_lambda * nonterminal[t] * running
        advantages[t] = running
    return advantages
