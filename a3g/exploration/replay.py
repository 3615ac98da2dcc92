"""Playing demonstrations again: the game is deterministic, so stage, idle frames and actions are all that it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from a3g.exploration.demonstrations import Demonstration
from a3g.game.emulators import Image
from a3g.game.native_vector import NativeVectorEnv
from a3g.game.options import GameOptions
from a3g.game.packing import State
from a3g.game.rules import Outcome
from a3g.game.starts import Start


class DemonstrationPlayer:
    """Lanes that play demonstrations, one after the other."""

    def __init__(self, choose: Callable[[], Demonstration], lanes: int, options: GameOptions) -> None:
        """
        Args:
            choose: gives the next demonstration to play.
            lanes: games played side by side.
            options: the game; its sticky actions are off here.
        """
        self._choose = choose
        self._playing: dict[int, Demonstration] = {}
        self._positions = np.zeros(lanes, np.int64)
        starts = _DemonstrationStarts(self._begin)
        self._env = NativeVectorEnv([None], lanes, replace(options, episodic_life=False), copy=False, starts=starts)
        self._env.reset()

    def play(self, observations: Image, actions: NDArray[np.int64]) -> None:
        """Play on by T agent steps.

        Args:
            observations: uint8 (T, lanes, stack, height, width); takes what was seen before each action.
            actions: int64 (T, lanes); takes the actions.
        """
        for t in range(len(actions)):
            observations[t] = self._env.observations
            for lane, position in enumerate(self._positions.tolist()):
                actions[t, lane] = self._playing[lane].actions[position]
            self._positions += 1
            # A lane whose game ends begins its next demonstration in this very call.
            self._env.step(actions[t])

    def _begin(self, lane: int) -> Demonstration:
        self._playing[lane], self._positions[lane] = self._choose(), 0
        return self._playing[lane]


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


def in_random_order(demonstrations: Sequence[Demonstration], random: np.random.Generator) -> Callable[[], Demonstration]:
    """What gives each stage as often as the others, and each of its demonstrations as often as its others."""
    by_stage: dict[str, list[Demonstration]] = {}
    for demonstration in demonstrations:
        by_stage.setdefault(str(demonstration.stage), []).append(demonstration)
    stages = list(by_stage.values())

    def choose() -> Demonstration:
        of_stage = stages[random.integers(len(stages))]
        return of_stage[random.integers(len(of_stage))]

    return choose
