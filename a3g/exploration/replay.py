"""Playing demonstrations again: the game is deterministic, so stage, idle frames and actions are all that it takes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from a3g.exploration.demonstrations import Demonstration
from a3g.game.emulators import Image
from a3g.game.native_vector import NativeVectorEnv
from a3g.game.options import GameOptions
from a3g.game.packing import State, pack_bytes, pack_values, unpack_bytes, unpack_values
from a3g.game.rules import Outcome
from a3g.game.stages import Stage
from a3g.game.starts import Start

MOST_ADDED = 300
"""Demonstrations of a stage that are kept beside those given at first."""


@dataclass(frozen=True, slots=True)
class DemonstrationStep:
    """One agent step of all lanes."""

    actions: NDArray[np.int64]
    """(lanes,)"""
    rewards: NDArray[np.float32]
    """(lanes,)"""
    dones: NDArray[np.bool_]
    """(lanes,), whether the demonstration ended with the step."""


class DemonstrationPlayer:
    """Lanes that play demonstrations, one after the other: each stage as often as the others.

    A demonstration ends with its episode, or with its last action if the episode goes on after that.
    """

    def __init__(self, demonstrations: Sequence[Demonstration], lanes: int, options: GameOptions, seed: int) -> None:
        """
        Args:
            demonstrations: what is chosen from at random.
            lanes: games played side by side.
            options: the game; its sticky actions are off here.
            seed: of the choice.
        """
        self._given: dict[Stage, list[Demonstration]] = {}
        for demonstration in demonstrations:
            self._given.setdefault(demonstration.stage, []).append(demonstration)
        self._added: dict[Stage, deque[Demonstration]] = {stage: deque(maxlen=MOST_ADDED) for stage in self._given}
        self._random = np.random.default_rng(seed)
        self._playing = [demonstrations[0]] * lanes
        self._positions = np.zeros(lanes, np.int64)
        game = replace(options, episodic_life=False)
        self._env = NativeVectorEnv([None], lanes, game, copy=False, starts=_DemonstrationStarts(self._begin))
        self._env.reset()

    @property
    def observations(self) -> Image:
        """What is seen before the next step, uint8 (lanes, stack, height, width): the buffer itself."""
        return self._env.observations

    def add(self, demonstration: Demonstration) -> None:
        """Play this one too from now on, and the oldest one added for its stage no more if there are too many."""
        self._added[demonstration.stage].append(demonstration)

    def step(self, observations: Image) -> DemonstrationStep:
        """Play one agent step in every lane.

        Args:
            observations: uint8 (lanes, stack, height, width); takes what was seen before it.
        """
        observations[:] = self._env.observations
        pairs = zip(self._playing, self._positions.tolist(), strict=True)
        actions = np.array([playing.actions[position] for playing, position in pairs], np.int64)
        self._positions += 1
        # A lane whose game ends begins its next demonstration in this very call.
        _, rewards, terminated, truncated, _ = self._env.step(actions.copy())
        dones = terminated | truncated
        lengths = np.array([len(playing.actions) for playing in self._playing])
        used_up = ~dones & (self._positions >= lengths)
        if used_up.any():
            self._env.reset(options={"reset_mask": used_up})
        return DemonstrationStep(actions, rewards, dones | used_up)

    def state_dict(self) -> State:
        """What the next steps depend on beside the demonstrations given at first, as copies."""
        added = [each for of_stage in self._added.values() for each in of_stage]
        return {
            **{f"env.{name}": array for name, array in self._env.state_dict().items()},
            **pack_values("random", self._random.bit_generator.state),
            **_pack("added", added),
            **_pack("playing", self._playing),
            "positions": self._positions.copy(),
        }

    def load_state_dict(self, state: State) -> None:
        """Continue from what `state_dict` gave; raises ValueError, KeyError or TypeError if it does not fit."""
        added, playing = _unpack("added", state), _unpack("playing", state)
        if not {each.stage for each in (*added, *playing)} <= self._given.keys():
            raise ValueError("there are demonstrations of other stages")
        self._env.load_state_dict({name[4:]: array for name, array in state.items() if name.startswith("env.")})
        self._random.bit_generator.state = unpack_values("random", state)
        for of_stage in self._added.values():
            of_stage.clear()
        for each in added:
            self.add(each)
        self._playing = playing
        np.copyto(self._positions, state["positions"])

    def close(self) -> None:
        """End the games."""
        self._env.close()

    def _begin(self, lane: int) -> Demonstration:
        stage = list(self._given)[self._random.integers(len(self._given))]
        choice = [*self._given[stage], *self._added[stage]]
        self._playing[lane], self._positions[lane] = choice[self._random.integers(len(choice))], 0
        return self._playing[lane]


def _pack(name: str, demonstrations: Sequence[Demonstration]) -> State:
    values = [[each.stage, each.idle_frames, each.sticky_actions] for each in demonstrations]
    return {**pack_values(name, values), **pack_bytes(f"{name}.actions", [each.actions.tobytes() for each in demonstrations])}


def _unpack(name: str, state: State) -> list[Demonstration]:
    rows = zip(unpack_values(name, state), unpack_bytes(f"{name}.actions", state), strict=True)
    return [
        Demonstration(Stage(*stage), idle_frames, np.frombuffer(actions, np.uint8), chance)
        for (stage, idle_frames, chance), actions in rows
    ]


class StateRecorder:
    """Saves the states that demonstrations pass through."""

    def __init__(self, options: GameOptions) -> None:
        """
        Args:
            options: the game.
        """
        game = replace(options, episodic_life=False)
        self._current: list[Demonstration] = []
        starts = _DemonstrationStarts(lambda lane: self._current[0])
        self._env = NativeVectorEnv([None], 1, game, copy=False, starts=starts)

    def states(self, demonstration: Demonstration, every: int, leave_out: int) -> list[bytes]:
        """The console every so many agent steps, as `Start.state`; the first one is after `every` steps.

        Args:
            leave_out: agent steps at the end from which no state is kept.
        """
        self._current[:] = [demonstration]
        self._env.reset()
        kept = []
        for step, action in enumerate(demonstration.actions[: -leave_out or None].tolist(), 1):
            _, _, terminated, _, _ = self._env.step([action])
            if terminated[0]:
                break
            if step % every == 0:
                kept.append(self._env.console(0))
        return kept


class _DemonstrationStarts:
    """A start source: where the next demonstration begins."""

    def __init__(self, begin: Callable[[int], Demonstration]) -> None:
        self._begin = begin

    def next(self, rng: np.random.Generator, lane: int) -> Start:
        demonstration = self._begin(lane)
        return Start(demonstration.stage, demonstration.idle_frames, sticky_actions=0.0)

    def episode_ended(self, start: Start, outcome: Outcome | None, progress: int) -> None:
        """Changes nothing."""

    def state_dict(self) -> State:
        return {}

    def load_state_dict(self, state: State) -> None:
        """Nothing to load."""
