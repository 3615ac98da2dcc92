"""What an algorithm is: how it acts, and how it turns experience into gradients.

Workers, the tester, weights files and checkpoints know algorithms by this interface alone. A new one is a subclass in a
file of its own; `a3g.algorithms` finds it by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from a3g.accelerator.precision import fresh_autocast, resolve_precision
from a3g.algorithm_options import AlgorithmOptions
from a3g.config import TrainConfig
from a3g.experience.rollout import Rollout, Step
from a3g.network_spec import NetworkSpec
from a3g.networks.flat_parameters import FlatParameters
from a3g.networks.pixel_network import PixelNetwork


@dataclass(frozen=True)
class ReplaySize:
    """What a worker's replay buffer takes, in bytes."""

    memory: int = 0
    disk: int = 0
    """In a file that is mapped into memory."""
    checkpoint: int = 0
    """In each checkpoint."""


class Algorithm(ABC):
    """A worker's own learner: its copy of the network, and how it acts and learns with it.

    Every worker has one. Its parameters are overwritten by those of the shared model; its gradients are applied there.
    It also is the `Policy` that collectors play with.
    """

    options_class: ClassVar[type[AlgorithmOptions]] = AlgorithmOptions
    """A dataclass of the algorithm's own options; each field is a flag, its docstring the flag's help."""
    learns_from_demonstrations: ClassVar[bool] = False
    """Whether rollouts are demonstrations, played as they are, instead of the policy's own games."""
    learns_from_expert: ClassVar[bool] = False
    """Whether an expert says what it would do in the states of a rollout."""

    @classmethod
    @abstractmethod
    def build_model(cls, spec: NetworkSpec) -> PixelNetwork:
        """A new network."""

    @staticmethod
    @abstractmethod
    def preferences(model: Any, observations: Tensor, state: Tensor, episode_starts: Tensor) -> tuple[Tensor, Tensor]:
        """How much a network made by `build_model` wants each action.

        Args:
            model: the network.
            observations: uint8 (lanes, stack, height, width).
            state: recurrent state, (2, lanes, hidden).
            episode_starts: bool (lanes,).

        Returns:
            float32 (lanes, actions), of which a greedy player takes the largest, such as logits or action values; and
            the recurrent state after the step
        """

    @classmethod
    def preferences_and_values(
        cls, model: Any, observations: Tensor, state: Tensor, episode_starts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `preferences`, and between the two the values of the states, float32 (lanes,), for those who look on.

        Here the value is the largest preference, as it is where preferences are action values.
        """
        preferences, state = cls.preferences(model, observations, state, episode_starts)
        return preferences, preferences.max(dim=-1).values, state

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        self.options: Any = config.options
        self.precision = resolve_precision(config.precision, device)
        self.model: Any = self.build_model(config.network_spec()).to(device)
        self.flat = FlatParameters(self.model)
        """The parameters and gradients of `model`, as vectors."""

    def computing(self) -> AbstractContextManager[None]:
        """The arithmetic in which networks compute here; the weights must not change inside."""
        return fresh_autocast(self.device, self.precision)

    @classmethod
    def replay_size(cls, config: TrainConfig) -> ReplaySize:
        """What each worker's replay buffer takes at its fullest; most algorithms have none."""
        return ReplaySize()

    @property
    def learning_rate(self) -> float:
        """Of the next update."""
        return self.config.lr

    def begin_rollout(self, agent_steps: int) -> None:  # noqa: B027 (most algorithms have no schedules)
        """A rollout is about to be collected, with the newest parameters.

        Args:
            agent_steps: of the whole run so far, which schedules go by.
        """

    def initial_state(self, lanes: int) -> Tensor:
        """The recurrent state at an episode's start, (2, lanes, hidden)."""
        state: Tensor = self.model.initial_state(lanes)
        return state

    def columns(self) -> Mapping[str, torch.dtype]:
        """What experience has to keep beside observations, actions, rewards and dones: one number an agent step each."""
        return {}

    @abstractmethod
    def act(self, observations: Tensor, state: Tensor, episode_starts: Tensor, random: torch.Generator) -> Step:
        """Choose actions while experience is collected; see `a3g.experience.rollout.Policy.act`."""

    def greedy(self, observations: Tensor) -> Tensor:
        """The actions wanted most, of a network without memory; see `a3g.experience.rollout.Policy.greedy`."""
        lanes = len(observations)
        every = torch.ones(lanes, dtype=torch.bool, device=self.device)
        preferences, _ = self.preferences(self.model, observations, self.initial_state(lanes), every)
        return preferences.argmax(dim=-1)

    @abstractmethod
    def bootstrap(self, observations: Tensor, state: Tensor, episode_starts: Tensor) -> Tensor:
        """Values of states, float32 (lanes,); see `a3g.experience.rollout.Policy.bootstrap`."""

    @abstractmethod
    def updates(self, rollout: Rollout) -> Iterator[dict[str, float]]:
        """Leave the gradients of one update after the other in `flat.gradients`.

        Yields:
            metrics by name, each time when an update's gradients are ready; among them ``gradient_norm``, the length of
            the gradients before clipping. Whoever asks for the next update may change the parameters before. Metrics are
            declared in `a3g.reporting`; unknown ones are shown as means over workers.
        """

    def state_dict(self) -> dict[str, Tensor]:
        """What the worker's next updates depend on, beside parameters: a replay buffer, a target network.

        It is written to a file before the next rollout is collected. So what is large need not be copied.
        """
        return {}

    def memory(self, name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor | None:
        """Where a tensor of a saved state is to be read to, if it is too large to be held twice; None: anywhere."""
        return None

    def load_state_dict(self, state: dict[str, Tensor]) -> None:  # noqa: B027 (most algorithms have nothing to load)
        """Go on from what `state_dict` gave.

        Raises:
            KeyError, ValueError: if it does not fit.
        """
