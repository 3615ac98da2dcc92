"""A start source that plays most what is not mastered: stages by their clear rates, starts along demonstrations.

Where episodes begin along a demonstration moves back to its beginning as the agent succeeds (Salimans & Chen 2018,
"Learning Montezuma's Revenge from a Single Demonstration"). How often a part of it is begun in follows p(1 - p), with p the
rate at which episodes from there clear the stage: the variance of success, which says how much there is to learn
(Rutherford et al. 2024, "No Regrets", section 4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from a3g.exploration.demonstrations import Demonstration
from a3g.exploration.replay import StateRecorder
from a3g.game.options import GameOptions
from a3g.game.packing import State
from a3g.game.rules import Outcome
from a3g.game.stages import Stage
from a3g.game.starts import Start

PARTS = 8
"""Parts of equal length that demonstrations are divided into; a clear rate is kept for each."""
SPACING = 4
"""Agent steps between two states of a demonstration that episodes can begin in."""
LAST_STEPS = 12
"""Agent steps at a demonstration's end in which no episode begins: there is nothing left to decide."""

UPDATE = 0.05
"""Weight of the newest episode in a clear rate."""
LEAST_STAGE_WEIGHT = 0.15
"""Weight of a stage that is always cleared, beside 1 of one that never is."""
LEAST_PART_WEIGHT = 0.1
"""Of a part in which nothing varies, beside 0.25 of one cleared half of the time."""
LEAST_TRUE_STARTS = 0.25
"""Share of episodes that begin at their stage's start as long as it was never cleared from there."""
UNKNOWN = 0.5
"""The clear rate assumed before the first episodes."""


class CurriculumStarts:
    """Starts of stages and states along demonstrations, chosen by how episodes from there went."""

    def __init__(
        self,
        stages: Sequence[Stage],
        options: GameOptions,
        demonstrations: Mapping[Stage, Sequence[Demonstration]],
        adaptive: bool,
        sticky_actions: tuple[float, float] | None,
    ) -> None:
        """
        Args:
            stages: what to play; every lane plays all of them.
            options: the game, for `noop_max` and for playing the demonstrations.
            demonstrations: those of each stage; a stage without any is played from its start alone.
            adaptive: play stages the more the less they are cleared; otherwise all alike.
            sticky_actions: between which each episode's chance of a repeated action is drawn; None leaves it to the
                environment's options.
        """
        self._stages, self._options, self._adaptive, self._sticky = tuple(stages), options, adaptive, sticky_actions
        self._index = {stage: i for i, stage in enumerate(self._stages)}
        self._demonstrations = [tuple(demonstrations.get(stage, ())) for stage in self._stages]
        self._recorder = StateRecorder(options) if any(self._demonstrations) else None
        self._states: dict[tuple[int, int], list[bytes]] = {}
        """Of stage i's demonstration j, once it was needed."""
        self.clear_rates = np.full((len(self._stages), 1 + PARTS), UNKNOWN)
        """Of each stage, from its start and from each part of its demonstrations."""

    def next(self, rng: np.random.Generator, lane: int) -> Start:
        i = int(rng.choice(len(self._stages), p=self.stage_shares()))
        sticky_actions = None if self._sticky is None else float(rng.uniform(*self._sticky))
        if not self._demonstrations[i] or rng.random() < self.true_share(i):
            idle_frames = int(rng.integers(self._options.noop_max + 1))
            return Start(self._stages[i], idle_frames, sticky_actions=sticky_actions)
        part = int(rng.choice(PARTS, p=self._part_shares(i)))
        states = self._states_of(i, int(rng.integers(len(self._demonstrations[i]))))
        if not states:  # too short a demonstration
            return Start(self._stages[i], 0, sticky_actions=sticky_actions)
        first, end = len(states) * part // PARTS, max(len(states) * (part + 1) // PARTS, len(states) * part // PARTS + 1)
        state = states[int(rng.integers(first, end))]
        return Start(self._stages[i], 0, state, 1 + part, sticky_actions)

    def episode_ended(self, start: Start, outcome: Outcome | None, progress: int) -> None:
        if outcome is None or start.stage is None:
            return
        rates = self.clear_rates[self._index[start.stage]]
        rates[start.id] += UPDATE * ((outcome == Outcome.CLEARED) - rates[start.id])

    def stage_shares(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """How often each stage is played, float64 (stages,)."""
        from_start = self.clear_rates[:, 0] if self._adaptive else np.zeros(len(self._stages))
        weights = LEAST_STAGE_WEIGHT + (1 - LEAST_STAGE_WEIGHT) * (1 - from_start)
        return weights / weights.sum()  # type: ignore[no-any-return]

    def true_share(self, stage: int) -> float:
        """Share of a stage's episodes that begin at its start."""
        return LEAST_TRUE_STARTS + (1 - LEAST_TRUE_STARTS) * float(self.clear_rates[stage, 0]) ** 2

    def _part_shares(self, stage: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        rates = self.clear_rates[stage, 1:]
        weights = LEAST_PART_WEIGHT + rates * (1 - rates)
        return weights / weights.sum()  # type: ignore[no-any-return]

    def _states_of(self, stage: int, demonstration: int) -> list[bytes]:
        key = stage, demonstration
        if key not in self._states:
            assert self._recorder is not None
            self._states[key] = self._recorder.states(self._demonstrations[stage][demonstration], SPACING, LAST_STEPS)
        return self._states[key]

    def state_dict(self) -> State:
        return {"clear_rates": self.clear_rates.copy()}

    def load_state_dict(self, state: State) -> None:
        if state["clear_rates"].shape != self.clear_rates.shape:
            raise ValueError("the clear rates are those of other stages")
        self.clear_rates[:] = state["clear_rates"]
