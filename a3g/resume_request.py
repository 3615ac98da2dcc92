"""The options that say which run to resume; they are read before the others. Imports neither PyTorch nor the engines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from a3g.config import TrainConfig
from a3g.game.stages import parse_env_id
from a3g.ranges import check_run_name


@dataclass(frozen=True)
class ResumeRequest:
    """Which run a command line wants to resume: the options of `TrainConfig` that say so."""

    resume: str = TrainConfig.resume
    run_name: str = TrainConfig.run_name
    env: Annotated[str, tyro.conf.arg(aliases=["-ev"])] = TrainConfig.env
    log_dir: Annotated[Path, tyro.conf.arg(aliases=["-lg"])] = TrainConfig.log_dir

    def __post_init__(self) -> None:
        parse_env_id(self.env)
        check_run_name(self.run_name)
