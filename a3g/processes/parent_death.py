"""Lets a child process end with its parent, whatever ends that. Imports next to nothing: it comes before everything."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading

_PR_SET_PDEATHSIG = 1  # prctl(2): the signal that this process gets when the thread that started it is gone


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent dies; it acts on stopped processes and inside C code too.

    Call it as early as possible: what is stopped before stays when its parent dies.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    parent = multiprocessing.parent_process()  # None while a child is still being set up by `multiprocessing`
    if parent is None:
        return
    if os.getppid() != parent.pid:  # it died before the kernel was told
        os._exit(1)
    if sys.platform != "linux":
        threading.Thread(target=_wait_for, args=(parent,), daemon=True).start()


def _wait_for(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
