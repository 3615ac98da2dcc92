"""Learning from some of a rollout's steps, those that can teach most."""

from __future__ import annotations

import torch
from torch import Tensor

from a3g.algorithms.actor_critic import Batch


def weighted_by_advantage(steps: Batch) -> Batch:
    """Weights with which steps can be drawn by how much they can teach, while the loss keeps its expectation.

    Importance sampling as in Katharopoulos & Fleuret 2018, "Not All Samples Are Created Equal": a step is drawn at a rate in
    proportion to its advantage's size (the mean size is added, so that each can be drawn), and weighs the inverse.

    Args:
        steps: a rollout `in_one_step`.
    """
    sizes = steps.advantages.abs()
    rates = sizes + sizes.mean() + 1e-8
    return steps._replace(weights=rates.mean() / rates)


def draw_steps(weights: Tensor, number: int) -> Tensor:
    """Draw steps at rates inverse to their weights, int64 (number,): evenly spaced points on the sum of the rates.

    Args:
        weights: float (steps,).
        number: how many; one step may be drawn several times.
    """
    order = torch.randperm(len(weights), device=weights.device)
    edges = (1.0 / weights[order]).double().cumsum(0)
    points = (torch.arange(number, device=weights.device) + torch.rand(1, device=weights.device)) * (edges[-1] / number)
    return order[torch.searchsorted(edges, points).clamp_max(len(weights) - 1)]
