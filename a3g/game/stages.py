"""The 32 stages: their names, their order, and how to stand at the start of each."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from a3g.errors import UserError
from a3g.game import memory
from a3g.game.emulators import BUTTON_START, Emulator


class Stage(NamedTuple):
    """A world and a stage in it, both counted from 1."""

    world: int
    stage: int

    def __str__(self) -> str:
        return f"{self.world}-{self.stage}"


STAGES = tuple(Stage(world, stage) for world in range(1, 9) for stage in range(1, 5))
WHOLE_GAME = "SuperMarioBros-v0"
_ENV_ID = re.compile(r"SuperMarioBros-(?:([1-8])-([1-4])-)?v0")

# Worlds in which an intro (Mario walks into a pipe by himself) counts as an area of its own, before stage 2.
_WORLDS_WITH_INTRO = frozenset({1, 2, 4, 7})

_INTERVAL = 20  # where the game itself starts to count the interval timer down

# The engines need different numbers of frames to start up and load. Holding what counts frames there, and the random
# numbers (here those of a console just switched on), lets a stage begin, and go on, the same on all of them.
_SAME_ON_EVERY_ENGINE = (
    (memory.FRAME_COUNTER, 0),
    (memory.INTERVAL_TIMER, _INTERVAL),
    *zip(memory.RANDOM_NUMBERS, (0xA5, 0, 0, 0, 0, 0, 0), strict=True),
)

# Longest wait for the title screen, the clock or control over Mario; the slowest start seen took under 400 frames.
_PATIENCE_FRAMES = 2000


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


def area_index(stage: Stage) -> int:
    """The game's own number (RAM 0x760) of the area in which the agent starts `stage`, past any intro."""
    has_intro = stage.world in _WORLDS_WITH_INTRO and stage.stage >= 2
    return stage.stage - 1 + has_intro


def go_to_start(emulator: Emulator, stage: Stage) -> Any:
    """Switch the console on and play up to the first frame in which Mario obeys in `stage`; returns that state.

    Presses START on the title screen while writing world, stage and area, and cuts the black screen short.
    """
    emulator.reset()
    target = ((memory.WORLD, stage.world - 1), (memory.STAGE, stage.stage - 1), (memory.AREA, area_index(stage)))
    for frame in range(_PATIENCE_FRAMES):
        ram = emulator.ram()
        if memory.is_controllable(ram):
            # nes-py's frames may end in the middle of the game's count-down, before this timer's turn.
            emulator.poke(memory.INTERVAL_TIMER, min(ram[memory.INTERVAL_TIMER], _INTERVAL - 1))
            return emulator.save()
        on_title = ram[memory.GAME_MODE] == memory.MODE_TITLE
        if on_title or memory.number(ram, memory.CLOCK_DIGITS) == 0:
            for address, value in target:
                emulator.poke(address, value)
        emulator.poke(memory.BLACK_SCREEN_TIMER, 0)
        for address, value in _SAME_ON_EVERY_ENGINE:
            emulator.poke(address, value)
        # START acts when it goes down, so press it every other frame.
        emulator.frame(BUTTON_START if on_title and frame % 2 else 0)
    raise RuntimeError(f"{emulator.name} did not reach the start of {stage} within {_PATIENCE_FRAMES} frames")
