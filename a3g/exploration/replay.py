"""Playing demonstrations again: the game is deterministic, so stage, idle frames and actions are all that it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from a3g.exploration.demonstrations import Demonstration
from a3g.game.emulators import Image
from a3g.game.native_vector import NativeVectorEnv
from a3g.game.options import GameOptions
from a3g.game.packing import State, pack_values, unpack_values
from a3g.game.rules import Outcome
from a3g.game.starts import Start


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
    """Lanes that play demonstrations, one after the other: each stage as often as the others."""

    def __init__(self, demonstrations: Sequence[Demonstration], lanes: int, options: GameOptions, seed: int) -> None:
        """
        Args:
            demonstrations: what is chosen from at random.
            lanes: games played side by side.
            options: the game; its sticky actions are off here.
            seed: of the choice.
        """
        self._demonstrations = tuple(demonstrations)
        by_stage: dict[str, list[int]] = {}
        for i, demonstration in enumerate(self._demonstrations):
            by_stage.setdefault(str(demonstration.stage), []).append(i)
        self._of_stages = list(by_stage.values())
        self._random = np.random.default_rng(seed)
        self._playing = np.zeros(lanes, np.int64)
        self._positions = np.zeros(lanes, np.int64)
        game = replace(options, episodic_life=False)
        self._env = NativeVectorEnv([None], lanes, game, copy=False, starts=_DemonstrationStarts(self._begin))
        self._env.reset()

    @property
    def observations(self) -> Image:
        """What is seen before the next step, uint8 (lanes, stack, height, width): the buffer itself."""
        return self._env.observations

    def step(self, observations: Image) -> DemonstrationStep:
        """Play one agent step in every lane.

        Args:
            observations: uint8 (lanes, stack, height, width); takes what was seen before it.
        """
        observations[:] = self._env.observations
        pairs = zip(self._playing.tolist(), self._positions.tolist(), strict=True)
        actions = np.array([self._demonstrations[i].actions[position] for i, position in pairs], np.int64)
        self._positions += 1
        # A lane whose game ends begins its next demonstration in this very call.
        _, rewards, terminated, truncated, _ = self._env.step(actions.copy())
        return DemonstrationStep(actions, rewards, terminated | truncated)

    def state_dict(self) -> State:
        """What the next steps depend on beside the demonstrations, as copies."""
        return {
            **{f"env.{name}": array for name, array in self._env.state_dict().items()},
            **pack_values("demonstrations", [self._random.bit_generator.state, len(self._demonstrations)]),
            "playing": self._playing.copy(),
            "positions": self._positions.copy(),
        }

    def load_state_dict(self, state: State) -> None:
        """Continue from what `state_dict` gave; raises ValueError or KeyError if the demonstrations were others."""
        random, number = unpack_values("demonstrations", state)
        if number != len(self._demonstrations):
            raise ValueError("there were other demonstrations")
        self._env.load_state_dict({name[4:]: array for name, array in state.items() if name.startswith("env.")})
        self._random.bit_generator.state = random
        np.copyto(self._playing, state["playing"])
        np.copyto(self._positions, state["positions"])

    def close(self) -> None:
        """End the games."""
        self._env.close()

    def _begin(self, lane: int) -> Demonstration:
        of_stage = self._of_stages[self._random.integers(len(self._of_stages))]
        self._playing[lane], self._positions[lane] = of_stage[self._random.integers(len(of_stage))], 0
        return self._demonstrations[int(self._playing[lane])]


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
