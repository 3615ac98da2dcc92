"""Where episodes begin: a start source chooses the stage, the state and the idle frames, and is told how episodes end.

A source is the place for curricula, demonstrations and archives of states. `UniformStarts` is the usual one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from a3g.errors import UserError
from a3g.game.packing import State, pack_bytes, pack_values, unpack_bytes, unpack_values
from a3g.game.rules import Outcome
from a3g.game.stages import Stage


@dataclass(frozen=True, slots=True)
class Start:
    """Where an episode begins."""

    stage: Stage | None
    """What is attempted; None is the whole game."""
    idle_frames: int = 0
    """Frames (1/60 s) without buttons before the agent's first step."""
    state: bytes | None = None
    """The console to begin from, as `Emulator.to_bytes` of the same engine gives it, with Mario obeying in `stage`. None
    is the start of the stage, or of 1-1 for the whole game."""
    id: int | str = 0
    """By which the source knows this start again when its episode has ended."""
    sticky_actions: float | None = None
    """The episode's own chance that a step repeats the last action; None is that of the environment's options."""


class StartSource(Protocol):
    """Chooses the start of every episode of an environment. All lanes share one source."""

    def next(self, rng: np.random.Generator, lane: int) -> Start:
        """The start of a lane's next episode.

        Args:
            rng: the lane's randomness. A source that draws from nothing else repeats itself with the seed.
            lane: number of the lane, from 0.
        """

    def episode_ended(self, start: Start, outcome: Outcome | None, progress: int) -> None:
        """Learn how an episode went. Episodes that a reset cuts off are not reported.

        With `episodic_life` this is called once for the whole game, not for every life of it.

        Args:
            start: what `next` gave.
            outcome: how the last attempt at a stage ended, None if the episode was truncated before that.
            progress: pixels of new ground in that attempt.
        """

    def state_dict(self) -> State:
        """What `next` depends on besides `rng`, as copies, for checkpoints."""

    def load_state_dict(self, state: State) -> None:
        """Continue from what `state_dict` gave; raises ValueError, KeyError or TypeError if it does not fit."""


@runtime_checkable
class TrailFollower(StartSource, Protocol):
    """A start source that wants to know which states an episode came through; the native environment tells it."""

    trail_spacing: int
    """Agent steps between two states that are kept."""
    trail_length: int
    """How many are kept, the newest ones."""

    def trail_ended(self, lane: int, start: Start, outcome: Outcome | None, trail: Sequence[bytes]) -> None:
        """Learn what led to an episode's end; called after `episode_ended`.

        Args:
            lane: as in `next`.
            start: what `next` gave.
            outcome: as in `episode_ended`.
            trail: the console at the steps kept, as `Start.state`, oldest first.
        """


class UniformStarts:
    """The beginnings of stages, each as likely as the others, after a random number of idle frames."""

    def __init__(
        self,
        stages: Sequence[Stage | None],
        noop_max: int,
        num_lanes: int = 1,
        sticky_actions: tuple[float, float] | None = None,
    ) -> None:
        """
        Args:
            stages: what to play; None is the whole game. Lane i plays stages i, i + num_lanes, … (one at random each
                episode) if there are more stages than lanes, else stage i modulo their number.
            noop_max: most idle frames.
            num_lanes: lanes among which the stages are shared out.
            sticky_actions: between which each episode's chance of a repeated action is drawn; None leaves it to the
                environment's options.

        Raises:
            UserError: if there is no stage.
        """
        if not stages:
            raise UserError("A vector environment needs at least one stage.")
        self._stages, self._noop_max, self._num_lanes = tuple(stages), noop_max, num_lanes
        self._sticky_actions = sticky_actions

    def stages_of(self, lane: int) -> tuple[Stage | None, ...]:
        """The stages that a lane plays."""
        if len(self._stages) > self._num_lanes:
            return self._stages[lane :: self._num_lanes]
        return (self._stages[lane % len(self._stages)],)

    def next(self, rng: np.random.Generator, lane: int) -> Start:
        stages = self.stages_of(lane)
        stage = stages[rng.integers(len(stages))] if len(stages) > 1 else stages[0]
        idle_frames = int(rng.integers(self._noop_max + 1))
        chance = None if self._sticky_actions is None else float(rng.uniform(*self._sticky_actions))
        return Start(stage, idle_frames, sticky_actions=chance)

    def episode_ended(self, start: Start, outcome: Outcome | None, progress: int) -> None:
        """Changes nothing."""

    def state_dict(self) -> State:
        return {}

    def load_state_dict(self, state: State) -> None:
        """Nothing to load."""


def pack_starts(name: str, starts: Sequence[Start | None]) -> State:
    """Starts as arrays, for checkpoints."""
    values = [
        start and [start.stage, start.idle_frames, start.state is not None, start.id, start.sticky_actions] for start in starts
    ]
    states = [start.state for start in starts if start is not None and start.state is not None]
    return {**pack_values(name, values), **pack_bytes(f"{name}.states", states)}


def unpack_starts(name: str, state: State) -> list[Start | None]:
    """The reverse of `pack_starts`; raises ValueError, KeyError or TypeError if the arrays hold no starts."""
    states = iter(unpack_bytes(f"{name}.states", state))
    starts: list[Start | None] = []
    for values in unpack_values(name, state):
        if values is None:
            starts.append(None)
            continue
        stage, idle_frames, has_state, start_id, *later = values
        saved = next(states) if has_state else None
        # Older checkpoints know no stickiness of single episodes.
        starts.append(Start(stage and Stage(*stage), idle_frames, saved, start_id, later[0] if later else None))
    return starts
