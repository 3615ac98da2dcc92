"""The history of a run's tests: one line each in history.csv, for curves of what a campaign has reached.

The columns are agent_steps (age of the weights tested), hours (of training, when the test began), test_seconds (how long it
took), stages_cleared (stages of which at least `--clear-rate` of the episodes were cleared), mean_clear_rate (over the stages
tested), and every stage's clear rate under its name, empty if the stage was not tested.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from a3g.errors import UserError
from a3g.files import append, looking_into
from a3g.game.stages import STAGES
from a3g.runs.paths import HISTORY_NAME
from a3g.runs.scores import Score

_STAGE_NAMES = tuple(map(str, STAGES))
_COLUMNS = ("agent_steps", "hours", "test_seconds", "stages_cleared", "mean_clear_rate", *_STAGE_NAMES)


@dataclass(frozen=True)
class HistoryEntry:
    """One test."""

    agent_steps: int
    hours: float
    test_seconds: float
    stages_cleared: int
    mean_clear_rate: float
    clear_rates: dict[str, float]
    """By the stages' names, those tested only."""


def history_entry(score: Score, hours: float, test_seconds: float) -> HistoryEntry:
    """
    Args:
        score: of the confirmation, if there was one.
        hours: of training, when the test began.
        test_seconds: how long the test took, its confirmation included.
    """
    rates = {name: stage.clear_rate for name, stage in score.stages.items()}
    return HistoryEntry(score.agent_steps, hours, test_seconds, len(score.stages_passed), score.mean_clear_rate, rates)


def append_to_history(folder: Path, entry: HistoryEntry) -> None:
    """Add a line to a run's history, which is begun if it isn't there.

    Raises:
        OSError: if it can't be written; it is as it was.
    """
    rates = (f"{entry.clear_rates[name]:.6g}" if name in entry.clear_rates else "" for name in _STAGE_NAMES)
    times = (f"{entry.hours:.5f}", f"{entry.test_seconds:.1f}")
    line = (entry.agent_steps, *times, entry.stages_cleared, f"{entry.mean_clear_rate:.6g}", *rates)
    append(folder / HISTORY_NAME, _csv(line), _csv(_COLUMNS))


def read_history(path: Path) -> list[HistoryEntry]:
    """A history file's tests, in the order of their agent steps.

    A run that is resumed from a checkpoint older than its last tests goes back in agent steps: what it had tested beyond
    is not part of the run any more and is left out.

    Raises:
        UserError: if there is no such file, or it is no history.
    """
    entries: list[HistoryEntry] = []
    with looking_into(path):
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise UserError(f"There is no history of tests {path}.") from error
    try:
        for row in csv.DictReader(io.StringIO(content.decode())):
            agent_steps = int(row["agent_steps"])
            while entries and entries[-1].agent_steps >= agent_steps:
                entries.pop()
            values = {name: float(row[name]) for name in ("hours", "test_seconds", "mean_clear_rate")}
            rates = {name: float(row[name]) for name in _STAGE_NAMES if row[name]}
            entries.append(HistoryEntry(agent_steps, stages_cleared=int(row["stages_cleared"]), clear_rates=rates, **values))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"The file {path} is no history of tests, or is damaged.") from error
    return entries


def _csv(row: tuple[object, ...]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerow(row)
    return text.getvalue().encode()
