"""A run's books: what it is, where it stands, and the summary that is written when it ends."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

from a3g.config import TrainConfig
from a3g.files import write_atomically
from a3g.processes.checkpoint import Progress, count_progress
from a3g.processes.shared import STAGE_INDEX, Gauge, SharedCounters, SharedModel, StageCount, TestBoard
from a3g.reporting.metrics_registry import combine
from a3g.reporting.say import say
from a3g.reporting.status import RunStatus, SavingStatus, StageStatus

SUMMARY_NAME = "summary.json"


@dataclass
class Run:
    """A training run: its folder, what its processes share, and where it stood when this start began."""

    config: TrainConfig
    folder: Path
    shared: SharedModel
    counters: SharedCounters
    board: TestBoard
    earlier: Progress
    """Counters that are in no worker's row."""
    resumed_from: Path | None
    lock: int
    """Descriptor that keeps other launchers out of the folder."""

    def close(self) -> None:
        """Leave the folder to others."""
        os.close(self.lock)

    def seconds(self) -> float:
        """Since the first worker's first step, 0 before."""
        started = self.counters.started[self.counters.started > 0]
        return max(time.monotonic() - float(started.min()), 0.0) if len(started) else 0.0

    def progress(self, restarts: int, restored: int) -> Progress:
        progress = count_progress(self.counters, self.earlier, self.seconds(), restarts, restored)
        return replace(progress, saved_at=time.time())


def read_status(run: Run, progress: Progress, saving: SavingStatus, last_trouble: str) -> RunStatus:
    """The run as it stands now."""
    return RunStatus(
        agent_steps=progress.agent_steps,
        frames=progress.agent_steps * run.config.skip_rate,
        seconds=progress.seconds,
        updates=progress.updates,
        episodes=progress.episodes,
        skipped_updates=progress.skipped_updates,
        restarts=progress.restarts,
        metrics=_metrics(run.counters),
        phase_shares=_phase_shares(run.counters),
        tests=int(run.board.tests),
        tested_agent_steps=int(run.board.agent_steps),
        stages=tuple(status for stage in STAGE_INDEX if (status := _stage_status(run, stage)) is not None),
        testing=not run.board.tests and run.counters.heartbeats.count(run.config.workers) > 0,
        restored=progress.restored,
        last_trouble=last_trouble,
        saving=saving,
    )


def _metrics(counters: SharedCounters) -> dict[str, float]:
    """The workers' newest readings, combined over the workers that have finished a rollout."""
    working = counters.gauges[counters.gauges[:, Gauge.RESIDENT_BYTES] > 0]
    if not len(working):
        return {}
    metrics = {gauge.name.lower(): combine(gauge.name.lower(), working[:, gauge].tolist()) for gauge in Gauge}
    if not metrics["gpu_bytes"]:  # no worker computes on a GPU
        del metrics["gpu_bytes"]
    return metrics


def _phase_shares(counters: SharedCounters) -> tuple[float, ...]:
    seconds = counters.seconds.sum(0)
    return tuple((seconds / seconds.sum().clamp(min=1e-9)).tolist())


def _stage_status(run: Run, stage: str) -> StageStatus | None:
    """A stage's line, None if nobody has played it."""
    index = STAGE_INDEX[stage]
    books, test = run.counters.stages[:, index], run.board.stages[index]
    episodes, tested = books[:, StageCount.EPISODES].sum(), int(test[StageCount.EPISODES])
    if not episodes and not tested:
        return None
    shares = books[:, StageCount.EPISODES] / max(float(episodes), 1.0)
    return StageStatus(
        stage=stage,
        episodes=int(episodes),
        clear_rate=float((shares * books[:, StageCount.CLEAR_RATE]).sum()),
        furthest=int(books[:, StageCount.FURTHEST].max()),
        mean_progress=float((shares * books[:, StageCount.MEAN_PROGRESS]).sum()),
        tested=tested,
        test_clear_rate=float(test[StageCount.CLEAR_RATE]),
        test_furthest=int(test[StageCount.FURTHEST]),
        best_clears=bool(run.board.best_cleared[index]),
    )


def write_summary(run: Run, reason: str, progress: Progress) -> None:
    """Write `summary.json`; its keys are a contract with other tools."""
    cleared = [stage for i, stage in enumerate(STAGE_INDEX) if run.board.best_cleared[i]]
    summary = {
        "agent_steps": progress.agent_steps,
        "frames": progress.agent_steps * run.config.skip_rate,
        "seconds": round(progress.seconds, 3),
        "agent_steps_per_second": round(progress.agent_steps / progress.seconds, 1) if progress.seconds else 0.0,
        "updates": progress.updates,
        "episodes": progress.episodes,
        "workers": run.config.workers,
        "lanes": run.config.lanes,
        "restarts": progress.restarts,
        "skipped_updates": progress.skipped_updates,
        "stages_cleared": cleared,
        "exit_reason": reason,
    }
    try:
        write_atomically(run.folder / SUMMARY_NAME, json.dumps(summary, indent=1).encode())
    except OSError as error:
        say(f"a3g: could not write {SUMMARY_NAME}: {error}")
