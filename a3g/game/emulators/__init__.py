"""The engines that can run the game, behind one protocol.

| name     | engine                                            | Python  |
|----------|---------------------------------------------------|---------|
| `native` | this project's own core, in `native/`             | any     |
| `fceumm` | the FCEUmm libretro core in stable-retro's wheel  | ≤ 3.12  |
| `nes-py` | nes-py's LaiNES core, the reference               | any     |
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from a3g.errors import UserError
from a3g.game.buttons import (
    BUTTON_A,
    BUTTON_B,
    BUTTON_DOWN,
    BUTTON_LEFT,
    BUTTON_RIGHT,
    BUTTON_SELECT,
    BUTTON_START,
    BUTTON_UP,
)
from a3g.game.options import EMULATOR_NAMES, ENGINES

__all__ = [
    "ALL",
    "BUTTON_A",
    "BUTTON_B",
    "BUTTON_DOWN",
    "BUTTON_LEFT",
    "BUTTON_RIGHT",
    "BUTTON_SELECT",
    "BUTTON_START",
    "BUTTON_UP",
    "EMULATOR_NAMES",
    "FRAMES_PER_SECOND",
    "VISIBLE_HEIGHT",
    "VISIBLE_LEFT",
    "VISIBLE_TOP",
    "VISIBLE_WIDTH",
    "Emulator",
    "Image",
    "available_emulators",
    "emulator_class",
    "make_emulator",
    "resolve_emulator",
]

Image = NDArray[np.uint8]

# The part of the 256 x 240 picture that every engine shows: FCEUmm cuts 8 pixels off each side.
VISIBLE_TOP, VISIBLE_LEFT = 8, 8
VISIBLE_HEIGHT, VISIBLE_WIDTH = 224, 240
ALL = slice(None)
FRAMES_PER_SECOND = 60


class Emulator(Protocol):
    """One console with the game in it."""

    # Of the engine, so that they can be read from the class.
    name: str
    shares_states: bool
    """Whether `load` is so cheap that many games can take turns on one emulator."""
    draws_on_demand: bool
    """Whether a frame run with `draw=False` has no picture; other engines draw every frame."""
    one_per_process: bool
    """Whether a process can hold only one emulator at a time."""

    def reset(self) -> None:
        """Switch the console off and on."""

    def frame(self, buttons: int, draw: bool = True) -> None:
        """Run one frame (1/60 s) with the given button bits held; `draw` says that its picture will be asked for."""

    def ram(self) -> bytes:
        """A copy of the console's 2,048 bytes of work RAM."""

    def poke(self, address: int, value: int) -> None:
        """Write one byte of work RAM."""

    def grey(self, rows: slice = ALL, columns: slice = ALL) -> Image:
        """Luminance of the visible picture or a part of it, uint8 (224, 240), the same for every engine. A copy."""

    def rgb(self) -> Image:
        """The visible picture as uint8 (224, 240, 3), in the engine's own colours. A copy."""

    def save(self) -> Any:
        """The console's whole state, to be handed to `load` of the same engine, never looked into."""

    def load(self, state: Any) -> None:
        """Continue from a saved state."""

    def to_bytes(self) -> bytes:
        """The console's whole state, for `from_bytes` of the same engine in another process."""

    def from_bytes(self, data: bytes) -> None:
        """Continue from a state that `to_bytes` gave."""

    def close(self) -> None:
        """Free the engine."""


def available_emulators() -> tuple[str, ...]:
    """Names of the engines installed on this machine, fastest first."""
    return tuple(name for name, engine in ENGINES.items() if importlib.util.find_spec(engine.needs) is not None)


def resolve_emulator(name: str = "auto") -> str:
    """The engine that `name` stands for on this machine; ``auto`` is the fastest one installed.

    Raises:
        UserError: if `name` is unknown or that engine is not installed.
    """
    installed = available_emulators()
    if name == "auto":
        if not installed:
            raise UserError(
                "No emulator is installed: run `make setup`, which installs nes-py and, up to Python 3.12, stable-retro."
            )
        return installed[0]
    if name not in ENGINES:
        raise UserError(f"Unknown emulator {name!r}: choose one of {', '.join(('auto', *ENGINES))}.")
    if name not in installed:
        raise UserError(f"The emulator {name!r} is not installed here: {ENGINES[name].how_to_get}, or choose --emulator auto.")
    return name


def emulator_class(name: str) -> type[Emulator]:
    """The class of the engine called `name`, a key of ENGINES."""
    module, _, class_name = ENGINES[name].path.partition(":")
    found: type[Emulator] = getattr(importlib.import_module(module), class_name)
    return found


def make_emulator(name: str = "auto") -> Emulator:
    """Start the engine called `name`, with the game's cartridge in it.

    Raises:
        UserError: if the engine or the cartridge is missing, or the engine can't be started.
    """
    return emulator_class(resolve_emulator(name))()
