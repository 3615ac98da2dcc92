"""What a run counts: the one owner of agent steps, updates, episodes, metrics and time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from enum import IntEnum, auto

import torch
from torch import Tensor

from a3g.game.rules import Outcome
from a3g.game.stages import STAGES
from a3g.networks.shared_optim import to_shared_memory
from a3g.processes.metrics_table import MetricsTable
from a3g.reporting.phases import Phase
from a3g.runs.progress import Progress


class Count(IntEnum):
    """Columns of the workers' counters; they only ever grow."""

    AGENT_STEPS = 0
    UPDATES = auto()
    EPISODES = auto()
    SKIPPED_UPDATES = auto()


class StageCount(IntEnum):
    """Columns of the workers' and the tester's statistics of each stage."""

    EPISODES = 0
    CLEARED = auto()
    FURTHEST = auto()
    """Most pixels of new ground in one episode."""
    MEAN_PROGRESS = auto()
    """Tester: of its newest test."""
    CLEAR_RATE = auto()
    """Tester: of its newest test. Workers: moving average."""


STAGE_INDEX = {str(stage): i for i, stage in enumerate(STAGES)}
# A moving average forgets with this weight for each new episode: about the last 20 count.
MOVING_AVERAGE_WEIGHT = 0.05


def shared_zeros(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return to_shared_memory(torch.zeros(shape, dtype=dtype))


class RunCounters:
    """In shared memory, one row per worker, written by that worker alone and read by all.

    The last row of `counts` holds what no present worker has counted: steps of earlier starts of the run with another
    number of workers. So a sum over the rows is always the whole run.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.counts = shared_zeros(workers + 1, len(Count), dtype=torch.int64)
        self.stages = shared_zeros(workers, len(STAGES), len(StageCount))
        self.metrics = MetricsTable(workers)
        self.phase_seconds = shared_zeros(workers, len(Phase))
        """Where each worker's time went."""
        self.started = shared_zeros(workers)
        """time.monotonic() of each worker's first step, else 0; one clock for all processes of a machine."""
        # The launcher's own; other processes have copies from when they were started.
        self.restarts = 0
        self.resumed = 0
        self.restored = 0
        self.earlier_seconds = 0.0

    def total(self, count: Count) -> int:
        """A counter of the whole run."""
        return int(self.counts[:, count].sum())

    @property
    def agent_steps(self) -> int:
        """Agent steps of the whole run."""
        return self.total(Count.AGENT_STEPS)

    @property
    def seconds_since_first_step(self) -> float:
        """Of this start of the run; 0 before."""
        started = self.started[self.started > 0]
        return max(time.monotonic() - float(started.min()), 0.0) if len(started) else 0.0

    def progress(self) -> Progress:
        """Where the run stands now."""
        return Progress(
            agent_steps=self.agent_steps,
            updates=self.total(Count.UPDATES),
            episodes=self.total(Count.EPISODES),
            skipped_updates=self.total(Count.SKIPPED_UPDATES),
            restarts=self.restarts,
            resumed=self.resumed,
            restored=self.restored,
            seconds=self.earlier_seconds + self.seconds_since_first_step,
            saved_at=time.time(),
        )

    def training_clear_rates(self) -> Tensor:
        """Moving averages of the share of training episodes that were cleared, (stages,): the workers' mean, weighted by
        their episodes; 0 where there were none."""
        episodes = self.stages[:, :, StageCount.EPISODES]
        return (episodes * self.stages[:, :, StageCount.CLEAR_RATE]).sum(0) / episodes.sum(0).clamp(min=1.0)

    def tensors(self) -> dict[str, Tensor]:
        """What belongs in a checkpoint, by its names there."""
        return {"counts": self.counts, "stages": self.stages, **self.metrics.tensors()}

    def load(self, progress: Progress, tensors: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint: workers' rows where their number is the same, else only the sums."""
        self.restarts, self.resumed, self.restored = progress.restarts, progress.resumed, progress.restored
        self.earlier_seconds = progress.seconds
        mine = self.tensors()
        if all(name in tensors and tensors[name].shape == tensor.shape for name, tensor in mine.items()):
            for name, tensor in mine.items():
                tensor.copy_(tensors[name])
        else:
            self.counts.zero_()
            for count in Count:
                self.counts[-1, count] = getattr(progress, count.name.lower())

    def note_restart(self) -> None:
        """A process died and is started again."""
        self.restarts += 1

    def note_restored(self) -> None:
        """The shared model was damaged and restored."""
        self.restored += 1

    def set_phase_seconds(self, worker: int, seconds: Sequence[float]) -> None:
        """Where a worker's time went, in the order of `Phase`."""
        self.phase_seconds[worker] = torch.tensor(seconds)

    def note_episode(self, worker: int, stage: str, outcome: str, progress: int) -> None:
        """Enter a finished training episode into a worker's statistics of its stage; the minus world has none."""
        if stage not in STAGE_INDEX:
            return
        row = self.stages[worker, STAGE_INDEX[stage]]
        cleared = outcome == Outcome.CLEARED
        weight = MOVING_AVERAGE_WEIGHT if row[StageCount.EPISODES] else 1.0
        row[StageCount.EPISODES] += 1
        row[StageCount.CLEARED] += cleared
        row[StageCount.FURTHEST] = max(float(row[StageCount.FURTHEST]), progress)
        row[StageCount.MEAN_PROGRESS] += weight * (progress - float(row[StageCount.MEAN_PROGRESS]))
        row[StageCount.CLEAR_RATE] += weight * (cleared - float(row[StageCount.CLEAR_RATE]))
