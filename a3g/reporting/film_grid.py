"""Many games in one picture: a grid of cells, each with a label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

# The grid's picture is at most about so wide; cells are made smaller for it.
_WIDEST = 1280
_BAR = 14
_WHITE, _GREEN, _RED = (255, 255, 255), (40, 140, 60), (150, 40, 40)


class FilmGrid:
    """Puts pictures of games into a grid.

    The picture's height and width are even, as H.264 needs them.
    """

    def __init__(self, labels: Sequence[str], height: int, width: int, columns: int = 0, widest: int = _WIDEST) -> None:
        """
        Args:
            labels: one for each cell, row by row.
            height, width: of the games' pictures, in pixels.
            columns: of the grid; by default so many that the grid is about twice as wide as high.
            widest: of the grid, in pixels.
        """
        self._labels = list(labels)
        count = max(len(labels), 1)
        self._columns = columns or min(count, max(1, round(math.sqrt(2 * count))))
        rows = -(-count // self._columns)
        scale = min(2.0, widest / (self._columns * width))
        self._cell = (round(height * scale), round(width * scale))
        height, width = rows * (self._cell[0] + _BAR), self._columns * self._cell[1]
        self.picture: Image = np.zeros((height + height % 2, width + width % 2, 3), np.uint8)
        """uint8 (height, width, 3), as it stands."""
        for i in range(len(labels)):
            self.label(i, "")

    def show(self, cell: int, picture: Image) -> None:
        """Put a game's picture, uint8 (height, width, 3), into a cell."""
        top, left = self._corner(cell)
        height, width = self._cell
        interpolation = cv2.INTER_AREA if width < picture.shape[1] else cv2.INTER_NEAREST
        small: Any = cv2.resize(picture, (width, height), interpolation=interpolation)
        self.picture[top + _BAR : top + _BAR + height, left : left + width] = small

    def label(self, cell: int, text: str, cleared: bool | None = None) -> None:
        """Write a text behind a cell's label; the bar turns green or red with `cleared`."""
        top, left = self._corner(cell)
        width = self._cell[1]
        colour = (30, 30, 40) if cleared is None else _GREEN if cleared else _RED
        bar: Any = np.full((_BAR, width, 3), colour, np.uint8)
        cv2.putText(bar, f"{self._labels[cell]} {text}", (3, 11), cv2.FONT_HERSHEY_SIMPLEX, 0.36, _WHITE, 1, cv2.LINE_AA)
        self.picture[top : top + _BAR, left : left + width] = bar

    def finish(self, cell: int, cleared: bool, text: str) -> None:
        """Show that a cell's game is over: its last picture darker, and how it ended."""
        top, left = self._corner(cell)
        height, width = self._cell
        self.picture[top + _BAR : top + _BAR + height, left : left + width] //= 2
        self.label(cell, text, cleared)

    def _corner(self, cell: int) -> tuple[int, int]:
        row, column = divmod(cell, self._columns)
        return row * (self._cell[0] + _BAR), column * self._cell[1]
