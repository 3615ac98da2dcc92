"""Heartbeats: every process counts up a number in shared memory, and the launcher sees whose number stands still."""

from __future__ import annotations

import torch

from a3g.networks.shared_optim import to_shared_memory

# Before its first beat a process imports, builds its network and starts its games: it has so many times as long for that.
STARTING_FACTOR = 10.0
# More seconds between two checks mean that the launcher itself was stopped, and its children perhaps with it.
LAUNCHER_SLEPT_SECONDS = 5.0


class Heartbeats:
    """A counter per process, in shared memory."""

    def __init__(self, processes: int) -> None:
        self._beats = to_shared_memory(torch.zeros(processes, dtype=torch.int64))

    def beat(self, process: int) -> None:
        self._beats[process] += 1

    def count(self, process: int) -> int:
        return int(self._beats[process])


class HeartbeatMonitor:
    """The launcher's view of one process's heartbeat, by the launcher's own clock."""

    def __init__(self, heartbeats: Heartbeats, process: int) -> None:
        self._heartbeats, self._process = heartbeats, process
        self.restart(0.0)

    def restart(self, now: float) -> None:
        """The process starts now."""
        self._first = self._last = self._heartbeats.count(self._process)
        self._last_beat_at = self._checked_at = now

    @property
    def has_beaten(self) -> bool:
        """Whether there was a heartbeat since the process was started."""
        return self._heartbeats.count(self._process) != self._first

    def timed_out(self, now: float, timeout: float) -> bool:
        """Whether there was no heartbeat for `timeout` seconds, or STARTING_FACTOR times as long since the start.

        Args:
            now: a monotonic clock, in seconds.
            timeout: seconds.
        """
        beats = self._heartbeats.count(self._process)
        if beats != self._last:
            self._last, self._last_beat_at = beats, now
        elif now - self._checked_at > LAUNCHER_SLEPT_SECONDS:
            self._last_beat_at += now - self._checked_at
        self._checked_at = now
        return now - self._last_beat_at > timeout * (1.0 if self.has_beaten else STARTING_FACTOR)
