"""A start source that lets the agent try again where it died: from a state shortly before, instead of from the beginning.

What an agent can't do yet is what it dies of, so it practises that most, and with the variety of its own play. The states
come from its own episodes, as in "Go-Explore" (Ecoffet et al. 2021) and in what Resnick et al. 2018 call Backplay.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from a3g.game.packing import State, pack_values, unpack_values
from a3g.game.rules import Outcome
from a3g.game.starts import Start, StartSource, pack_starts, unpack_starts


class RetryStarts:
    """Starts shortly before deaths, and those of another source."""

    trail_spacing = 8
    trail_length = 6

    def __init__(self, others: StartSource, share: float, num_lanes: int) -> None:
        """
        Args:
            others: gives the starts that are no retries.
            share: chance that a lane's next episode begins shortly before the death of its last one.
            num_lanes: lanes that ask.
        """
        self.others = others
        self._share = share
        self._trails: list[tuple[Start, ...]] = [()] * num_lanes
        """Of each lane, states that led to the death of its last episode, oldest first."""

    def next(self, rng: np.random.Generator, lane: int) -> Start:
        trail, self._trails[lane] = self._trails[lane], ()
        if trail and rng.random() < self._share:
            return trail[rng.integers(len(trail))]
        return self.others.next(rng, lane)

    def episode_ended(self, start: Start, outcome: Outcome | None, progress: int) -> None:
        if start.id != _RETRY:
            self.others.episode_ended(start, outcome, progress)

    def trail_ended(self, lane: int, start: Start, outcome: Outcome | None, trail: Sequence[bytes]) -> None:
        if outcome != Outcome.DIED or start.stage is None:
            return
        # In the newest state the death may be sealed already.
        states = trail[:-1]
        self._trails[lane] = tuple(Start(start.stage, 0, state, _RETRY, start.sticky_actions) for state in states)

    def state_dict(self) -> State:
        return {
            **{f"others.{name}": array for name, array in self.others.state_dict().items()},
            **pack_values("lengths", [len(trail) for trail in self._trails]),
            **pack_starts("trails", [start for trail in self._trails for start in trail]),
        }

    def load_state_dict(self, state: State) -> None:
        prefix = "others."
        self.others.load_state_dict({name[len(prefix) :]: state[name] for name in state if name.startswith(prefix)})
        starts = [start for start in unpack_starts("trails", state) if start is not None]
        lengths = unpack_values("lengths", state)
        if len(lengths) != len(self._trails):
            raise ValueError("the trails are those of other lanes")
        for lane, length in enumerate(lengths):
            self._trails[lane], starts = tuple(starts[:length]), starts[length:]


_RETRY = "retry"
