"""What machines and the driver tell each other, and the actor that passes it on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from a3g.processes.counters import STAGE_INDEX, Count, StageCount
from a3g.processes.run_statistics import Run
from a3g.reporting.phases import Phase


@dataclass(frozen=True, slots=True)
class MachineReport:
    """Where a machine stands, since it was started."""

    counts: NDArray[np.int64]
    """(len(Count),): summed over its workers."""
    stages: NDArray[np.float64]
    """(stages, len(StageCount)): its workers' together."""
    metrics: Mapping[str, list[float]]
    """Of its workers, by name."""
    phase_seconds: NDArray[np.float64]
    restarts: int
    seconds: float
    """Since its first worker's first step."""
    staleness: float
    """Moving average of merges of other machines between getting parameters and sending what was learnt with them."""
    exchanges: int
    exchange_seconds: float
    """That the newest one took."""
    messages: list[str] = field(default_factory=list)
    """What happened there since the last report."""


@dataclass(frozen=True, slots=True)
class Directions:
    """What the driver wants of every machine."""

    stop: bool = False
    agent_steps: int = 0
    """Of the whole run, as far as it is known."""


class Coordinator:
    """Keeps the machines' newest reports until the driver takes them. Ray runs it as an actor; nothing here knows Ray."""

    def __init__(self) -> None:
        self._directions = Directions()
        self._reports: dict[str, MachineReport] = {}

    def report(self, machine: str, report: MachineReport) -> Directions:
        """Called by a machine."""
        before = self._reports.get(machine)
        if before is not None:
            report.messages[:0] = before.messages
        self._reports[machine] = report
        return self._directions

    def collect(self, directions: Directions) -> dict[str, MachineReport]:
        """Called by the driver: leave directions, and take the reports that came since the last call."""
        self._directions = directions
        reports, self._reports = self._reports, {}
        return reports


def summarise(run: Run, staleness: float, exchanges: int, exchange_seconds: float, messages: list[str]) -> MachineReport:
    """A report on a machine's run."""
    counters = run.shared.counters
    return MachineReport(
        counts=counters.counts[:-1].sum(0).numpy(),
        stages=combine_stages(counters.stages.numpy()),
        metrics=counters.metrics.by_name(),
        phase_seconds=counters.phase_seconds.sum(0).numpy(),
        restarts=counters.restarts + counters.restored,
        seconds=counters.seconds_since_first_step,
        staleness=staleness,
        exchanges=exchanges,
        exchange_seconds=exchange_seconds,
        messages=messages,
    )


def combine_stages(stages: NDArray[np.float64]) -> NDArray[np.float64]:
    """Statistics of stages, (n, stages, len(StageCount)), as one: sums, maxima, and means weighted by episodes."""
    episodes = stages[:, :, StageCount.EPISODES]
    together = np.zeros(stages.shape[1:])
    together[:, StageCount.EPISODES] = episodes.sum(0)
    together[:, StageCount.CLEARED] = stages[:, :, StageCount.CLEARED].sum(0)
    together[:, StageCount.FURTHEST] = stages[:, :, StageCount.FURTHEST].max(0)
    for mean in (StageCount.MEAN_PROGRESS, StageCount.CLEAR_RATE):
        together[:, mean] = (episodes * stages[:, :, mean]).sum(0) / np.maximum(episodes.sum(0), 1)
    return together


def empty_report() -> MachineReport:
    """Of a machine that has not reported yet."""
    zeros = np.zeros(len(Count), np.int64), np.zeros((len(STAGE_INDEX), len(StageCount)))
    return MachineReport(*zeros, {}, np.zeros(len(Phase)), 0, 0.0, 0.0, 0, 0.0)
