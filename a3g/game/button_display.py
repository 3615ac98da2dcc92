"""Showing the agent which buttons it holds, in a corner of its pictures.

Mario jumps when A goes down, not while it is down: who still holds it from the last jump has to let go first. The game keeps
that in RAM, and nothing on its screen tells.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from a3g.game import memory
from a3g.game.emulators import Image

_SHOWN = (0x80, 0x40)
"""A and B, in `memory.BUTTONS_READ`."""
_SHARE = 10
"""A square's side is this part of the picture's height."""


def draw_buttons(pictures: Image, ram: NDArray[np.uint8]) -> None:
    """Draw a square each for A and B into the lower left corner: white if the button was down in the last frame, else black.

    Args:
        pictures: uint8 (games, ..., height, width), drawn on.
        ram: work RAM of each game, uint8 (games, 2048).
    """
    side = max(1, pictures.shape[-2] // _SHARE)
    each = (len(pictures), *(1 for _ in pictures.shape[1:]))
    for i, bit in enumerate(_SHOWN):
        brightness = np.where(ram[:, memory.BUTTONS_READ] & bit, 255, 0).astype(np.uint8)
        pictures[..., -side:, i * side : (i + 1) * side] = brightness.reshape(each)
