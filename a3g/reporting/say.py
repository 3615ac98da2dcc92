"""Saying things to people, if that is possible."""

from __future__ import annotations

import contextlib


def say(text: str) -> None:
    """Print a line; where output goes to, a file on a full disk or a closed pipe, must not end what there is to say it."""
    with contextlib.suppress(OSError):
        print(text, flush=True)
