"""Whether a demonstration clears its stage, replayed on whole consoles by the rules in Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from a3g.errors import UserError
from a3g.exploration.demonstrations import ACTION_SET, FRAME_SKIP, TIME_PER_STAGE, Demonstration, demonstrations_path
from a3g.exploration.games import CLEARED, Games, replay
from a3g.game.emulators import Emulator, available_emulators, make_emulator
from a3g.game.options import ACTION_SETS
from a3g.game.rules import Episode, Outcome
from a3g.game.stage_starts import StartStates
from a3g.game.stages import Stage

ENGINES = ("native", "fceumm")
"""The engines on which a demonstration has to clear its stage, where they are installed."""


def engines_here() -> tuple[str, ...]:
    """Those of `ENGINES` that are installed."""
    return tuple(name for name in ENGINES if name in available_emulators())


class Verifier:
    """Replays demonstrations on every engine of `ENGINES` that is installed. One a process, as FCEUmm wants it."""

    def __init__(self) -> None:
        self._engines = [(console, StartStates(console)) for console in map(make_emulator, engines_here())]

    def clears(self, demonstration: Demonstration) -> bool:
        """Whether it clears its stage on all engines, with its last action and not before."""
        return all(clears(demonstration, console, starts) for console, starts in self._engines)


def clears(demonstration: Demonstration, console: Emulator, starts: StartStates) -> bool:
    """Whether a demonstration clears its stage on an engine, with its last action and not before."""
    starts.load(demonstration.stage)
    for _ in range(1 + demonstration.idle_frames):  # one frame more, as in `Lane`
        console.frame(0, draw=False)
    episode = Episode(console.ram(), demonstration.stage, TIME_PER_STAGE)
    buttons = ACTION_SETS[ACTION_SET]
    *but_last, last = demonstration.actions.tolist()
    for action in but_last:
        if episode.step(console, buttons[action], FRAME_SKIP).outcome is not None:
            return False
    return episode.step(console, buttons[last], FRAME_SKIP).outcome is Outcome.CLEARED


def check_first_demonstrations(folder: Path, demonstrations: Mapping[Stage, Sequence[Demonstration]]) -> None:
    """See that the first demonstration of each stage clears it on the native engine: 10 to 50 milliseconds a stage.

    Args:
        folder: where they were loaded from.
        demonstrations: by stage.

    Raises:
        UserError: if one does not.
    """
    for stage, of_stage in demonstrations.items():
        for first in of_stage[:1]:
            if replay(Games(stage, first.idle_frames, lanes=1), first.actions) != CLEARED:
                path = demonstrations_path(folder, stage)
                raise UserError(
                    f"The first demonstration in {path} does not clear {stage}: "
                    "remove the file and find others with `python main.py explore`."
                )
