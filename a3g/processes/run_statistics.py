"""A run: what it is, where it stands, and the summary that is written when it ends."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from a3g.config import TrainConfig
from a3g.files import write_atomically
from a3g.processes.counters import STAGE_INDEX, RunCounters, StageCount
from a3g.processes.shared_run import SharedRun
from a3g.reporting.metrics_registry import combine
from a3g.reporting.say import say
from a3g.reporting.status import RunStatus, SavingStatus, StageStatus
from a3g.runs.folder_lock import FolderLock
from a3g.runs.paths import SUMMARY_NAME


@dataclass
class Run:
    """A training run: its folder, and what its processes share."""

    config: TrainConfig
    folder: Path
    shared: SharedRun
    resumed_from: Path | None
    lock: FolderLock | None
    """Keeps other launchers out of the folder; None for who only looks on."""
    saved_at: float = 0.0
    """When the checkpoint was written that the run goes on from, in seconds since 1970; 0 if there is none."""

    @property
    def is_lost(self) -> bool:
        """Whether another machine has taken the folder over; nothing is to be written there any more."""
        return self.lock is not None and self.lock.is_lost

    def close(self) -> None:
        """Leave the folder to others."""
        if self.lock is not None:
            self.lock.release()


def read_status(run: Run, saving: SavingStatus, last_trouble: str) -> RunStatus:
    """The run as it stands now."""
    counters, results = run.shared.counters, run.shared.results
    progress = counters.progress()
    return RunStatus(
        agent_steps=progress.agent_steps,
        frames=progress.agent_steps * run.config.skip_rate,
        seconds=progress.seconds,
        updates=progress.updates,
        episodes=progress.episodes,
        skipped_updates=progress.skipped_updates,
        restarts=progress.restarts,
        metrics={name: combine(name, values) for name, values in counters.metrics.by_name().items()},
        phase_shares=_phase_shares(counters),
        tests=int(results.tests),
        tested_agent_steps=int(results.agent_steps),
        stages=tuple(status for stage in STAGE_INDEX if (status := _stage_status(run, stage)) is not None),
        testing=not results.tests and run.shared.control.heartbeats.count(run.config.workers) > 0,
        restored=progress.restored,
        last_trouble=last_trouble,
        saving=saving,
    )


def _phase_shares(counters: RunCounters) -> tuple[float, ...]:
    seconds = counters.phase_seconds.sum(0)
    return tuple((seconds / seconds.sum().clamp(min=1e-9)).tolist())


def _stage_status(run: Run, stage: str) -> StageStatus | None:
    """A stage's line, None if nobody has played it."""
    index = STAGE_INDEX[stage]
    training, test = run.shared.counters.stages[:, index], run.shared.results.stages[index]
    episodes, tested = training[:, StageCount.EPISODES].sum(), int(test[StageCount.EPISODES])
    if not episodes and not tested:
        return None
    shares = training[:, StageCount.EPISODES] / max(float(episodes), 1.0)
    return StageStatus(
        stage=stage,
        episodes=int(episodes),
        clear_rate=float((shares * training[:, StageCount.CLEAR_RATE]).sum()),
        furthest=int(training[:, StageCount.FURTHEST].max()),
        mean_progress=float((shares * training[:, StageCount.MEAN_PROGRESS]).sum()),
        tested=tested,
        test_clear_rate=float(test[StageCount.CLEAR_RATE]),
        test_furthest=int(test[StageCount.FURTHEST]),
        best_clears=bool(run.shared.results.best_cleared[index]),
    )


def write_summary(run: Run, reason: str) -> None:
    """Write `summary.json`; its keys are a contract with other tools."""
    progress = run.shared.counters.progress()
    cleared = [stage for i, stage in enumerate(STAGE_INDEX) if run.shared.results.best_cleared[i]]
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
