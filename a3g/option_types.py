"""What the options of several commands have in common: kinds of values, short spellings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import tyro

from a3g.game.options import EMULATOR_NAMES

ActionSet = Literal["a3g", "right", "simple", "complex", "walk-jump"]
Network = Literal["impala", "nature", "nips", "conv4", "map"]
if TYPE_CHECKING:
    EmulatorName = str
else:  # the choices are those of the table of engines
    EmulatorName = Literal[EMULATOR_NAMES]


def short(*names: str) -> Any:
    """The short spellings of an option."""
    return tyro.conf.arg(aliases=list(names))
