"""MP4 files (H.264, which every browser plays), written through PyAV: no ffmpeg needs to be installed."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray


class VideoWriter:
    """Writes pictures to an MP4 file; use as a context manager, so that the file is finished whatever happens."""

    def __init__(self, path: Path, height: int, width: int, scale: int = 2, frames_per_second: int = 60) -> None:
        """
        Args:
            path: file to write; its folder is made.
            height, width: of the pictures to come, in pixels.
            scale: how many pixels wide and high each pixel of the game becomes.
            frames_per_second: of the video.

        Raises:
            OSError: if the file can't be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(path), "w", options={"movflags": "faststart"})
        self._stream = self._container.add_stream("libx264", rate=Fraction(frames_per_second))
        # 4:2:0 colour and a quality at which the game's hard edges stay clean.
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"crf": "20", "preset": "veryfast"}
        self._size = (width * scale, height * scale)
        self._stream.width, self._stream.height = self._size

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Append a picture, uint8 (height, width, 3)."""
        large: Any = cv2.resize(picture, self._size, interpolation=cv2.INTER_NEAREST)
        for packet in self._stream.encode(av.VideoFrame.from_ndarray(large, format="rgb24")):
            self._container.mux(packet)

    def close(self) -> None:
        """Finish the file."""
        for packet in self._stream.encode():
            self._container.mux(packet)
        self._container.close()

    def abandon(self) -> None:
        """Let go of a file that can't be written; what is in it is of no use."""
        with contextlib.suppress(OSError):
            self._container.close()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
