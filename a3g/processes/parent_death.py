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

    The parent of a process that the fork server started is that server, which itself ends with the launcher.
    Call it as early as possible: what is stopped before stays when its parent dies.
    """
    _tell_kernel()
    launcher = multiprocessing.parent_process()  # None while a child is still being set up by `multiprocessing`
    if launcher is None:
        return
    if not launcher.is_alive():  # it died before the kernel was told
        os._exit(1)
    if sys.platform != "linux":
        threading.Thread(target=_wait_for, args=(launcher,), daemon=True).start()


def let_children_end_with_this_process() -> None:
    """Every process that is forked from this one calls the above in its first moment."""
    forking = [0]

    def before() -> None:
        forking[0] = os.getpid()

    def after_in_child() -> None:
        _tell_kernel()
        if os.getppid() != forking[0]:  # the parent died before the kernel was told
            os._exit(1)

    os.register_at_fork(before=before, after_in_child=after_in_child)


def _tell_kernel() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _wait_for(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
