"""The 32 stages: their names and their order."""

from __future__ import annotations

import re
from typing import NamedTuple

from a3g.errors import UserError


class Stage(NamedTuple):
    """A world and a stage in it, both counted from 1."""

    world: int
    stage: int

    def __str__(self) -> str:
        return f"{self.world}-{self.stage}"


STAGES = tuple(Stage(world, stage) for world in range(1, 9) for stage in range(1, 5))
WHOLE_GAME = "SuperMarioBros-v0"
_ENV_ID = re.compile(r"SuperMarioBros-(?:([1-8])-([1-4])-)?v0")


def parse_env_id(env_id: str) -> Stage | None:
    """The stage that an environment id names, or None for the whole game.

    Raises:
        UserError: for anything but ``SuperMarioBros-v0`` and ``SuperMarioBros-<world>-<stage>-v0``.
    """
    match = _ENV_ID.fullmatch(env_id)
    if match is None:
        raise UserError(
            f"Unknown environment {env_id!r}: it is SuperMarioBros-v0 for the whole game or "
            "SuperMarioBros-<world 1-8>-<stage 1-4>-v0 for one stage, such as SuperMarioBros-1-1-v0."
        )
    return Stage(int(match[1]), int(match[2])) if match[1] else None


def env_id_of(stage: Stage | None) -> str:
    """The environment id that names `stage`, or the whole game for None."""
    return WHOLE_GAME if stage is None else f"SuperMarioBros-{stage}-v0"
