"""What a campaign reached, drawn from the tests of its runs: `python -m benchmarks.campaign_plot --help`.

Reads the history.csv that every run writes into its folder, one line for each test.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import matplotlib as mpl
import tyro

from a3g.errors import UserError
from a3g.runs.history import HistoryEntry, read_history
from a3g.runs.paths import HISTORY_NAME

mpl.use("Agg")
from matplotlib import pyplot


@dataclass(frozen=True)
class Options:
    """Draw stages cleared and mean clear rate of runs against agent steps and hours of training."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """A run's folder or its history.csv, or LABEL=PATH. Runs of the same label are drawn as one curve, each from where the one
    before it ended."""
    picture: Path = Path("docs/campaign.png")
    """File to write."""


def main() -> int:
    options = tyro.cli(Options)
    curves: dict[str, list[HistoryEntry]] = {}
    for run in options.runs:
        label, _, name = run.rpartition("=")
        path = Path(name) / HISTORY_NAME if Path(name).is_dir() else Path(name)
        label = label or path.absolute().parent.name
        curves[label] = joined(curves.get(label, []), read_history(path))
    draw(curves, options.picture)
    for label, entries in curves.items():
        print(f"{label}: {describe(entries)}")
    print(f"picture: {options.picture}")
    return 0


def joined(before: list[HistoryEntry], after: list[HistoryEntry]) -> list[HistoryEntry]:
    """Two runs of which the second began with what the first had learned: its steps and hours come on top."""
    if not before:
        return after
    steps, hours = before[-1].agent_steps, before[-1].hours
    return before + [replace(each, agent_steps=steps + each.agent_steps, hours=hours + each.hours) for each in after]


def describe(entries: list[HistoryEntry]) -> str:
    """The best test and the newest one, in a sentence."""
    if not entries:
        return "no tests"
    best, last = max(entries, key=lambda each: (each.stages_cleared, each.mean_clear_rate)), entries[-1]
    return (
        f"{len(entries)} tests; best {best.stages_cleared} stages cleared, mean clear rate {best.mean_clear_rate:.1%}, after "
        f"{best.agent_steps:,} agent steps; newest {last.stages_cleared} and {last.mean_clear_rate:.1%}, after "
        f"{last.agent_steps:,} agent steps and {last.hours:.2f} hours"
    )


def draw(curves: dict[str, list[HistoryEntry]], picture: Path) -> None:
    """
    Args:
        curves: tests by their labels.
        picture: file to write; the folder is made.
    """
    figure, axes = pyplot.subplots(2, 2, figsize=(11, 7), sharex="col", constrained_layout=True)
    for label, entries in curves.items():
        for column, times in enumerate(([each.agent_steps / 1e6 for each in entries], [each.hours for each in entries])):
            axes[0, column].plot(times, [each.stages_cleared for each in entries], ".-", label=label)
            axes[1, column].plot(times, [100 * each.mean_clear_rate for each in entries], ".-", label=label)
    for column, unit in enumerate(("agent steps (millions)", "hours of training")):
        axes[0, column].set(ylabel="stages cleared")
        axes[1, column].set(ylabel="mean clear rate (%)", xlabel=unit, ylim=(0, 102))
        axes[0, column].set_ylim(bottom=0)
        axes[0, column].yaxis.get_major_locator().set_params(integer=True)
        for axis in axes[:, column]:
            axis.grid(alpha=0.3)
            axis.set_xlim(left=0)
    if curves:
        axes[0, 0].legend()
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"campaign_plot.py: {error}", file=sys.stderr)
        sys.exit(2)
