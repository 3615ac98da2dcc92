"""What games show, handed from the process that plays them to one that draws them.

Games on the native core keep no colours: their view is the saved console, and whoever looks at it draws it.
"""

from __future__ import annotations

import numpy as np

from a3g.game.emulators import VISIBLE_HEIGHT, VISIBLE_WIDTH, Emulator, Image, make_emulator

_PICTURE_BYTES = VISIBLE_HEIGHT * VISIBLE_WIDTH * 3
# A saved console of the native core has 4,436 bytes.
_CONSOLE_BYTES = 1 << 14


def view_bytes(engine: str) -> int:
    """The most bytes that a view of a game on this engine has."""
    return _CONSOLE_BYTES if engine == "native" else _PICTURE_BYTES


class ViewRenderer:
    """Draws the views that `MarioVectorEnv.view` gives."""

    def __init__(self) -> None:
        self._console: Emulator | None = None

    def draw(self, view: bytes) -> Image:
        """The picture, uint8 (224, 240, 3); that of a saved console is one frame later."""
        if len(view) == _PICTURE_BYTES:
            return np.frombuffer(view, np.uint8).reshape(VISIBLE_HEIGHT, VISIBLE_WIDTH, 3)
        if self._console is None:
            self._console = make_emulator("native")
        self._console.from_bytes(view)
        self._console.frame(0)
        return self._console.rgb()
