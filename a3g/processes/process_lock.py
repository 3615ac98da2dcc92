"""A lock between processes that is free again when its holder dies."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from multiprocessing import reduction
from types import TracebackType
from typing import Any


class ProcessLock:
    """A POSIX record lock (fcntl(2)) on a file without a name: the kernel releases it however its holder ends.

    A semaphore, as `multiprocessing.Lock` is one, stays taken when its holder is killed, and everybody else waits for
    ever. Threads of one process do not exclude each other. It can be handed to a process that is being started.
    """

    def __init__(self) -> None:
        if hasattr(os, "memfd_create"):
            self._descriptor = os.memfd_create("a3g-lock")
        else:
            with tempfile.TemporaryFile() as file:
                self._descriptor = os.dup(file.fileno())

    def __enter__(self) -> ProcessLock:
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def is_free(self) -> bool:
        """Whether no other process holds it now."""
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            raise
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
        return True

    def __getstate__(self) -> Any:
        return reduction.DupFd(self._descriptor)

    def __setstate__(self, state: Any) -> None:
        self._descriptor = state.detach()
