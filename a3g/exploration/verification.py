"""Whether a demonstration clears its stage, replayed on whole consoles by the rules in Python."""

from __future__ import annotations

from a3g.exploration.demonstrations import ACTION_SET, FRAME_SKIP, TIME_PER_STAGE, Demonstration
from a3g.game.emulators import Emulator, available_emulators, make_emulator
from a3g.game.options import ACTION_SETS
from a3g.game.rules import Episode, Outcome
from a3g.game.stage_starts import StartStates

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
