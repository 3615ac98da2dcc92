"""Heartbeats: every process counts up a number in shared memory, and the launcher sees whose number stands still."""

from __future__ import annotations

import torch

from a3g.networks.shared_optim import to_shared_memory

# Until its first beat a process imports, builds its network and starts its games.
STARTING_TIMES = 10.0
# Longer between two looks means that the launcher itself was stopped, and its children perhaps with it.
LAUNCHER_SLEPT_SECONDS = 5.0


class Heartbeats:
    """A counter per process, in shared memory."""

    def __init__(self, processes: int) -> None:
        self._beats = to_shared_memory(torch.zeros(processes, dtype=torch.int64))

    def beat(self, process: int) -> None:
        self._beats[process] += 1

    def count(self, process: int) -> int:
        return int(self._beats[process])


class Pulse:
    """The launcher's view of one process's heartbeat, by the launcher's own clock."""

    def __init__(self, heartbeats: Heartbeats, process: int) -> None:
        self._heartbeats, self._process = heartbeats, process
        self.restart(0.0)

    def restart(self, now: float) -> None:
        """The process starts now."""
        self._first = self._last = self._heartbeats.count(self._process)
        self._heard_at = self._looked_at = now

    @property
    def has_beaten(self) -> bool:
        """Whether the process has given a sign of life since its start."""
        return self._heartbeats.count(self._process) != self._first

    def silent_too_long(self, now: float, limit: float) -> bool:
        """Whether the process has been silent for `limit` seconds, or for STARTING_TIMES as long since its start."""
        beats = self._heartbeats.count(self._process)
        if beats != self._last:
            self._last, self._heard_at = beats, now
        elif now - self._looked_at > LAUNCHER_SLEPT_SECONDS:
            self._heard_at += now - self._looked_at
        self._looked_at = now
        return now - self._heard_at > limit * (1.0 if self.has_beaten else STARTING_TIMES)
