"""The options of `a3g watch`, as a frozen dataclass. Imports neither PyTorch nor the engines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from a3g.ranges import check_ranges


@dataclass(frozen=True)
class WatchConfig:
    """Show a run that is over on a page: its curves, scorecard, settings and films; and play against it."""

    run: Annotated[Path, tyro.conf.Positional]
    """The run's folder, such as logs/NAME, or its name."""
    port: int = 8080
    """Port of this machine that the page is served at; 0 takes a free one."""
    host: str = "127.0.0.1"
    """Address that the page is served at; 0.0.0.0 lets everybody look who can reach this machine."""
    log_dir: Path = Path("logs")
    """Where a run that is given by its name lies."""

    def __post_init__(self) -> None:
        check_ranges(self)

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.run if self.run.is_dir() else self.log_dir / self.run
