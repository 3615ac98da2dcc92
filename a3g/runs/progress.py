"""Where a run stands, as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

# Counters have 64 bits.
_LARGEST = 2**63


@dataclass(frozen=True)
class Progress:
    """The counters of a run, at a checkpoint or at its end."""

    agent_steps: int = 0
    updates: int = 0
    episodes: int = 0
    skipped_updates: int = 0
    restarts: int = 0
    resumed: int = 0
    """How often the run was resumed."""
    restored: int = 0
    """How often the shared model was found damaged and restored."""
    seconds: float = 0.0
    """Since the first worker's first step, pauses between resumed parts left out."""
    saved_at: float = 0.0
    """Seconds since 1970."""

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Progress:
        """
        Raises:
            ValueError: if they are no progress.
        """
        kinds = {field.name: type(field.default) for field in fields(cls)}
        for name, value in values.items():
            if name not in kinds or type(value) not in (int, kinds[name]) or not 0 <= value < _LARGEST:
                raise ValueError("no readable progress")
        return cls(**values)
