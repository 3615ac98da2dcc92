"""Saying things to people, if that is possible."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import TextIO


def say(text: str) -> None:
    """Print a line; where output goes to, a file on a full disk or a closed pipe, must not end what there is to say it."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


class PatientOutput(io.TextIOWrapper):
    """Output that drops what can't be written: the disk is full, the pipe's reader is gone, the terminal is closed."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            super().flush()


def make_output_patient() -> None:
    """Let nothing that this process prints be its end, by whichever library, nor what Python flushes at its exit."""
    sys.stdout, sys.stderr = _patient(sys.stdout), _patient(sys.stderr)


def _patient(stream: TextIO) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper) or isinstance(stream, PatientOutput):
        return stream  # none at all, or one that is in no file
    with contextlib.suppress(OSError):
        stream.flush()
    try:
        binary = io.BufferedWriter(io.FileIO(stream.fileno(), "wb", closefd=False))
    except OSError:
        return stream
    immediately = stream.line_buffering or stream.write_through
    return PatientOutput(binary, stream.encoding, stream.errors, line_buffering=immediately)
