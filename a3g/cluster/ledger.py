"""What all machines of a training have counted, those that have left included, entered into the run's own counters."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from a3g.cluster.reports import MachineReport, combine_stages, empty_report
from a3g.processes.counters import Count, RunCounters
from a3g.reporting.metrics_registry import combine

# A machine that joins gets the lowest number that is free.
MAX_MACHINES = 1_000
BYTES_SECONDS = 5.0


class Ledger:
    """The first row of the run's counters holds the machines' sums; the last one what the run counted without a cluster."""

    def __init__(self, counters: RunCounters, machine_counts: Tensor | None) -> None:
        """
        Args:
            counters: of the run, as they were loaded from its checkpoint.
            machine_counts: of that checkpoint, int64 (MAX_MACHINES, len(Count)); None if there are none.
        """
        self._counters = counters
        self.machine_counts = torch.zeros(MAX_MACHINES, len(Count), dtype=torch.int64)
        """What each machine number has counted over all its starts."""
        if machine_counts is not None:
            self.machine_counts.copy_(machine_counts)
        before = counters.counts.sum(0)
        counters.counts.zero_()
        counters.counts[-1] = before - self.machine_counts.sum(0)
        counters.counts[0] = self.machine_counts.sum(0)
        counters.metrics.values[1:] = float("nan")  # of workers that this machine does not have any more
        self._stages_before = combine_stages(counters.stages.numpy())
        counters.stages.zero_()
        counters.stages[0] = torch.from_numpy(self._stages_before)
        self._reports: dict[int, MachineReport] = {}
        self._base: dict[int, Tensor] = {}
        self._bytes: tuple[float, int, int] | None = None

    def join(self, machine: int) -> None:
        """A machine is started under this number."""
        self._reports[machine], self._base[machine] = empty_report(), self.machine_counts[machine].clone()

    def leave(self, machine: int) -> None:
        """It has ended, in whatever way."""
        report = self._reports.pop(machine)
        self._stages_before = combine_stages(np.stack((self._stages_before, report.stages)))

    def enter(self, machine: int, report: MachineReport) -> None:
        """A machine has reported."""
        before, self._reports[machine] = self._reports[machine], report
        for _ in range(report.restarts - before.restarts):
            self._counters.note_restart()
        self.machine_counts[machine] = self._base[machine] + torch.from_numpy(report.counts.copy())
        if report.seconds and not self._counters.started[0]:
            self._counters.started[0] = time.monotonic() - report.seconds

    def has_worked(self, machine: int) -> bool:
        """Whether it has learnt anything since it was started."""
        return bool(self._reports[machine].counts[Count.UPDATES])

    def agent_steps(self, machine: int) -> int:
        """What a machine has played since it was started."""
        return int(self._reports[machine].counts[Count.AGENT_STEPS])

    def publish(self) -> None:
        """Bring the run's counters up to date."""
        counters, reports = self._counters, list(self._reports.values())
        counters.counts[0] = self.machine_counts.sum(0)
        stages = combine_stages(np.stack((self._stages_before, *(report.stages for report in reports))))
        counters.stages[0] = torch.from_numpy(stages)
        if reports:
            counters.phase_seconds[0] = torch.from_numpy(sum((report.phase_seconds for report in reports), start=np.zeros(1)))
        names = {name for report in reports for name in report.metrics}
        metrics = {name: combine(name, [value for each in reports for value in each.metrics.get(name, ())]) for name in names}
        metrics["machines"] = float(len(reports))
        working = [report for report in reports if report.exchanges]
        if working:
            metrics["server_staleness"] = sum(report.staleness for report in working) / len(working)
            metrics["exchange_seconds"] = sum(report.exchange_seconds for report in working) / len(working)
        counters.metrics.write(0, metrics)

    def note_bytes(self, now: float, received: int, sent: int) -> None:
        """What the server has received and sent so far, in bytes; its rate becomes a metric."""
        before = self._bytes
        if before is None or received < before[1] or sent < before[2]:  # the first time, or after the server was restored
            self._bytes = (now, received, sent)
        elif now - before[0] >= BYTES_SECONDS:
            seconds = now - before[0]
            rates = {"server_received": (received - before[1]) / seconds, "server_sent": (sent - before[2]) / seconds}
            self._counters.metrics.write(0, rates)
            self._bytes = (now, received, sent)

    def tensors(self) -> Mapping[str, Tensor]:
        """What belongs in a checkpoint, by its names there."""
        return {"server.machine_counts": self.machine_counts}
