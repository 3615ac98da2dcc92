"""A film as an animated WebP that is small enough for the top of a README."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from a3g.files import write_atomically

MAX_BYTES = 4_000_000
# From the best to the worst that is still worth looking at; after that, pictures are left out.
_QUALITIES = (60, 40, 25, 15)


class Animation:
    """Collects every so many of a film's pictures, smaller, and writes them as one file."""

    def __init__(self, width: int, every: int, most: int, milliseconds: int) -> None:
        """
        Args:
            width: of the animation, in pixels.
            every: one picture of so many is taken.
            most: pictures taken at most; those that come later are left out.
            milliseconds: that each is shown.
        """
        self._width, self._every, self._most, self._milliseconds = width, every, most, milliseconds
        self._given = 0
        self._pictures: list[NDArray[np.uint8]] = []

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Take a picture, uint8 (height, width, 3), if it is its turn."""
        if self._given % self._every == 0 and len(self._pictures) < self._most:
            size = (self._width, round(picture.shape[0] * self._width / picture.shape[1]))
            small: Any = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
            self._pictures.append(small)
        self._given += 1

    def write(self, path: Path, max_bytes: int = MAX_BYTES) -> int:
        """Write the animation as well as fits; returns its size in bytes.

        Raises:
            OSError: if it can't be written.
            ValueError: if there are no pictures.
        """
        pictures, milliseconds = self._pictures, self._milliseconds
        while True:
            for quality in _QUALITIES:
                data = _webp(pictures, milliseconds, quality)
                if len(data) <= max_bytes:
                    write_atomically(path, data)
                    return len(data)
            if len(pictures) == 1:
                raise ValueError(f"one picture takes more than {max_bytes} bytes")
            pictures, milliseconds = pictures[::2], 2 * milliseconds


def _webp(pictures: list[NDArray[np.uint8]], milliseconds: int, quality: int) -> bytes:
    from PIL import Image

    if not pictures:
        raise ValueError("an animation needs pictures")
    first, *others = (Image.fromarray(picture) for picture in pictures)
    data = io.BytesIO()
    first.save(data, "WEBP", save_all=True, append_images=others, duration=milliseconds, loop=0, quality=quality, method=2)
    return data.getvalue()
