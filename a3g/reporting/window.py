"""A window that shows the game at its own speed."""

from __future__ import annotations

import os
import sys
import time

import cv2
import numpy as np
from numpy.typing import NDArray

from a3g.errors import UserError

_SCALE = 3


class Window:
    """Shows one picture after the other, each for its share of a second."""

    def __init__(self, title: str, frames_per_second: int) -> None:
        """
        Raises:
            UserError: if there is no display to open a window on.
        """
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise UserError("There is no display to open a window on: use --record-video, or set DISPLAY.")
        self._title = title
        self._frame_seconds = 1.0 / frames_per_second
        self._next_frame = time.monotonic()
        cv2.namedWindow(title, cv2.WINDOW_AUTOSIZE | cv2.WINDOW_GUI_NORMAL)

    def show(self, picture: NDArray[np.uint8]) -> None:
        """Show a picture, uint8 (height, width, 3) in RGB."""
        size = (picture.shape[1] * _SCALE, picture.shape[0] * _SCALE)
        large = cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST)
        cv2.imshow(self._title, cv2.cvtColor(large, cv2.COLOR_RGB2BGR))
        wait = self._next_frame - time.monotonic()
        cv2.waitKey(max(1, int(1000 * wait)))
        self._next_frame = max(self._next_frame + self._frame_seconds, time.monotonic())

    def close(self) -> None:
        cv2.destroyWindow(self._title)
