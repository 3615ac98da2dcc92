"""An engine as the recipe in CONTRIBUTING.md makes one: the native core, but every frame is drawn, asked for or not."""

from __future__ import annotations

import numpy as np

from a3g.game.emulators import ALL, Image
from a3g.game.emulators.native import Native


class SlowNative:
    """The game on the native core, behind an `a3g.game.emulators.Emulator` of its own."""

    name = "slow-native"
    shares_states = True
    draws_on_demand = False
    one_per_process = False

    def __init__(self) -> None:
        self._native = Native()

    def reset(self) -> None:
        self._native.reset()

    def frame(self, buttons: int, draw: bool = True) -> None:
        self._native.frame(buttons, True)

    def ram(self) -> bytes:
        return bytes(self._native.ram())

    def poke(self, address: int, value: int) -> None:
        self._native.poke(address, value)

    def grey(self, rows: slice = ALL, columns: slice = ALL) -> Image:
        return self._native.grey(rows, columns)

    def rgb(self) -> Image:
        return np.asarray(self._native.rgb())

    def save(self) -> bytes:
        return bytes(self._native.save())

    def load(self, state: bytes) -> None:
        self._native.load(state)

    def to_bytes(self) -> bytes:
        return self.save()

    def from_bytes(self, data: bytes) -> None:
        self.load(data)

    def close(self) -> None:
        self._native.close()
