"""What the trainings of a sweep have reached: one table, for people and as CSV, and one picture."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from a3g.cluster.sweep import Sweep, state_names
from a3g.cluster.sweep_config import SweepTask
from a3g.errors import UserError
from a3g.files import write_atomically
from a3g.reporting.say import say
from a3g.runs.history import read_history
from a3g.runs.paths import HISTORY_NAME, SCORECARD_NAME, SUMMARY_NAME

TABLE_NAME = "sweep.csv"
PICTURE_NAME = "sweep.png"
_COLUMNS = ("clear_rate", "episodes", "progress", "agent_steps", "hours", "starts")


def collect(sweep: Sweep) -> None:
    """Print the table, and write table and picture into the sweep's folder.

    Raises:
        UserError: if the folder can't be written into.
    """
    rows = [_row(sweep, task, state) for task, state in zip(sweep.tasks, state_names(sweep).values(), strict=True)]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    table = Table(title=f"{len(rows)} trainings in {sweep.folder}", box=SIMPLE)
    for name in rows[0]:
        table.add_column(name.replace("_", " "), justify="right" if name in _COLUMNS else "left")
    for row in rows:
        table.add_row(*(_shown(value) for value in row.values()))
    Console().print(table)
    try:
        write_atomically(sweep.folder / TABLE_NAME, text.getvalue().encode())
        drawn = _draw(sweep, sweep.folder / PICTURE_NAME)
    except OSError as error:
        raise UserError(f"Can't write into the sweep's folder {sweep.folder}: {error.strerror}.") from error
    say(f"table: {sweep.folder / TABLE_NAME}")
    say(f"picture: {sweep.folder / PICTURE_NAME}" if drawn else "No test has ended yet: there is nothing to draw.")


def _row(sweep: Sweep, task: SweepTask, state: str) -> dict[str, Any]:
    """A training's line; what it has not reached yet is None.

    The score is that of its best weights, over all stages that it was tested on.
    """
    folder = sweep.folder / task.name
    summary, scorecard = _read(folder / SUMMARY_NAME), _read(folder / SCORECARD_NAME)
    best = scorecard.get("best") or {}
    stages = best.get("stages") or {}
    seconds = summary.get("seconds")
    return {
        **({"stage": task.stage} if task.stage else {}),
        **task.settings,
        "seed": task.seed,
        "state": state,
        "clear_rate": best.get("mean_clear_rate"),
        "episodes": sum(stage["episodes"] for stage in stages.values()) or None,
        "progress": best.get("mean_progress"),
        "agent_steps": summary.get("agent_steps"),
        "hours": seconds / 3600 if seconds is not None else None,
        "starts": sweep.states()[task.name].starts,
    }


def _read(path: Path) -> dict[str, Any]:
    """A JSON object; empty if it isn't there yet."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _draw(sweep: Sweep, picture: Path) -> bool:
    """A panel for each stage, a colour for each setting, a line for each seed: the share of test episodes cleared.

    Returns:
        whether there was anything to draw
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import EngFormatter, PercentFormatter

    histories = {}
    for task in sweep.tasks:
        path = sweep.folder / task.name / HISTORY_NAME
        if path.exists() and (entries := read_history(path)):
            histories[task.name] = entries
    if not histories:
        return False
    stages = list(dict.fromkeys(task.stage for task in sweep.tasks))
    settings = list(dict.fromkeys(_label(task) for task in sweep.tasks))
    columns = min(4, len(stages))
    lines = math.ceil(len(stages) / columns)
    size = (max(6.0, 4.0 * columns), 3.2 * lines + 0.6)
    figure, axes = pyplot.subplots(lines, columns, figsize=size, squeeze=False, sharey=True, layout="constrained")
    colours = pyplot.get_cmap("tab10") if len(settings) <= 10 else pyplot.get_cmap("viridis", len(settings))
    for panel, stage in zip(axes.flat, stages, strict=False):
        labelled = set()
        for task in sweep.tasks:
            if task.stage != stage or task.name not in histories:
                continue
            label = _label(task)
            steps = [entry.agent_steps for entry in histories[task.name]]
            rates = [entry.mean_clear_rate for entry in histories[task.name]]
            shown = None if label in labelled else label or None
            labelled.add(label)
            panel.plot(steps, rates, color=colours(settings.index(label)), marker=".", linewidth=1.2, label=shown)
        panel.set_title(stage or "all stages that are played")
        panel.set_ylim(-0.03, 1.03)
        panel.yaxis.set_major_formatter(PercentFormatter(1.0))
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))
        panel.grid(alpha=0.3)
        if labelled - {""}:
            panel.legend(fontsize="small")
    for panel in axes.flat[len(stages) :]:
        panel.set_visible(False)
    figure.supxlabel("agent steps")
    figure.supylabel("test episodes cleared")
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=120)
    pyplot.close(figure)
    write_atomically(picture, data.getvalue())
    return True


def _label(task: SweepTask) -> str:
    return ", ".join(f"{name} {value}" for name, value in task.settings.items())
