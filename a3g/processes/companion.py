"""What goes on beside a launcher's own processes when a training runs on several machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, slots=True)
class MachineStatus:
    """Where one of several machines stands, for people."""

    title: str
    agent_steps: int
    """Since it was started."""
    silent: float
    """Seconds since its last report."""
    has_reported: bool


class Companion(Protocol):
    """Owned by the launcher, called by its main thread."""

    messages: list[str]
    """What happened, for people; the launcher says it and empties the list."""

    def tensors(self) -> Mapping[str, Tensor]:
        """What belongs in the run's checkpoints, by its names there, which begin with `server.`; changed in place only."""

    def start(self) -> None:
        """The launcher's processes have been started."""

    def poll(self, now: float) -> tuple[str, bool] | None:
        """Do what is due; returns soon.

        Args:
            now: a monotonic clock, in seconds.

        Returns:
            why the run ends, and whether that is a failure; None while it goes on
        """

    def note(self, message: str) -> None:
        """Something happened, and the launcher has said it here."""

    def machines(self) -> Sequence[MachineStatus]:
        """Other machines that train now."""

    def stop(self) -> None:
        """The launcher's processes have ended; the run's last checkpoint comes after this."""
