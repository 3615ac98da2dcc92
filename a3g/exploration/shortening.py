"""Makes a way through a stage shorter and smoother by small changes, each kept if it still clears the stage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from a3g.exploration.games import CLEARED, NO_OUTCOME, Games

# What a change of the action costs, in agent steps. Smooth ways are easier to learn from than ways that tremble.
CHANGE_COST = 0.5

# A change takes out up to so many actions, or holds one action in place of a stretch of up to so many.
_LONGEST_CUT, _LONGEST_HOLD = 6, 24
_CUT, _EXTEND = 0.3, 0.35  # how often a change is a cut, or extends the action before it; else it holds another action
# What is held instead, and what is played where a shorter way ends before the goal: to the right, running and jumping most.
_HELD = (1, 2, 3, 3, 3, 4, 4, 4, 4, 0, 5, 7, 9)
_RUN_RIGHT = 3


def cost(actions: NDArray[np.uint8]) -> float:
    """What is made smaller: the number of agent steps, and of changes of the action."""
    return len(actions) + CHANGE_COST * int(np.count_nonzero(np.diff(actions)))


class Shortener:
    """Shortens one way. The same seed makes the same changes in the same number of agent steps."""

    def __init__(self, games: Games, actions: NDArray[np.uint8], seed: int | Sequence[int]) -> None:
        """
        Args:
            games: the stage, and the start of the way.
            actions: a way that clears it, (steps,).
            seed: of the changes, as for `numpy.random.default_rng`.

        Raises:
            ValueError: if the way does not clear the stage.
        """
        self._games = games
        self._random = np.random.default_rng(seed)
        self.best = actions
        """The way as it is now, never longer than it was: (steps,)."""
        self.agent_steps = 0
        """Agent steps played so far in all lanes."""
        self._saved = [games.start]
        self._plans: list[NDArray[np.uint8]] = [actions] * games.lanes
        self._next = np.zeros(games.lanes, np.int64)
        self._idle = np.ones(games.lanes, np.bool_)
        if not self._keep_games(0, 0):
            raise ValueError(f"this way does not clear {games.stage}")

    def shorten(self, agent_steps: int) -> None:
        """Try changes for so many agent steps, a few more since all lanes step together."""
        end = self.agent_steps + agent_steps
        games = self._games
        while self.agent_steps < end:
            for lane in np.flatnonzero(self._idle).tolist():
                self._change(lane)
            steps = zip(self._plans, self._next.tolist(), strict=True)
            games.step(np.array([plan[step] for plan, step in steps]))
            self.agent_steps += games.lanes
            self._next += 1
            over = self._next == [len(plan) for plan in self._plans]
            self._idle = over | (games.outcomes != NO_OUTCOME)
            for lane in np.flatnonzero(games.outcomes == CLEARED).tolist():
                self._consider(lane, self._plans[lane][: self._next[lane]])

    def _change(self, lane: int) -> None:
        """Let a lane try the way with one change in it."""
        random, best = self._random, self.best
        at = int(random.integers(len(best)))
        kind = random.random()
        if kind < _CUT:
            taken, put = int(random.integers(1, _LONGEST_CUT + 1)), 0
        else:
            taken = int(random.integers(2, _LONGEST_HOLD + 1))
            put = taken - int(random.integers(min(taken, _LONGEST_CUT)))
        action = best[at - 1] if at and kind < _CUT + _EXTEND else _HELD[random.integers(len(_HELD))]
        held = np.full(put, action, np.uint8)
        rest = np.full(taken, _RUN_RIGHT, np.uint8)
        self._plans[lane] = np.concatenate([best[:at], held, best[at + taken :], rest])[: len(best)]
        self._next[lane] = at
        self._games.load(lane, self._saved[at])

    def _consider(self, lane: int, way: NDArray[np.uint8]) -> None:
        """Keep a way that clears the stage if it is better than the best."""
        if len(way) > len(self.best) or cost(way) >= cost(self.best):
            return
        shared = min(len(way), len(self.best))
        different = np.flatnonzero(way[:shared] != self.best[:shared])
        self.best = way
        self._keep_games(lane, int(different[0]) if len(different) else shared)

    def _keep_games(self, lane: int, first: int) -> bool:
        """Play the best way in a lane and keep the games at each step after the first; returns whether it clears."""
        games = self._games
        del self._saved[first + 1 :]
        active = np.zeros(games.lanes, np.bool_)
        active[lane] = True
        games.load(lane, self._saved[first])
        for action in self.best[first:].tolist():
            games.step(np.full(games.lanes, action), active)
            self.agent_steps += 1
            if games.outcomes[lane] != NO_OUTCOME:
                break
            self._saved.append(games.save(lane))
        return bool(games.outcomes[lane] == CLEARED and len(self._saved) == len(self.best))
