"""Episodes that end while experience is collected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from a3g.game.emulators import Image


@dataclass(frozen=True, slots=True)
class EpisodeRecord:
    """One finished episode, for reports."""

    stage: str
    outcome: str
    episode_return: float
    agent_steps: int
    progress: int

    @classmethod
    def of_lane(cls, infos: dict[str, Any], lane: int, episode_return: float) -> EpisodeRecord:
        """The episode that has just ended in a lane, from the vector environment's `infos`."""
        final = {key: values[lane] for key, values in infos["final_info"].items()}
        return cls(
            stage=final["attempt"],
            outcome=final["outcome"] or "truncated",
            episode_return=episode_return,
            agent_steps=final["attempt_steps"],
            progress=final["progress"],
        )


class EpisodeTracker:
    """Adds up the returns of the episodes under way in some lanes, and notices their ends."""

    def __init__(self, lanes: int, gamma: float) -> None:
        """
        Args:
            gamma: discount factor, for the value of truncated episodes.
        """
        self._gamma = gamma
        self.returns = np.zeros(lanes)
        """Of each lane's episode so far, undiscounted."""

    def step(
        self,
        rewards: NDArray[np.float32],
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
        infos: dict[str, Any],
        value: Callable[[Image, int], float],
    ) -> list[EpisodeRecord]:
        """Take account of one agent step.

        Args:
            rewards: (lanes,); where an episode was truncated, the discounted value of its last state is added in place.
            terminated, truncated, infos: as the vector environment returned them.
            value: gives the value of the last observation of a lane's episode.

        Returns:
            the episodes that ended
        """
        self.returns += rewards
        ended = []
        for lane in np.flatnonzero(terminated | truncated):
            if truncated[lane]:
                rewards[lane] += self._gamma * value(infos["final_obs"][lane], lane)
            ended.append(EpisodeRecord.of_lane(infos, lane, float(self.returns[lane])))
            self.returns[lane] = 0.0
        return ended
