"""Where a run stands, as plain values."""

from __future__ import annotations

from dataclasses import dataclass

from a3g.reporting.metrics_registry import metric
from a3g.reporting.phases import PHASE_NAMES


@dataclass(frozen=True, slots=True)
class StageStatus:
    """A stage in training and in the newest test."""

    stage: str
    episodes: int
    """Training episodes so far."""
    clear_rate: float
    """Moving average over training episodes."""
    furthest: int
    """Most pixels of new ground in a training episode."""
    mean_progress: float
    """Moving average over training episodes, in pixels."""
    tested: int
    """Test episodes so far."""
    test_clear_rate: float
    """In the newest test."""
    test_furthest: int
    """Most pixels of new ground in any test."""
    best_clears: bool
    """Whether the best weights clear it."""


@dataclass(frozen=True, slots=True)
class SavingStatus:
    """The newest checkpoint."""

    saved_at: float = 0.0
    """Seconds since 1970; 0 if there is none."""
    bytes: int = 0
    """Of those written in this start of the run."""
    pause_ms: float = 0.0
    """How long workers waited for the copy."""
    trouble: str = ""
    """Why nothing can be saved at present; empty if it can."""


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A run at one moment."""

    agent_steps: int
    frames: int
    seconds: float
    updates: int
    episodes: int
    skipped_updates: int
    restarts: int
    metrics: dict[str, float]
    """The workers' metrics, combined as `a3g.reporting.metrics_registry` says, without those that nobody has reported."""
    phase_shares: tuple[float, ...]
    """Shares of the workers' time, in the order of PHASE_NAMES."""
    tests: int
    tested_agent_steps: int
    """Age of the newest tested weights."""
    stages: tuple[StageStatus, ...]
    """Those played in training or tests, in the game's order."""
    testing: bool = False
    """Whether the tester plays its first test of this start."""
    restored: int = 0
    """How often the shared model was damaged and restored from a checkpoint."""
    last_trouble: str = ""
    """What happened last, with its time."""
    saving: SavingStatus = SavingStatus()

    @property
    def skipped_share(self) -> float:
        """Share of updates whose gradients were not finite and did not count."""
        return self.skipped_updates / max(self.updates + self.skipped_updates, 1)

    def scalars(self) -> dict[str, float]:
        """Everything that makes a curve, under TensorBoard's kind of names; docs/metrics.md describes them."""
        values = {
            "train/episodes": self.episodes,
            "train/updates": self.updates,
            "learn/skipped_updates": self.skipped_updates,
            "learn/skipped_share": self.skipped_share,
            "learn/restored": self.restored,
            "system/restarts": self.restarts,
            "system/checkpoint_pause_ms": self.saving.pause_ms,
            "system/checkpoint_mb": self.saving.bytes / 1e6,
            "system/not_saving": bool(self.saving.trouble),
        }
        for name, value in self.metrics.items():
            values[metric(name).curve_name] = value * metric(name).curve_scale
        for name, share in zip(PHASE_NAMES, self.phase_shares, strict=True):
            values[f"time/{name}"] = share
        for stage in self.stages:
            if stage.episodes:  # not yet after a resumption, which knows the tests of before
                values[f"train_clear_rate/{stage.stage}"] = stage.clear_rate
                values[f"train_progress/{stage.stage}"] = stage.mean_progress
            if stage.tested:
                values[f"test_clear_rate/{stage.stage}"] = stage.test_clear_rate
        return {name: float(value) for name, value in values.items()}
