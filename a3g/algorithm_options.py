"""The options that only some algorithms have, as dataclasses. Imports neither PyTorch nor the algorithms."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass, fields
from typing import Annotated, Any

import tyro

from a3g.errors import UserError
from a3g.ranges import require


@dataclass(frozen=True)
class AlgorithmOptions:
    """What the options of every algorithm are derived from. Each field is a flag, its docstring the flag's help."""

    def check(self, lanes: int, lstm: bool) -> None:
        """See that the options make sense for workers with so many lanes and such a network; numbers are in their ranges.

        Raises:
            UserError: if they don't.
        """


@dataclass(frozen=True)
class ActorCriticOptions(AlgorithmOptions):
    """Of algorithms with a policy and a value function."""

    tau: Annotated[float, tyro.conf.arg(aliases=["-t"])] = 1.0
    """GAE's lambda: the weight of longer returns."""
    entropy_coef: Annotated[float, tyro.conf.arg(aliases=["-ec"])] = 0.01
    """Weight of the entropy bonus."""
    value_coef: Annotated[float, tyro.conf.arg(aliases=["-vc"])] = 0.5
    """Weight of the value loss."""


@dataclass(frozen=True)
class A3COptions(ActorCriticOptions):
    """Of `a3g.algorithms.a3c` and `a3g.algorithms.a2c`."""

    keep_activations: bool = True
    """a3c, a2c on the CPU, 4 lanes or more: keep the encoder's work while playing for the backward pass; takes memory."""


@dataclass(frozen=True)
class PPOOptions(ActorCriticOptions):
    """Of `a3g.algorithms.ppo`."""

    epochs: int = 4
    """ppo: passes over a rollout."""
    minibatches: int = 4
    """ppo, imitation: updates per pass over a rollout, each on a share of it."""
    clip: float = 0.2
    """ppo: how far a probability ratio may move from 1 before it stops paying."""
    learn_share: float = 1.0
    """ppo: share of a rollout's steps that a pass learns from, drawn the more the larger their advantages are; below 1 it
    needs --no-lstm."""

    def check(self, lanes: int, lstm: bool) -> None:
        require(not lstm or self.learn_share == 1.0, "learn_share", self.learn_share, "1 with an LSTM: add --no-lstm")
        require(lanes % self.minibatches == 0, "lanes", lanes, f"a multiple of --minibatches ({self.minibatches})")


@dataclass(frozen=True)
class ImitationOptions(ActorCriticOptions):
    """Of `a3g.algorithms.imitation`."""

    minibatches: int = 4
    """ppo, imitation: updates per pass over a rollout, each on a share of it."""
    taught_steps: int = 0
    """imitation: agent steps that the agent itself plays in every lane before each rollout, to be shown a way on where it
    fails; 0: only the given demonstrations are imitated; more than 0 needs --no-lstm."""

    def check(self, lanes: int, lstm: bool) -> None:
        require(not (lstm and self.taught_steps), "taught_steps", self.taught_steps, "0 with an LSTM: add --no-lstm")
        require(not lstm or lanes % self.minibatches == 0, "lanes", lanes, f"a multiple of --minibatches ({self.minibatches})")


@dataclass(frozen=True)
class DaggerOptions(ImitationOptions):
    """Of `a3g.algorithms.dagger`."""

    taught_steps: tyro.conf.Suppress[int] = 0
    minibatches: int = 8
    """ppo, imitation, dagger: updates per pass over a rollout, each on a share of it."""
    learn_share: float = 1.0
    """ppo, dagger: share of a rollout's steps that is learned from; dagger draws those most that are far from the expert."""

    def check(self, lanes: int, lstm: bool) -> None:
        require(not lstm, "algorithm", "dagger", "an algorithm that knows LSTMs, or add --no-lstm")


OPTIONS: dict[str, type[AlgorithmOptions]] = {
    "a3c": A3COptions,
    "a2c": A3COptions,
    "ppo": PPOOptions,
    "imitation": ImitationOptions,
    "dagger": DaggerOptions,
}
"""By the algorithms' names."""

_CLASS = re.compile(r"[\w.]+:\w+")


def options_class(algorithm: str) -> type[AlgorithmOptions]:
    """The class of an algorithm's options.

    Args:
        algorithm: a key of OPTIONS, or ``module:Class`` for an algorithm outside this package.

    Raises:
        UserError: if there is no such algorithm.
    """
    if algorithm in OPTIONS:
        return OPTIONS[algorithm]
    if not _CLASS.fullmatch(algorithm):
        names = ", ".join(OPTIONS)
        raise UserError(f"Unknown algorithm {algorithm!r}: choose one of {names}, or module:Class for one of yours.")
    found = getattr(import_class(algorithm), "options_class", AlgorithmOptions)
    if not (isinstance(found, type) and issubclass(found, AlgorithmOptions)):
        raise UserError(f"The options_class of {algorithm!r} must be a subclass of a3g.algorithm_options.AlgorithmOptions.")
    return found


def import_class(path: str) -> Any:
    """What ``module:Class`` names.

    Raises:
        UserError: if it can't be imported.
    """
    module_name, _, class_name = path.partition(":")
    try:
        return getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"Can't import {path!r}: {error}.") from error


def converted(options: AlgorithmOptions, kind: type[AlgorithmOptions]) -> AlgorithmOptions:
    """Another algorithm's options, with the values of the fields that both have."""
    if type(options) is kind:
        return options
    common = {field.name for field in fields(options)} & {field.name for field in fields(kind)}
    return kind(**{name: getattr(options, name) for name in common})
