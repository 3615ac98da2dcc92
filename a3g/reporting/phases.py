"""Where a worker's time goes."""

from __future__ import annotations

import time
from enum import IntEnum

PHASE_NAMES = ("emulator", "acting", "learning", "synchronising")


class Phase(IntEnum):
    """What a worker does, in PHASE_NAMES' order."""

    EMULATOR = 0
    """Stepping the games, observations, rules and rewards included."""
    ACTING = 1
    """Choosing actions, and the rest of collecting a rollout."""
    LEARNING = 2
    """From a rollout to gradients."""
    SYNCHRONISING = 3
    """The shared optimizer's step, and copying weights, gradients and counters."""


class PhaseClock:
    """A stopwatch with a total for every phase."""

    def __init__(self) -> None:
        self.seconds = [0.0] * len(Phase)
        self._last = time.perf_counter()

    def lap(self, phase: Phase) -> None:
        """Count the time since the last lap for `phase`."""
        now = time.perf_counter()
        self.seconds[phase] += now - self._last
        self._last = now
