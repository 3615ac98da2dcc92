"""`(T, lanes)` of experience, and what a collector has to know of an algorithm to make it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from a3g.experience.episodes import EpisodeRecord


class Step(NamedTuple):
    """What an algorithm decides for one agent step in every lane."""

    actions: Tensor
    """int64 (lanes,)"""
    columns: dict[str, Tensor]
    """What experience has to keep beside observations, actions and rewards, (lanes,) each; see `Policy.columns`."""
    state: Tensor
    """The recurrent state after the step, float32 (2, lanes, hidden)."""


class Policy(Protocol):
    """What collectors know of an algorithm (`a3g.algorithms.base.Algorithm` is one)."""

    device: torch.device
    """Where the network is, and where rollouts are to be."""
    learns_from_demonstrations: ClassVar[bool]
    """Whether rollouts are to be demonstrations instead of its own games."""

    def computing(self) -> AbstractContextManager[None]:
        """The arithmetic in which the network computes; the weights must not change inside."""

    def columns(self) -> Mapping[str, torch.dtype]:
        """Names and types of the further columns of experience."""

    def initial_state(self, lanes: int) -> Tensor:
        """The recurrent state at an episode's start."""

    def act(self, observations: Tensor, state: Tensor, episode_starts: Tensor, random: torch.Generator) -> Step:
        """Choose actions; inside `computing`.

        Args:
            observations: uint8 (lanes, stack, height, width).
            state: recurrent state before the step, (2, lanes, hidden).
            episode_starts: bool (lanes,), whether the step is the first of its episode.
            random: source of all random choices.
        """

    def greedy(self, observations: Tensor) -> Tensor:
        """The actions, int64 (lanes,), wanted most; for networks without memory; inside `computing`."""

    def bootstrap(self, observations: Tensor, state: Tensor, episode_starts: Tensor) -> Tensor:
        """Values float32 (lanes,) of the states that follow, for what a rollout or a truncated episode cuts off."""


@dataclass(slots=True)
class Rollout:
    """`T` agent steps in every lane; the tensors are reused by the next rollout."""

    observations: Tensor
    """uint8 (T, lanes, stack, height, width), what each action was chosen from."""
    actions: Tensor
    """int64 (T, lanes)"""
    rewards: Tensor
    """float32 (T, lanes); for a truncated episode the discounted value of its last state is added."""
    dones: Tensor
    """bool (T, lanes), whether the episode ended with the step."""
    episode_starts: Tensor
    """bool (T, lanes), whether the step is the first of its episode."""
    columns: dict[str, Tensor]
    """What the algorithm asked to keep, (T, lanes) each."""
    next_values: Tensor
    """float32 (lanes,), of the states after the rollout."""
    initial_state: Tensor
    """float32 (2, lanes, hidden), the recurrent state before the first step."""
    episodes: list[EpisodeRecord]
    """Those that ended."""

    @classmethod
    def empty(cls, num_steps: int, lanes: int, observation_shape: tuple[int, ...], policy: Policy) -> Rollout:
        """Room for so many agent steps."""
        size, device = (num_steps, lanes), policy.device
        return cls(
            observations=torch.zeros(*size, *observation_shape, dtype=torch.uint8, device=device),
            actions=torch.zeros(size, dtype=torch.int64, device=device),
            rewards=torch.zeros(size, device=device),
            dones=torch.zeros(size, dtype=torch.bool, device=device),
            episode_starts=torch.zeros(size, dtype=torch.bool, device=device),
            columns={name: torch.zeros(size, dtype=dtype, device=device) for name, dtype in policy.columns().items()},
            next_values=torch.zeros(lanes, device=device),
            initial_state=policy.initial_state(lanes),
            episodes=[],
        )
