"""MP4 files (H.264, which every browser plays), written through PyAV: no ffmpeg needs to be installed.

The files are fragmented (ISO/IEC 14496-12, movie fragments): what describes the pictures stands before them, second by second.
A file whose writer was killed can be played up to its last second or two.
"""

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

# Each fragment begins with a key frame, and is in the file when the next one begins.
_FRAGMENT_SECONDS = 1
# https://ffmpeg.org/ffmpeg-formats.html#mov_002c-mp4_002c-ismv: a fragment for each key frame, behind a description without any
# pictures; flush_packets lets nothing wait in memory that could be in the file.
_FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"}


class VideoWriter:
    """Writes pictures to an MP4 file; use as a context manager, so that the file is finished whatever happens."""

    def __init__(
        self, path: Path, height: int, width: int, scale: int = 2, frames_per_second: int = 60, quality: int = 20
    ) -> None:
        """
        Args:
            path: file to write; its folder is made.
            height, width: of the pictures to come, in pixels; even numbers, or an even `scale`.
            scale: how many pixels wide and high each pixel of the game becomes.
            frames_per_second: of the video.
            quality: x264's constant rate factor, lower is better and larger; at 20 the game's hard edges stay clean.

        Raises:
            OSError: if the file can't be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(path), "w", format="mp4", options=_FRAGMENTED)
        self._stream = self._container.add_stream("libx264", rate=Fraction(frames_per_second))
        self._stream.pix_fmt = "yuv420p"  # the only layout of colours that every browser plays
        # One thread: whoever films has one core. No B-frames and a short look ahead: little waits in the encoder.
        self._stream.options = {
            "crf": str(quality),
            "preset": "veryfast",
            "g": str(_FRAGMENT_SECONDS * frames_per_second),
            "bf": "0",
            "rc-lookahead": "10",
            "threads": "1",
        }
        self._size = (width * scale, height * scale)
        self._stream.width, self._stream.height = self._size

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Append a picture, uint8 (height, width, 3).

        Raises:
            OSError: if the file can't be written.
        """
        large: Any = picture
        if picture.shape[1::-1] != self._size:
            large = cv2.resize(picture, self._size, interpolation=cv2.INTER_NEAREST)
        for packet in self._stream.encode(av.VideoFrame.from_ndarray(large, format="rgb24")):
            self._container.mux(packet)

    def close(self) -> None:
        """Finish the file."""
        for packet in self._stream.encode():
            self._container.mux(packet)
        self._container.close()

    def abandon(self) -> None:
        """Let go of a file that can't be written; what is in it stays playable."""
        with contextlib.suppress(OSError):
            self._container.close()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, OSError):  # it can't be written
            self.abandon()
        else:
            self.close()
