"""The options that only some algorithms have, as dataclasses. Imports neither PyTorch nor the algorithms."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal, get_args, get_type_hints

import tyro

from a3g.errors import UserError
from a3g.ranges import LARGEST_STACK, require


@dataclass(frozen=True)
class AlgorithmOptions:
    """What the options of every algorithm are derived from. Each field is a flag, its docstring the flag's help."""

    general: ClassVar[Mapping[str, Any]] = {}
    """Values of the options of all algorithms that hold with `--algorithm` unless they are given too."""

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
class DaggerOptions(ActorCriticOptions):
    """Of `a3g.algorithms.dagger`."""

    general = {"lstm": False, "fc": True}

    minibatches: int = 8
    """ppo, imitation, dagger: updates per pass over a rollout, each on a share of it."""
    learn_share: float = 1.0
    """ppo, dagger: share of a rollout's steps that is learned from; dagger draws those most that are far from the expert."""

    def check(self, lanes: int, lstm: bool) -> None:
        if lstm:
            raise UserError("DAgger has no LSTM here: add --no-lstm.")


@dataclass(frozen=True)
class DQNOptions(AlgorithmOptions):
    """Of `a3g.algorithms.dqn`. Updates are counted for each worker by itself, agent steps for the whole run."""

    general = {"lstm": False, "fc": True}

    double: bool = True
    """dqn: let the network choose the next action and the target network value it (double DQN)."""
    n_step: int = 1
    """dqn: rewards that a target adds up before the value of what follows."""
    reward_scale: float = 1.0
    """dqn: what rewards are divided by before they are learned from; Q values are smaller by as much. Errors far above 1, where
    the Huber loss is linear, are learned from slowly."""
    replay_size: int = 100_000
    """dqn: agent steps in each worker's replay. One takes 6,407 bytes (its picture of 80 x 80, kept once, and 7 more), with
    priorities up to 32 more; 100,000 are 641 MB per worker, and as much in each of its --keep-checkpoints."""
    replay_storage: Literal["auto", "memory", "disk"] = "auto"
    """dqn: where the pictures of a replay are; disk: in a file in --log-dir, mapped into memory; auto: on the disk if all
    workers' replays together are more than half of this machine's memory."""
    save_replay: bool = True
    """dqn: write replays into checkpoints; without, a resumed run fills them again before it learns."""
    learning_starts: int = 10_000
    """dqn: agent steps in a worker's replay before it learns."""
    batch_size: int = 32
    """dqn: agent steps drawn for an update."""
    update_interval: int = 4
    """dqn: agent steps of a worker for each of its updates."""
    target_interval: int = 1_000
    """dqn: updates of a worker from one change of its target network to the next."""
    target_tau: float = 1.0
    """dqn: how far the target network then goes to the network; 1: it becomes its copy."""
    priority_alpha: float = 0.0
    """dqn: exponent of the priorities with which the replay is drawn from; 0: all agent steps alike."""
    priority_beta: float = 0.4
    """dqn: exponent of the importance weights that make up for the priorities, at first."""
    priority_beta_steps: int = 1_000_000
    """dqn: agent steps over which --priority-beta goes to 1; 0: it stays."""
    epsilon_start: float = 1.0
    """dqn: chance of a random action, at first."""
    epsilon_end: float = 0.1
    """dqn: chance of a random action after --epsilon-steps."""
    epsilon_steps: int = 100_000
    """dqn: agent steps over which the chance of a random action goes down."""
    epsilon_decay: Literal["linear", "exponential"] = "linear"
    """dqn: how it goes down; exponential: by the same factor in every agent step."""
    epsilon_spread: float = 0.0
    """dqn: lane i of a worker's n lanes takes epsilon to the power of 1 + spread * i / (n - 1) (Ape-X: 7); 0: all the same."""
    lr_decay: float = 1.0
    """dqn: factor of the learning rate after each --lr-decay-steps."""
    lr_decay_steps: int = 1_000
    """dqn: agent steps from one change of the learning rate to the next."""

    def check(self, lanes: int, lstm: bool) -> None:
        if lstm:
            raise UserError("A DQN has no LSTM here: add --no-lstm.")
        least = lanes * (self.n_step + LARGEST_STACK)
        require(self.replay_size >= least, "replay_size", self.replay_size, f"at least {least} with {lanes} lanes")
        most = self.replay_size - lanes
        require(self.learning_starts <= most, "learning_starts", self.learning_starts, f"at most {most}, so that it is reached")
        start = self.epsilon_start
        require(self.epsilon_end <= start, "epsilon_end", self.epsilon_end, f"at most --epsilon-start ({start:g})")
        fits = self.epsilon_end > 0 or self.epsilon_decay == "linear"
        require(fits, "epsilon_end", self.epsilon_end, "more than 0 with --epsilon-decay exponential")


OPTIONS: dict[str, type[AlgorithmOptions]] = {
    "a3c": A3COptions,
    "a2c": A3COptions,
    "ppo": PPOOptions,
    "imitation": ImitationOptions,
    "dagger": DaggerOptions,
    "dqn": DQNOptions,
    "dueling-dqn": DQNOptions,
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


def flags_of(kind: type[AlgorithmOptions]) -> set[str]:
    """Every spelling of the options that an algorithm has of its own, such as ``--tau`` and ``-t``."""
    flags: set[str] = set()
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if name in kind.__dataclass_fields__:
            aliases = [alias for each in get_args(hint)[1:] for alias in getattr(each, "aliases", None) or ()]
            option = name.replace("_", "-")
            flags |= {f"--{option}", f"--no-{option}", *aliases}
    return flags


def refuse_options_of_others(arguments: Sequence[str], algorithm: str) -> None:
    """
    Args:
        arguments: a command line.
        algorithm: what it trains with.

    Raises:
        UserError: if it has an option that only other algorithms have.
    """
    own = flags_of(options_class(algorithm))
    for argument in arguments:
        flag = argument.split("=")[0]
        flag = flag.replace("_", "-") if flag.startswith("--") else flag
        others = [name for name, kind in OPTIONS.items() if flag in flags_of(kind)]
        if others and flag not in own:
            raise UserError(f"{flag} is no option of --algorithm {algorithm}, only of {', '.join(others)}.")


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
