"""nes-py, the reference engine: slow, everywhere installable, what gym-super-mario-bros itself runs on."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any

import cv2
import numpy as np

from a3g.game.emulators import ALL, VISIBLE_HEIGHT, VISIBLE_LEFT, VISIBLE_TOP, VISIBLE_WIDTH, Image
from a3g.game.emulators.rom import find_rom
from a3g.game.memory import BUTTONS_READ, GAME_MODE, MODE_GAME

# For each combination of buttons, the byte that the game makes of it: the same bits the other way round.
_START_AND_SELECT = 0b00110000
_AS_READ = tuple(int(f"{buttons:08b}"[::-1], 2) & ~_START_AND_SELECT for buttons in range(256))


def _nes_env_class() -> Any:
    """nes-py's environment class; version 8 imports the old ``gym``, whose notices nobody here can act on."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        from nes_py import NESEnv
    return NESEnv


class NesPy:
    """The game on nes-py.

    nes-py has room for one saved state. Any other state is therefore kept as what led to it, the inputs since
    power-on, and reached by running them again: right, but slow, so vector environments give every lane a
    console of its own (`shares_states` is false) and only ever go back to the state saved last.
    """

    name = "nes-py"
    shares_states = False
    draws_on_demand = False
    one_per_process = False

    def __init__(self) -> None:
        self._console: Any = None
        self.reset()

    def reset(self) -> None:
        # A new console: nes-py's own reset is the reset button, which leaves the RAM as it was.
        self.close()
        self._console = _nes_env_class()(str(find_rom()))
        self._console.reset()
        self._history: list[tuple[int, int]] = []  # (-1, buttons) is a frame, (address, value) a poke
        self._backup: list[tuple[int, int]] | None = None

    def frame(self, buttons: int, draw: bool = True) -> None:
        # nes-py's frames end after the game has read the controller for its next frame but before it runs that,
        # so buttons would act one frame late. (START and SELECT are left alone: the game filters them as it reads.)
        ram = self._console.ram
        if ram[GAME_MODE] == MODE_GAME:
            ram[BUTTONS_READ] = ram[BUTTONS_READ] & _START_AND_SELECT | _AS_READ[buttons]
        self._console._frame_advance(buttons)
        self._history.append((-1, buttons))

    def ram(self) -> bytes:
        return self._console.ram.tobytes()  # type: ignore[no-any-return]

    def poke(self, address: int, value: int) -> None:
        self._console.ram[address] = value
        self._history.append((address, value))

    def grey(self, rows: slice = ALL, columns: slice = ALL) -> Image:
        return cv2.cvtColor(self.rgb()[rows, columns], cv2.COLOR_RGB2GRAY)  # type: ignore[return-value]

    def rgb(self) -> Image:
        rows = slice(VISIBLE_TOP, VISIBLE_TOP + VISIBLE_HEIGHT)
        columns = slice(VISIBLE_LEFT, VISIBLE_LEFT + VISIBLE_WIDTH)
        return np.ascontiguousarray(self._console.screen[rows, columns])

    def save(self) -> list[tuple[int, int]]:
        self._backup = list(self._history)
        self._console._backup()
        return self._backup

    def load(self, state: list[tuple[int, int]]) -> None:
        if state is not self._backup:
            self.reset()
            for address, value in state:
                if address < 0:
                    self.frame(value)
                else:
                    self.poke(address, value)
            return
        self._console._restore()
        self._history = list(state)

    def to_bytes(self) -> bytes:
        return np.array(self._history, np.int32).tobytes()

    def from_bytes(self, data: bytes) -> None:
        self.load([(address, value) for address, value in np.frombuffer(data, np.int32).reshape(-1, 2).tolist()])

    def close(self) -> None:
        if self._console is not None:
            self._console.close()
            self._console = None
