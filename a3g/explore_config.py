"""The options of the exploration command, as a frozen dataclass. Imports neither PyTorch nor the engines."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from a3g.cores import usable_cores
from a3g.game.stages import STAGES, Stage
from a3g.ranges import check_ranges, require


@dataclass(frozen=True)
class ExploreConfig:
    """Find ways through stages without a network (Go-Explore), and keep them as demonstrations.

    What the folder of demonstrations has already is kept; the same command again goes on from there.
    """

    stages: tuple[str, ...] = ()
    """Stages such as 1-1 4-2; by default all 32."""
    per_stage: int = 8
    """Demonstrations wanted for each stage: the first one as short as possible, the others different."""
    sticky_actions: float = 0.25
    """Largest chance that an agent step repeats the last action, drawn for each demonstration but a stage's first one."""
    shortening_steps: int = 150_000
    """Agent steps spent on making each stage's first demonstration shorter; 0 leaves it as it was found."""
    demos_dir: Path = Path("trained_models/demos")
    """Folder of the demonstrations."""
    workers: Annotated[int, tyro.conf.arg(aliases=["-w"])] = field(default_factory=usable_cores)
    """Processes that explore; by default one for each core."""
    seed: Annotated[int, tyro.conf.arg(aliases=["-s"])] = 1
    """Random seed."""
    max_minutes: float = 0.0
    """Stop after so many minutes; 0 never."""
    cluster: str = ""
    """Explore on all machines of a Ray cluster: auto, or its head's address; see the training's --cluster. --workers has no
    effect then."""
    json: Path | None = None
    """Write a table of the stages here as JSON."""

    def __post_init__(self) -> None:
        check_ranges(self)
        self.wanted_stages()

    def wanted_stages(self) -> tuple[Stage, ...]:
        """The stages to explore, in their order in the game.

        Raises:
            UserError: if one of them is unknown.
        """
        by_name = {str(stage): stage for stage in STAGES}
        for name in self.stages:
            require(name in by_name, "stages", f"{name:.50}", "stages from 1-1 to 8-4")
        return tuple(by_name[name] for name in by_name if not self.stages or name in self.stages)
