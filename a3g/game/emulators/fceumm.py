"""FCEUmm, the libretro core in stable-retro's wheel: five times faster than nes-py, states in microseconds."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from a3g.errors import UserError
from a3g.game.emulators import ALL, Image
from a3g.game.emulators.rom import find_rom
from a3g.game.memory import AREA_TYPE, AREA_TYPE_WATER

# stable-retro's order of the console's buttons in its mask; the third name from the left is unused.
_MASK_POSITION = {0: 8, 1: 0, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7}

# FCEUmm's palette is not the reference's (nes-py's). The console's 64 colours as OpenCV's RGB2GRAY of either palette,
# measured by writing each colour into the picture's backdrop on both engines.
# fmt: off
_FCEUMM_LUMINANCE = (
    114, 39, 19, 36, 53, 52, 48, 41, 45, 40, 47, 37, 52, 0, 0, 0,
    186, 92, 69, 66, 76, 77, 88, 105, 106, 87, 99, 91, 91, 0, 0, 0,
    250, 155, 141, 127, 170, 162, 153, 170, 189, 162, 159, 189, 161, 120, 0, 0,
    250, 212, 210, 208, 217, 214, 205, 220, 226, 233, 212, 223, 221, 194, 0, 0,
)
_REFERENCE_LUMINANCE = (
    124, 29, 21, 65, 59, 54, 60, 52, 52, 70, 61, 52, 48, 0, 0, 0,
    188, 99, 80, 100, 88, 78, 107, 124, 124, 108, 99, 106, 95, 0, 0, 0,
    248, 157, 140, 144, 173, 143, 155, 177, 182, 203, 163, 189, 161, 120, 0, 0,
    252, 212, 191, 201, 210, 192, 214, 226, 215, 224, 222, 225, 177, 229, 0, 0,
)
# fmt: on

# Seven pairs of colours share a luminance on FCEUmm but not on the reference. Of six pairs the game shows only one
# (these are the others); of the seventh it shows 0x25, coral, under water and 0x29, leaf green, everywhere else.
_UNUSED_COLOURS = (0x05, 0x1B, 0x20, 0x24, 0x2B, 0x31)
_CORAL, _LEAF_GREEN = 0x25, 0x29


def _button_masks() -> NDArray[np.uint8]:
    """stable-retro's nine-byte mask for each of the 256 combinations of buttons."""
    masks = np.zeros((256, 9), np.uint8)
    for buttons in range(256):
        for bit, position in _MASK_POSITION.items():
            masks[buttons, position] = buttons >> bit & 1
    return masks


def _luminance_table(absent_colour: int) -> Image:
    """The reference's luminance for each of FCEUmm's, uint8 (256,), in areas without `absent_colour`."""
    table = np.arange(256, dtype=np.uint8)
    for colour, (ours, reference) in enumerate(zip(_FCEUMM_LUMINANCE, _REFERENCE_LUMINANCE, strict=True)):
        if colour not in (*_UNUSED_COLOURS, absent_colour):
            table[ours] = reference
    return table


class Fceumm:
    """The game on FCEUmm. A process can hold one at a time; many games take turns on it by `save` and `load`."""

    name = "fceumm"
    shares_states = True
    draws_on_demand = False
    one_per_process = True

    def __init__(self) -> None:
        import stable_retro

        try:
            self._console = stable_retro.RetroEmulator(str(find_rom()))
        except RuntimeError as error:
            raise UserError(
                "This process already runs an FCEUmm, and can hold only one: close the other environment first, "
                "use make_vector_env for several games at once, or choose --emulator nes-py."
            ) from error
        self._data = stable_retro.data.GameData()
        self._console.configure_data(self._data)
        self._memory = self._data.memory
        self._masks = _button_masks()
        self._held = -1
        self._luminance = _luminance_table(absent_colour=_CORAL)
        self._luminance_under_water = _luminance_table(absent_colour=_LEAF_GREEN)
        self._power_on = self._console.get_state()

    def reset(self) -> None:
        self._console.set_state(self._power_on)

    def frame(self, buttons: int, draw: bool = True) -> None:
        if buttons != self._held:
            self._console.set_button_mask(self._masks[buttons], 0)
            self._held = buttons
        self._console.step()

    def ram(self) -> bytes:
        # The work RAM comes in blocks of a kilobyte; each read of `blocks` copies the one asked for.
        blocks = self._memory.blocks
        return blocks[0] + blocks[1024]  # type: ignore[no-any-return]

    def poke(self, address: int, value: int) -> None:
        self._memory.assign(address, "|u1", value)

    def grey(self, rows: slice = ALL, columns: slice = ALL) -> Image:
        luminance = cv2.cvtColor(self._console.get_screen()[rows, columns], cv2.COLOR_RGB2GRAY)
        under_water = self._memory.blocks[1024][AREA_TYPE - 1024] == AREA_TYPE_WATER
        return cv2.LUT(luminance, self._luminance_under_water if under_water else self._luminance)  # type: ignore[return-value]

    def rgb(self) -> Image:
        return self._console.get_screen()  # type: ignore[no-any-return]

    def save(self) -> Any:
        return self._console.get_state()

    def load(self, state: Any) -> None:
        self._console.set_state(state)

    def to_bytes(self) -> bytes:
        return bytes(self._console.get_state())

    def from_bytes(self, data: bytes) -> None:
        self._console.set_state(data)

    def close(self) -> None:
        # stable-retro frees the core when the last reference goes.
        del self._memory, self._data, self._console
