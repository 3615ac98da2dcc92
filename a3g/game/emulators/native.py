"""This project's own core: draws only what is asked for, see `native/README.md`."""

from __future__ import annotations

import numpy as np

from a3g.game.emulators import ALL, VISIBLE_HEIGHT, VISIBLE_LEFT, VISIBLE_TOP, VISIBLE_WIDTH, Image
from a3g.game.emulators.rom import find_rom

_VISIBLE = (slice(VISIBLE_TOP, VISIBLE_TOP + VISIBLE_HEIGHT), slice(VISIBLE_LEFT, VISIBLE_LEFT + VISIBLE_WIDTH))


class Native:
    """The game on the native core."""

    name = "native"
    shares_states = True
    draws_on_demand = True
    one_per_process = False

    def __init__(self) -> None:
        import a3g_native

        self._console = a3g_native.Emulator(find_rom().read_bytes())
        self.reset = self._console.reset
        self.frame = self._console.frame
        self.ram = self._console.ram
        self.poke = self._console.poke
        self.save = self.to_bytes = self._console.save
        self.load = self.from_bytes = self._console.load

    def grey(self, rows: slice = ALL, columns: slice = ALL) -> Image:
        top, bottom, _ = rows.indices(VISIBLE_HEIGHT)
        left, right, _ = columns.indices(VISIBLE_WIDTH)
        return self._console.grey(  # type: ignore[no-any-return]
            VISIBLE_TOP + top, VISIBLE_TOP + bottom, VISIBLE_LEFT + left, VISIBLE_LEFT + right
        )

    def rgb(self) -> Image:
        return np.ascontiguousarray(self._console.rgb()[_VISIBLE])

    def close(self) -> None:
        """Nothing to free before the object goes."""
