"""Every option of `a3g demo`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from a3g.option_types import EmulatorName, short
from a3g.ranges import require

_MOST_EPISODES = 1_000
_LONGEST_CLOCK = 10_000


@dataclass(frozen=True)
class DemoConfig:
    """Play all 32 stages with trained weights: one film of all of them, a small animation, and a scorecard as a picture."""

    weights: Path | None = None
    """Weights file, checkpoint, or a run's folder; by default those of SuperMarioBros-v0 in --load-model-dir."""
    load_model_dir: Annotated[Path, short("-lmr")] = Path("trained_models")
    """Folder of the weights."""
    output: Annotated[Path, short("-o")] = Path("logs/demo")
    """Folder for stages.mp4, stages.webp, scorecard.png and scorecard.json."""
    episodes: int = 10
    """Episodes per stage for the scorecard; the film shows each stage's first."""
    sticky_actions: float = 0.0
    """Chance that an agent step repeats the last action instead of the chosen one."""
    time_per_stage: Annotated[int, short("-tps")] = 400
    """Units of the game's clock allowed for a stage."""
    scorecard: Path | None = None
    """Play nothing: draw scorecard.png from this file of gym_eval.py --json, or a run's scorecard.json."""
    emulator: EmulatorName = "auto"
    """Engine; auto takes the fastest installed."""
    seed: Annotated[int, short("-s")] = 1
    """Random seed of the starts and the sticky actions."""

    def __post_init__(self) -> None:
        require(1 <= self.episodes <= _MOST_EPISODES, "episodes", self.episodes, f"from 1 to {_MOST_EPISODES}")
        require(0 <= self.sticky_actions < 1, "sticky_actions", self.sticky_actions, "a chance from 0 up to, not including, 1")
        require(
            1 <= self.time_per_stage <= _LONGEST_CLOCK, "time_per_stage", self.time_per_stage, f"from 1 to {_LONGEST_CLOCK}"
        )
        require(0 <= self.seed < 2**62, "seed", self.seed, "from 0 up to 2**62")
