"""Test episodes as files: the game is deterministic, so stage, seed and actions are all that it takes to play them again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from a3g.errors import UserError
from a3g.files import write_atomically
from a3g.game.options import GameOptions
from a3g.game.rules import Outcome
from a3g.runs.scores import EpisodeResult

VIDEOS = "videos"
"""Folder of the films in a run's folder."""
_RECORDED = "recorded"


@dataclass(frozen=True)
class RecordedEpisode:
    """An episode that can be played again."""

    stage: str
    """Such as ``1-1``."""
    seed: int
    outcome: str
    progress: int
    """Pixels of new ground."""
    actions: tuple[int, ...]
    """The chosen ones, an agent step each; sticky actions follow from the seed."""

    @classmethod
    def of(cls, result: EpisodeResult, actions: Sequence[int]) -> RecordedEpisode:
        return cls(result.stage, result.seed, str(result.outcome), result.progress, tuple(actions))

    def is_better_than(self, other: RecordedEpisode) -> bool:
        """Whether it cleared the stage, and sooner; or else got further."""
        return self._order() > other._order()

    def _order(self) -> tuple[bool, int]:
        cleared = self.outcome == Outcome.CLEARED
        return cleared, -len(self.actions) if cleared else self.progress


@dataclass(frozen=True)
class Recording:
    """Episodes played with the same weights."""

    agent_steps: int
    """Age of the weights."""
    game: GameOptions
    emulator: str
    """Engine that played them; another one is not sure to play the same."""
    episodes: tuple[RecordedEpisode, ...]

    def save(self, path: Path) -> None:
        """
        Raises:
            OSError: if it can't be written.
        """
        write_atomically(path, json.dumps(asdict(self)).encode())

    @classmethod
    def load(cls, path: Path) -> Recording:
        """
        Raises:
            UserError: if there is none, or it is damaged.
        """
        try:
            values: dict[str, Any] = json.loads(path.read_bytes())
            episodes = tuple(RecordedEpisode(**{**each, "actions": tuple(each["actions"])}) for each in values["episodes"])
            return cls(int(values["agent_steps"]), GameOptions(**values["game"]), str(values["emulator"]), episodes)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"The recording {path} is damaged or is none ({type(error).__name__}: {error}).") from error


def recording_path(folder: Path, agent_steps: int) -> Path:
    """Where a test leaves its episodes to be filmed."""
    return folder / VIDEOS / _RECORDED / f"test-{agent_steps:012}.json"


def recordings_in(folder: Path) -> list[Path]:
    """Those of a run that wait to be filmed, the oldest first."""
    return sorted((folder / VIDEOS / _RECORDED).glob("test-*.json"))


def path_of_test_film(folder: Path, agent_steps: int) -> Path:
    return folder / VIDEOS / f"test-{agent_steps:012}.mp4"


def best_path(folder: Path, stage: str, suffix: str) -> Path:
    """The best episode of a stage so far, as a film (suffix .mp4) and as its recording (suffix .json)."""
    return folder / VIDEOS / f"best-{stage}{suffix}"
