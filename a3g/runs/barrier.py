"""The barrier before the shared model: it holds workers back for a moment, so that no checkpoint is copied within an update.

A worker says that it is inside, and then looks whether the barrier is up; the launcher raises the barrier, and then looks
who is inside. So one of the two sees the other. With several workers only their updates pass the barrier, so that nobody
waits longer than another one's update and the copy take. A single worker passes it with a whole rollout and the
updates from it: a checkpoint then lies between two rollouts, where the worker's own state is small and exact.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from a3g.networks.shared_optim import to_shared_memory

_WAIT_SECONDS = 0.001


class CheckpointBarrier:
    """In shared memory; the launcher raises and lowers it, workers pass."""

    def __init__(self, workers: int) -> None:
        self._raised = to_shared_memory(torch.zeros((), dtype=torch.uint8))
        self._inside = to_shared_memory(torch.zeros(workers, dtype=torch.uint8))
        self._number = to_shared_memory(torch.zeros((), dtype=torch.int64))
        self._waited = to_shared_memory(torch.zeros(workers, dtype=torch.float64))
        self._alone = workers == 1

    # -- the launcher's side

    def hold(self, number: int | None = None) -> None:
        """Let nobody in any more; with `number`, for a checkpoint of that number."""
        self._raised.fill_(1)
        if number is not None:  # second: whoever sees the number waits for this checkpoint
            self._number.fill_(number)

    @property
    def is_clear(self) -> bool:
        """Whether no worker is inside."""
        return not bool(self._inside.any())

    def forget(self, worker: int) -> None:
        """A worker has died, wherever it was."""
        self._inside[worker] = 0

    def release(self) -> None:
        self._raised.fill_(0)

    @property
    def longest_wait(self) -> float:
        """Seconds that the slowest worker waited when it last did."""
        return float(self._waited.max())

    # -- the workers' side

    @property
    def number(self) -> int:
        """Number of the newest checkpoint asked for."""
        return int(self._number)

    def enter_rollout(self, worker: int) -> bool:
        """Try to begin a rollout; returns false, after a moment, while the barrier holds a single worker back."""
        return not self._alone or self._enter(worker)

    def leave_rollout(self, worker: int) -> None:
        if self._alone:
            self._inside[worker] = 0

    @contextmanager
    def update(self, worker: int) -> Iterator[None]:
        """Write to the shared model in here; waits first while the barrier is up."""
        if self._alone:
            yield
            return
        while not self._enter(worker):
            continue
        try:
            yield
        finally:
            self._inside[worker] = 0

    def _enter(self, worker: int) -> bool:
        self._inside[worker] = 1
        if not self._raised:
            return True
        self._inside[worker] = 0
        began = time.monotonic()
        while self._raised:
            time.sleep(_WAIT_SECONDS)
        self._waited[worker] = time.monotonic() - began
        return False
