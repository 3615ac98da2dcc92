"""What one process does for one stage: find a first way, shorten a way, or find another way beside a known one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from a3g.exploration.demonstrations import Demonstration
from a3g.exploration.explorer import Explorer, Guide
from a3g.exploration.games import Games
from a3g.exploration.shortening import Shortener, cost
from a3g.game.stages import Stage

# Between two reports; a fraction of a second.
_SLICE_STEPS = 4_000
# The longest searches for a first way seen took 2 million agent steps, for another way 0.3 million. Then a new seed is better.
_FIRST_STEPS, _FURTHER_STEPS = 4_000_000, 600_000
# After the first clear: the share of the agent steps until then, and some more, to find shorter ways by exploring.
_IMPROVING_SHARE, _IMPROVING_STEPS = 0.25, 30_000
# A way is reported while it is being shortened when it costs at most so much of the last one: reports are verified and saved.
_REPORTED_SHARE = 0.95
# A chance too small to be noticed in a stage is none.
_LEAST_STICKY = 0.02
MAX_IDLE_FRAMES = 30
"""Most idle frames before a demonstration begins, as `GameOptions.noop_max`."""


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """What all tasks of an exploration share."""

    seed: int
    sticky_actions: float
    """Largest chance of a repeated action, for further ways."""
    shortening_steps: int
    """Agent steps spent on making a first way shorter."""


@dataclass(frozen=True, slots=True)
class Report:
    """How far a search is."""

    doing: str
    """exploring, improving or shortening."""
    agent_steps: int
    """Agent steps played for this so far."""
    furthest: int
    """Pixels of new ground in the game that came furthest; 0 where that is not known."""
    found: Demonstration | None = None
    """A way just found, or just made better."""


def find_first(stage: Stage, seed: tuple[int, ...]) -> Iterator[Report]:
    """Find a way through a stage from nothing, and go on for a while to find shorter ones.

    Every way found is reported when there is a better one than before; none if all of `_FIRST_STEPS` were in vain.
    """
    explorer = Explorer(Games(stage), seed)
    yield from _until_cleared(explorer, _FIRST_STEPS)
    if explorer.best is None:
        return
    yield _report("improving", explorer, Demonstration(stage, 0, explorer.best))
    first = len(explorer.best)
    end = explorer.agent_steps + int(_IMPROVING_SHARE * explorer.agent_steps) + _IMPROVING_STEPS
    while explorer.agent_steps < end:
        explorer.explore(_SLICE_STEPS)
        yield _report("improving", explorer)
    if len(explorer.best) < first:
        yield _report("improving", explorer, Demonstration(stage, 0, explorer.best))


def shorten(demonstration: Demonstration, agent_steps: int, seed: tuple[int, ...]) -> Iterator[Report]:
    """Make a demonstration shorter and smoother; each better one is reported, but not more often than it is worth.

    Raises:
        ValueError: if it does not clear its stage.
    """
    stage, idle_frames = demonstration.stage, demonstration.idle_frames
    shortener = Shortener(Games(stage, idle_frames), demonstration.actions, seed)
    reported = demonstration.actions
    while shortener.agent_steps < agent_steps:
        shortener.shorten(min(_SLICE_STEPS, agent_steps - shortener.agent_steps))
        found = None
        worth = _REPORTED_SHARE if shortener.agent_steps < agent_steps else 1.0
        if cost(shortener.best) < worth * cost(reported):
            reported = shortener.best
            found = Demonstration(stage, idle_frames, reported)
        yield Report("shortening", shortener.agent_steps, 0, found)


def find_further(known: Demonstration, max_sticky_actions: float, seed: tuple[int, ...]) -> Iterator[Report]:
    """Find another way through the stage of a known one: after other idle frames, with sticky actions, beside it.

    The known way is followed where the search comes near it. Where sticky actions or the idle frames let it fail, the
    search goes on from some agent steps before that, so the ways found hold recoveries.

    Args:
        max_sticky_actions: the chance of a repeated action is drawn from 0 to this.
    """
    random = np.random.default_rng([*seed, 1])
    idle_frames = int(random.integers(MAX_IDLE_FRAMES + 1))
    # As a file holds it, so that what is found and what is read are the same.
    chance = float(np.float32(random.random() * max_sticky_actions))
    chance = chance if chance >= _LEAST_STICKY else 0.0
    guide = Guide.along(Games(known.stage, known.idle_frames, lanes=1), known.actions)
    explorer = Explorer(Games(known.stage, idle_frames), seed, chance, [guide])
    yield from _until_cleared(explorer, _FURTHER_STEPS)
    if explorer.best is not None:
        yield _report("exploring", explorer, Demonstration(known.stage, idle_frames, explorer.best, chance))


def is_new(actions: NDArray[np.uint8], idle_frames: int, known: list[Demonstration]) -> bool:
    """Whether no known demonstration has the same actions after the same idle frames."""
    return not any(each.idle_frames == idle_frames and np.array_equal(each.actions, actions) for each in known)


def _until_cleared(explorer: Explorer, most_steps: int) -> Iterator[Report]:
    while explorer.best is None and explorer.agent_steps < most_steps:
        explorer.explore(_SLICE_STEPS, until_cleared=True)
        yield _report("exploring", explorer)


def _report(doing: str, explorer: Explorer, found: Demonstration | None = None) -> Report:
    return Report(doing, explorer.agent_steps, explorer.furthest, found)
