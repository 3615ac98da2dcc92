"""A moving average of the shared weights: what hours of noisy steps have in common plays better than the newest of them.

Averages of weights along training go back to Polyak and Juditsky (1992, "Acceleration of Stochastic Approximation by
Averaging"); Izmailov et al. (2018, https://arxiv.org/abs/1803.05407) show why they generalise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from a3g.networks.shared_optim import to_shared_memory
from a3g.runs.checkpoint import AVERAGE

UPDATES_PER_HORIZON = 100
"""The average takes the newest weights in so often while the agents play as many steps as it reaches back."""
WEIGHTS, STEPS = f"{AVERAGE}weights", f"{AVERAGE}steps"


class WeightAverage:
    """In shared memory: the tester keeps it up and tests it."""

    def __init__(self, weights: Tensor, horizon: int) -> None:
        """
        Args:
            weights: the shared weights, (parameters,).
            horizon: agent steps over which the influence of a state of the weights falls to 1 / e.
        """
        self._newest, self._horizon = weights, horizon
        self.weights = to_shared_memory(weights.detach().clone())
        self._steps = to_shared_memory(torch.full((2,), -1, dtype=torch.int64))
        """Of the run, when the average began and when it last took weights in; -1: not yet."""

    @torch.no_grad()
    def update(self, agent_steps: int) -> None:
        """Take the newest weights in, if it is time.

        Until the average reaches back as far as `horizon` it is the mean of all there were: what a network begins with is
        soon forgotten.

        Args:
            agent_steps: of the whole run so far.
        """
        began, before = self._steps.tolist()
        if began < 0 or agent_steps < before:  # later: after the launcher has restored an older state
            self.weights.copy_(self._newest)
            self._steps.fill_(agent_steps)
            return
        if agent_steps - before < self._horizon / UPDATES_PER_HORIZON:
            return
        newest = self._newest.detach().clone()  # others are writing
        if not bool(newest.sum().isfinite()):
            return
        share = -math.expm1(-(agent_steps - before) / min(self._horizon, agent_steps - began))
        self.weights.lerp_(newest, share)
        self._steps[1] = agent_steps

    def tensors(self) -> Mapping[str, Tensor]:
        """What belongs in a checkpoint, by its names there."""
        return {WEIGHTS: self.weights, STEPS: self._steps}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint whose weights are the newest by now; from those, if it has no average."""
        mine = self.tensors()
        if all(name in tensors and tensors[name].shape == mine[name].shape for name in mine):
            for name, tensor in mine.items():
                tensor.copy_(tensors[name])
        else:
            self.weights.copy_(self._newest)
            self._steps.fill_(-1)
