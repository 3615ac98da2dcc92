"""Ctrl-C in the first seconds, while a command still imports. Imports nothing else: it comes before everything."""

from __future__ import annotations

import os
import signal

EXIT_INTERRUPTED = 128 + signal.SIGINT


def end_quietly_by_interrupt() -> None:
    """From now on Ctrl-C ends this process at once with code 130, without a traceback.

    By raising KeyboardInterrupt, as Python does by default, it might surface in the middle of any library's import,
    and not all let it through.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as in a shell's background
        signal.signal(signal.SIGINT, lambda *_: os._exit(EXIT_INTERRUPTED))


def raise_on_interrupt() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
