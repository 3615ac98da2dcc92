"""Saying things to people, if that is possible."""

from __future__ import annotations

import codecs
import contextlib
import io
import sys
from typing import TextIO

# What stands for characters that a terminal or a file can't take (LANG=C, PYTHONIOENCODING=ascii).
_PLAIN = {"×": "x", "·": "*", "–": "-", "—": "-", "−": "-", "…": "...", "→": "->", "←": "<-", "’": "'", "‘": "'"}
_PLAIN |= {"“": '"', "”": '"', **dict.fromkeys("─━═╌", "-"), **dict.fromkeys("│┃║", "|"), **dict.fromkeys("█▓▒", "#")}
_PLAIN |= dict.fromkeys("╭╮╰╯┌┐└┘├┤┬┴┼┏┓┗┛┡┩╇╈", "+")  # corners and crossings of a table's lines
_PLAIN_NAME = "a3g.plain"


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """An error handler of `codecs`: plain characters for those that can't be encoded, one after the other."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    if "\udc80" <= character <= "\udcff":  # a byte of a file's name, see os.fsdecode
        return bytes([ord(character) - 0xDC00]), error.start + 1
    plain = _PLAIN.get(character) or character.encode("ascii", "backslashreplace").decode("ascii")
    return plain, error.start + 1


codecs.register_error(_PLAIN_NAME, _plain)


def say(text: str) -> None:
    """Print a line; where output goes to, a file on a full disk or a closed pipe, must not end what there is to say it."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


class PatientOutput(io.TextIOWrapper):
    """Output that says plainly what can't be encoded, and drops what can't be written.

    The disk is full, the pipe's reader is gone, or the terminal is closed.
    """

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
    return PatientOutput(binary, stream.encoding, _PLAIN_NAME, line_buffering=immediately)
