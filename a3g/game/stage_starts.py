"""How an engine gets to the start of each of the 32 stages."""

from __future__ import annotations

from typing import Any

from a3g.game import memory
from a3g.game.buttons import BUTTON_START
from a3g.game.emulators import Emulator
from a3g.game.stages import Stage

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
