"""Go-Explore's first phase: return to a cell of the archive, explore from there with random actions, keep what is new.

Ecoffet et al. 2021, "First return, then explore" (https://arxiv.org/abs/2004.12919). With a guide, a known way through the
stage, most explorations follow it from where they are, which finds ways on from states beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from a3g.exploration.archive import Archive, cells_of
from a3g.exploration.games import CLEARED, NO_OUTCOME, Games

# Agent steps of an exploration from a cell, and the chance in each that the action changes.
_STEPS, CHANGE = 30, 0.12
# How likely each action is: to the right, running and jumping most.
ACTION_WEIGHTS = (0.4, 1.0, 2.0, 2.0, 4.0, 1.0, 1.0, 1.0, 1.0, 0.7)
# With a guide: the share of explorations that follow it, for so many agent steps.
_GUIDED, _GUIDED_STEPS = 0.7, 120
# The guide is followed from the nearest place that it comes by, so many units of 16 pixels away at most.
_NEAR = 4
_NEVER = 1 << 30


@dataclass(frozen=True, slots=True)
class Guide:
    """A known way through a stage."""

    actions: NDArray[np.uint8]
    """(steps,)"""
    steps: dict[int, int]
    """By place, as `Games.places` gives it: the last step of the way that begins there."""

    @classmethod
    def along(cls, games: Games, actions: NDArray[np.uint8]) -> Guide:
        """The guide that these actions are, played from the start of `games` in its lane 0."""
        games.load(0, games.start)
        active = np.arange(games.lanes) == 0
        steps: dict[int, int] = {}
        for number, action in enumerate(actions.tolist()):
            games.step(np.full(games.lanes, action), active)
            if games.outcomes[0] != NO_OUTCOME:
                break
            steps[int(games.places()[0])] = number + 1
        return cls(actions, steps)

    def step_at(self, place: int) -> int | None:
        """From which of its steps on the way can be followed at a place, None if it does not come near."""
        for distance in range(_NEAR + 1):
            for near in (place + distance, place - distance):
                if near in self.steps:
                    return self.steps[near]
        return None


class Explorer:
    """Looks for ways through one stage. The same seed finds the same ways after the same number of agent steps."""

    def __init__(
        self, games: Games, seed: int | Sequence[int], sticky_actions: float = 0.0, guides: Sequence[Guide] = ()
    ) -> None:
        """
        Args:
            games: the stage, and the start of all ways.
            seed: of all that is random, as for `numpy.random.default_rng`.
            sticky_actions: chance that an agent step repeats the last action instead of the chosen one.
            guides: known ways through the stage.
        """
        self._games = games
        self._random = np.random.default_rng(seed)
        self._sticky_actions = sticky_actions
        self._guides = tuple(guides)
        self.archive = Archive(games.start, -1)
        self.best: NDArray[np.uint8] | None = None
        """The shortest clearing actions found, executed ones if actions were sticky: (steps,)."""
        self.agent_steps = 0
        """Agent steps played so far in all lanes."""
        self.furthest = 0
        """Pixels of new ground in the game that came furthest."""
        weights = np.array(ACTION_WEIGHTS)
        self._action_sums = np.cumsum(weights / weights.sum())
        lanes = games.lanes
        self._ways: list[bytearray] = [bytearray() for _ in range(lanes)]
        self._left = np.zeros(lanes, np.int64)
        self._chosen = np.zeros(lanes, np.int64)
        self._executed = np.zeros(lanes, np.int64)
        self._cells = np.full(lanes, -1, np.int64)
        # The step of the guide that a lane follows, if any.
        self._following: list[tuple[Guide, int] | None] = [None] * lanes

    def explore(self, agent_steps: int, until_cleared: bool = False) -> None:
        """Explore for so many agent steps (a few more, since all lanes step together), or until a way is found."""
        end = self.agent_steps + agent_steps
        while self.agent_steps < end and not (until_cleared and self.best is not None):
            for lane in np.flatnonzero(self._left == 0).tolist():
                self._return(lane)
            self._act()
            self._games.step(self._executed)
            self.agent_steps += self._games.lanes
            self._left -= 1
            self._look()

    def _return(self, lane: int) -> None:
        """Put a lane back into a cell of the archive."""
        number = self.archive.choose(self._random.random(), self._best_length)
        way = self.archive.ways[number]
        self._games.load(lane, self.archive.games[number])
        self._ways[lane] = bytearray(way)
        self._left[lane] = _STEPS
        self._executed[lane] = way[-1] if way else 0
        self._chosen[lane] = self._draw(self._random.random())
        self._cells[lane] = -1
        self._following[lane] = None
        if self._guides and self._random.random() < _GUIDED:
            guide = self._guides[self._random.integers(len(self._guides))]
            step = guide.step_at(self.archive.places[number]) if number else 0
            if step is not None:
                self._following[lane], self._left[lane] = (guide, step), _GUIDED_STEPS

    @property
    def _best_length(self) -> int:
        return _NEVER if self.best is None else len(self.best)

    def _act(self) -> None:
        """Choose the next action of every lane: the guide's, else the last one, or at times another."""
        random = self._random.random((3, self._games.lanes))
        changes = random[0] < CHANGE
        self._chosen[changes] = self._draw(random[1, changes])
        for lane, following in enumerate(self._following):
            if following is not None:
                guide, step = following
                if step < len(guide.actions):
                    self._chosen[lane] = guide.actions[step]
                    self._following[lane] = (guide, step + 1)
                else:
                    self._following[lane] = None
        if self._sticky_actions:
            sticks = random[2] < self._sticky_actions
            self._executed = np.where(sticks, self._executed, self._chosen)
        else:
            self._executed = self._chosen.copy()

    def _draw(self, random: float | NDArray[np.float64]) -> NDArray[np.intp]:
        return np.searchsorted(self._action_sums, random, side="right")

    def _look(self) -> None:
        """Keep new cells and clears, and end explorations that are over."""
        games = self._games
        for way, action in zip(self._ways, self._executed.tolist(), strict=True):
            way.append(action)
        ended = games.outcomes != NO_OUTCOME
        cells = cells_of(games)
        looked_at = (cells != self._cells) & ~ended
        self._cells = cells
        if looked_at.any():
            self.furthest = max(self.furthest, int(games.progress.max()))
            places = games.places()
            for lane in np.flatnonzero(looked_at).tolist():
                way, cell = self._ways[lane], int(cells[lane])
                if len(way) >= self._best_length:
                    self._left[lane] = 0
                elif self.archive.is_new_or_shorter(cell, len(way)):
                    self.archive.put(cell, games.save(lane), bytes(way), int(places[lane]))
        if ended.any():
            self._left[ended] = 0
            for lane in np.flatnonzero(games.outcomes == CLEARED).tolist():
                if len(self._ways[lane]) < self._best_length:
                    self.best = np.frombuffer(bytes(self._ways[lane]), np.uint8)
