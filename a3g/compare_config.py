"""Every option of `a3g compare`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from a3g.option_types import short


@dataclass(frozen=True)
class CompareConfig:
    """Draw several runs in one picture, by agent steps and by time."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Runs by name, or by folder; LABEL=RUN gives a run another label."""
    output: Annotated[Path | None, short("-o")] = None
    """PNG file to write; by default compare.png in --log-dir."""
    log_dir: Annotated[Path, short("-lg")] = Path("logs")
    """Folder of the runs' folders."""
