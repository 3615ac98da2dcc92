"""How the parameter server merges what machines have learnt, by rules from the literature.

A machine trains its own copy with its own optimizer. What it sends is the difference between its parameters and those that
it last got from the server. All rules are asynchronous: each message is merged when it arrives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

# Elastic averaging: Zhang et al. 2015 recommend a total elasticity of 0.9, divided among the machines.
ELASTICITY = 0.9
# DiLoCo: Douillard et al. 2023, section 3, outer learning rate and Nesterov momentum.
OUTER_LEARNING_RATE = 0.7
OUTER_MOMENTUM = 0.9


@dataclass(frozen=True, slots=True)
class Push:
    """What the server knows of a difference that it merges."""

    machines: int
    """Machines that train at present."""
    updates: int
    """Optimizer steps of the machine that the difference is made of."""


class MergeRule(Protocol):
    """The server's half of a rule, for one range of the parameters."""

    is_elastic: bool
    """Whether a machine keeps parameters of its own and is only pulled towards the server's. Else it goes on from the
    server's."""

    def pull_strength(self, machines: int) -> float:
        """Share of its distance by which an elastic machine is moved towards the server's parameters; 0 for other rules."""

    def merge(self, parameters: Tensor, difference: Tensor, push: Push) -> None:
        """Let a machine's difference count.

        Args:
            parameters: of the server, float32 (n,); changed in place.
            difference: float32 (n,). Elastic: the machine's parameters minus the server's now. Else the machine's progress
                since it last got the server's parameters.
            push: where it comes from.
        """

    def tensors(self) -> dict[str, Tensor]:
        """The rule's own state, for checkpoints: float32 (n,) each, or () for step counters."""


class Additive:
    """Differences are added as they come, as if all workers of all machines shared one model.

    Project Adam's server (Chilimbi et al. 2014, section 3.3): updates are additive, so that their order does not matter. It is
    Hogwild across machines; differences of many machines add up to steps that are too long.
    """

    is_elastic = False

    def pull_strength(self, machines: int) -> float:
        return 0.0

    def merge(self, parameters: Tensor, difference: Tensor, push: Push) -> None:
        parameters += difference

    def tensors(self) -> dict[str, Tensor]:
        return {}


class Downpour:
    """DOWNPOUR (Dean et al. 2012, section 4.1) with Adam at the server instead of Adagrad.

    A difference, divided by what the machine's updates would have covered at full step length, stands for the gradient, as in
    FedAdam (Reddi et al. 2021, algorithm 2). The server's learning rate is the machine's times its updates.
    """

    is_elastic = False
    betas = (0.9, 0.999)

    def __init__(self, size: int, learning_rate: float, eps: float) -> None:
        """
        Args:
            size: parameters in this range.
            learning_rate: of the machines' optimizers.
            eps: Adam's epsilon, for pseudo-gradients whose size is around 1.
        """
        self._learning_rate, self._eps = learning_rate, eps
        self._mean, self._square = torch.zeros(size), torch.zeros(size)
        self._steps = torch.zeros(())

    def pull_strength(self, machines: int) -> float:
        return 0.0

    def merge(self, parameters: Tensor, difference: Tensor, push: Push) -> None:
        length = self._learning_rate * max(push.updates, 1)
        gradient = difference / -length
        self._steps += 1
        steps = float(self._steps)
        self._mean.lerp_(gradient, 1 - self.betas[0])
        self._square.mul_(self.betas[1]).addcmul_(gradient, gradient, value=1 - self.betas[1])
        root = (self._square / (1 - self.betas[1] ** steps)).sqrt_().add_(self._eps)
        parameters.addcdiv_(self._mean, root, value=-length / (1 - self.betas[0] ** steps))

    def tensors(self) -> dict[str, Tensor]:
        return {"mean": self._mean, "square": self._square, "steps": self._steps}


class ElasticAveraging:
    """Asynchronous EASGD (Zhang et al. 2015, algorithm 1): server and machine move towards each other by the same step."""

    is_elastic = True

    def pull_strength(self, machines: int) -> float:
        return ELASTICITY / max(machines, 1)

    def merge(self, parameters: Tensor, difference: Tensor, push: Push) -> None:
        parameters.add_(difference, alpha=self.pull_strength(push.machines))

    def tensors(self) -> dict[str, Tensor]:
        return {}


class DiLoCo:
    """DiLoCo's outer optimizer (Douillard et al. 2023, algorithm 1): Nesterov momentum on the machines' mean difference.

    Differences come one by one here. Each is applied at once with its share of the mean, and momentum is applied after
    every round of as many differences as there are machines: delayed Nesterov (Liu et al. 2024, algorithm 3). Plain momentum at
    every difference would count each of them several times over. With one machine this is Nesterov's method.
    """

    is_elastic = False

    def __init__(self, size: int) -> None:
        self._momentum, self._round = torch.zeros(size), torch.zeros(size)
        self._merged = torch.zeros(())

    def pull_strength(self, machines: int) -> float:
        return 0.0

    def merge(self, parameters: Tensor, difference: Tensor, push: Push) -> None:
        share = 1.0 / max(push.machines, 1)
        self._round.add_(difference, alpha=share)
        self._merged += share
        parameters.add_(difference, alpha=OUTER_LEARNING_RATE * share)
        if float(self._merged) > 1 - 1e-4:  # a round is complete, whatever machines came and left in it
            self._momentum.mul_(OUTER_MOMENTUM).add_(self._round)
            parameters.add_(self._momentum, alpha=OUTER_LEARNING_RATE * OUTER_MOMENTUM)
            self._round.zero_()
            self._merged.zero_()

    def tensors(self) -> dict[str, Tensor]:
        return {"momentum": self._momentum, "round": self._round, "merged": self._merged}


def make_rule(name: str, size: int, learning_rate: float, eps: float) -> MergeRule:
    """The rule called `name`, for a range of `size` parameters; the others are for `Downpour`."""
    match name:
        case "additive":
            return Additive()
        case "downpour":
            return Downpour(size, learning_rate, eps)
        case "easgd":
            return ElasticAveraging()
        case "diloco":
            return DiLoCo(size)
    raise ValueError(f"there is no rule {name!r}")
