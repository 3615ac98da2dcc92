"""How far an attempt at a stage has come: the new ground that Mario has covered, area by area."""

from __future__ import annotations

from typing import Any

from a3g.game import memory
from a3g.game.memory import Ram

MAX_NEW_GROUND = 30
"""An agent step covers at most this many pixels: a larger jump of x is a pipe inside the area."""


class Progress:
    """Counts pixels of new ground.

    The furthest x is kept for each area by itself. So a pipe into a new area starts a new count, and coming back or
    being thrown back by a maze counts nothing until Mario stands further right than ever in that area.
    """

    def __init__(self, ram: Ram) -> None:
        self.pixels = 0
        """Pixels of new ground covered since the start, over all areas."""
        self._furthest: dict[memory.Area, int] = {memory.area_now(ram): memory.x_position(ram)}

    def step(self, ram: Ram) -> int:
        """Count an agent step that ended in `ram`; returns its pixels of new ground, 0 to `MAX_NEW_GROUND`."""
        area, x = memory.area_now(ram), memory.x_position(ram)
        furthest = self._furthest.setdefault(area, x)
        self._furthest[area] = max(x, furthest)
        new_ground = min(max(x - furthest, 0), MAX_NEW_GROUND)
        self.pixels += new_ground
        return new_ground

    def state_dict(self) -> dict[str, Any]:
        """What the next steps depend on, as plain values."""
        return {"progress": self.pixels, "furthest": [[*area, x] for area, x in self._furthest.items()]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` gave."""
        self.pixels = state["progress"]
        self._furthest = {(world, stage, kind, offset): x for world, stage, kind, offset, x in state["furthest"]}
