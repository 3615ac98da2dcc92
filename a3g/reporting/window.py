"""A window that shows the game at its own speed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time

import cv2
import numpy as np
from numpy.typing import NDArray

from a3g.errors import UserError

_SCALE = 3
# A display on another machine that does not answer is none.
_PROBE_SECONDS = 20.0


class Window:
    """Shows one picture after the other, each for its share of a second."""

    def __init__(self, title: str, frames_per_second: int) -> None:
        """
        Raises:
            UserError: if there is no display to open a window on.
        """
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise UserError("There is no display to open a window on: use --record-video, or set DISPLAY.")
        if not _can_open_window():
            display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or "of this machine"
            raise UserError(f"No window can be opened on the display {display}: use --record-video, or set another DISPLAY.")
        self._title = title
        self.is_closed = False
        """Whether the user has closed the window; nothing is shown from then on."""
        self._shown = False
        self._frame_seconds = 1.0 / frames_per_second
        self._next_frame = time.monotonic()
        cv2.namedWindow(title, cv2.WINDOW_AUTOSIZE | cv2.WINDOW_GUI_NORMAL)

    def show(self, picture: NDArray[np.uint8]) -> None:
        """Show a picture, uint8 (height, width, 3) in RGB; nothing if the window was closed."""
        if self._shown and not self.is_closed:
            self.is_closed = cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1
        if self.is_closed:
            return
        size = (picture.shape[1] * _SCALE, picture.shape[0] * _SCALE)
        large = cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST)
        cv2.imshow(self._title, cv2.cvtColor(large, cv2.COLOR_RGB2BGR))
        self._shown = True
        wait = self._next_frame - time.monotonic()
        cv2.waitKey(max(1, int(1000 * wait)))
        self._next_frame = max(self._next_frame + self._frame_seconds, time.monotonic())

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            with contextlib.suppress(cv2.error):  # closed by the user meanwhile
                cv2.destroyWindow(self._title)


def _can_open_window() -> bool:
    """Try it in a process of its own: Qt ends the process in which it can't."""
    script = "import cv2; cv2.namedWindow('probe')"
    try:
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=_PROBE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
