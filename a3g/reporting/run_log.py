"""train.log in a run's folder: a table that grows by a line every few seconds, and what happened in between."""

from __future__ import annotations

import time
from pathlib import Path

from a3g.files import append
from a3g.reporting.live_table import clock, format_metric
from a3g.reporting.metrics_registry import metric
from a3g.reporting.status import RunStatus

LOG_NAME = "train.log"
_METRICS = ("mean_return", "mean_length", "entropy", "epsilon", "q_value", "gradient_norm")
_WIDTH = 12


class RunLog:
    """Appends lines to train.log; no file is kept open, and each line is written as a whole or not at all."""

    def __init__(self, folder: Path, title: str) -> None:
        """
        Args:
            folder: the run's folder; a log there is continued.
            title: what each start of the run begins with.
        """
        self._path, self._title = folder / LOG_NAME, title
        self._headings: tuple[str, ...] = ()

    def add(self, status: RunStatus, steps_per_second: float | None) -> None:
        """Add a line of the table, under its headings when they have changed.

        Raises:
            OSError: if it can't be written.
        """
        cells = dict(_cells(status, steps_per_second))
        lines = [] if self._headings else [f"# {time.strftime('%Y-%m-%d %H:%M:%S')} {self._title}"]
        if tuple(cells) != self._headings:
            lines.append("".join(f"{heading:>{_WIDTH}}" for heading in cells))
        lines.append("".join(f"{value:>{_WIDTH}}" for value in cells.values()))
        self._append(lines)
        self._headings = tuple(cells)

    def note(self, message: str) -> None:
        """Add what happened.

        Raises:
            OSError: if it can't be written.
        """
        self._append([f"# {time.strftime('%H:%M:%S')} {message}"])

    def _append(self, lines: list[str]) -> None:
        append(self._path, "".join(f"{line}\n" for line in lines).encode(errors="backslashreplace"))


def _cells(status: RunStatus, steps_per_second: float | None) -> list[tuple[str, str]]:
    """Headings and values of a line."""
    stages = status.stages
    trained, tested = [each for each in stages if each.episodes], [each for each in stages if each.tested]
    return [
        ("time", clock(status.seconds)),
        ("agent steps", f"{status.agent_steps:,}"),
        ("steps/s", "-" if steps_per_second is None else f"{steps_per_second:,.0f}"),
        ("updates", f"{status.updates:,}"),
        ("episodes", f"{status.episodes:,}"),
        *((metric(n).heading, format_metric(metric(n), status.metrics[n])) for n in _METRICS if n in status.metrics),
        ("mean x", f"{sum(each.mean_progress for each in trained) / len(trained):,.0f}" if trained else "-"),
        ("clears", f"{sum(each.clear_rate for each in trained) / len(trained):.1%}" if trained else "-"),
        ("tests", f"{status.tests}"),
        ("test clears", f"{sum(each.test_clear_rate for each in tested) / len(tested):.1%}" if tested else "-"),
        ("best clears", f"{sum(each.best_clears for each in stages)} of {len(tested)}" if tested else "-"),
    ]
