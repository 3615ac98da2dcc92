"""A run's curves as a picture, curves.png in its folder, redrawn while it goes on; and several runs in one picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from a3g.files import write_atomically
from a3g.reporting.live_table import clock
from a3g.reporting.metrics_reader import Curve, Curves
from a3g.reporting.metrics_registry import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVES_NAME = "curves.png"
_COLUMNS = 4
_MOST_PANELS = 16
# More stages than this are told apart by nothing but their mean.
_MOST_LABELLED_STAGES = 6
# A picture of this width shows no more; each point drawn is the mean of its neighbours.
_MOST_POINTS = 600
_MOST_TICKS = 6
_DPI = 100
# What is compared between runs: heading and where it comes from, /* being the mean over stages.
_COMPARED = {
    "clear rate in training": "train_clear_rate/*",
    "clear rate in tests": "test_clear_rate/*",
    "pixels of new ground in training": "train_progress/*",
    "return": "train/mean_return",
}
_FIXED = {
    "clear rate in training": "train_clear_rate",
    "clear rate in tests": "test_clear_rate",
    "pixels of new ground": "train_progress",
}
_NAMED = {
    "return": "train/mean_return",
    "episode length (agent steps)": "train/mean_length",
    "agent steps/s": "train/agent_steps_per_second",
}


def draw_run(curves: Curves, title: str, path: Path) -> None:
    """Draw a run's curves against agent steps and replace the picture at `path` as a whole.

    Args:
        curves: of the run; without any, the picture says so.
        title: above the picture.

    Raises:
        OSError: if it can't be written; the picture that was there stays.
    """
    panels: list[tuple[str, Mapping[str, Curve]]] = []
    for heading, kind in _FIXED.items():
        stages = curves.of_stages(kind)
        if stages:
            mean = {"mean": curves.mean_over_stages(kind)} if len(stages) > 1 else {}
            panels.append((heading, {**stages, **mean}))
    others = {heading: name for heading, name in _NAMED.items() if name in curves.by_name}
    declared = [metric.curve_name for metric in METRICS.values()]
    learning = [name for name in curves.by_name if name.startswith("learn/")]
    learning.sort(key=lambda name: (declared.index(name) if name in declared else len(declared), name))
    varying = [name for name in learning if len(set(curves.by_name[name].values)) > 1]
    others |= {name.removeprefix("learn/").replace("_", " "): name for name in varying}
    panels += [(heading, {"": curves.by_name[name]}) for heading, name in others.items()]
    panels = panels[:_MOST_PANELS]

    rows = max(1, -(-len(panels) // _COLUMNS))
    figure, axes = _figure(rows, _COLUMNS, title)
    for axis, (heading, drawn) in zip(axes, panels, strict=False):
        if heading in _FIXED:
            _draw_stages(axis, drawn)
        else:
            _draw_line(axis, drawn[""], "agent_steps")
        axis.set_title(heading, fontsize=9)
        if heading.startswith("clear rate"):
            axis.set_ylim(-0.02, 1.02)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    if not panels:
        axes[0].text(0, 0.5, "no curves yet")
    _write(figure, path)


def draw_comparison(runs: Mapping[str, Curves], path: Path) -> None:
    """Draw several runs in one picture: a row for each number, by agent steps on the left, by time on the right.

    Args:
        runs: by their labels.

    Raises:
        OSError: if the picture can't be written.
    """
    rows = {
        heading: drawn
        for heading, source in _COMPARED.items()
        if (drawn := {label: found for label, curves in runs.items() if (found := _compared_curve(curves, source)).values})
    }
    figure, axes = _figure(max(len(rows), 1), 2, "")
    for row, (heading, drawn) in enumerate(rows.items()):
        for axis, along in ((axes[2 * row], "agent_steps"), (axes[2 * row + 1], "seconds")):
            for i, label in enumerate(runs):
                if label in drawn:
                    _draw_line(
                        axis, drawn[label], along, label=label, color=f"C{i % 10}", linestyle=("-", "--", ":")[i // 10 % 3]
                    )
            axis.set_title(heading, fontsize=9)
            if heading.startswith("clear rate"):
                axis.set_ylim(-0.02, 1.02)
    axes[0].legend(fontsize=8, loc="upper left")
    _write(figure, path)


def _compared_curve(curves: Curves, source: str) -> Curve:
    if source.endswith("/*"):
        return curves.mean_over_stages(source.removesuffix("/*"))
    return curves.by_name.get(source, Curve())


def _draw_stages(axis: Axes, drawn: Mapping[str, Curve]) -> None:
    few = len(drawn) - 1 <= _MOST_LABELLED_STAGES
    for name, curve in drawn.items():
        if name == "mean":
            _draw_line(axis, curve, "agent_steps", label="mean", color="black", linewidth=2)
        elif few:
            _draw_line(axis, curve, "agent_steps", label=name)
        else:
            _draw_line(axis, curve, "agent_steps", color="C0", alpha=0.3, linewidth=0.7)
    axis.legend(fontsize=7, loc="upper left")  # not "best": finding that place takes seconds


def _draw_line(axis: Axes, curve: Curve, along: str, **style: Any) -> None:
    """Draw a curve against agent steps, or against time."""
    from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator

    by_steps = along == "agent_steps"
    times = np.asarray(curve.agent_steps if by_steps else curve.seconds, np.float64)
    axis.set_xlabel("agent steps" if by_steps else "time (h:mm:ss)", fontsize=8)
    axis.xaxis.set_major_locator(MaxNLocator(_MOST_TICKS))
    axis.xaxis.set_major_formatter(EngFormatter(sep="") if by_steps else FuncFormatter(lambda seconds, _: clock(seconds)))
    style = {"linewidth": 1.2, "marker": "." if len(times) == 1 else "", **style}  # a single point is no line
    axis.plot(_thinned(times), _thinned(np.asarray(curve.values, np.float64)), **style)


def _thinned(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """At most _MOST_POINTS values, each the mean of its neighbours."""
    parts = np.array_split(values, _MOST_POINTS) if len(values) > _MOST_POINTS else None
    return values if parts is None else np.array([part.mean() for part in parts])


def _figure(rows: int, columns: int, title: str) -> tuple[Figure, Sequence[Axes]]:
    # Not pyplot: it keeps figures, and chooses a window system.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * columns if columns > 2 else 5.5 * columns, 2.5 * rows + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = [axis for row in figure.subplots(rows, columns, squeeze=False) for axis in row]
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=7)
    if title:
        figure.suptitle(title, fontsize=10)
    return figure, axes


def _write(figure: Figure, path: Path) -> None:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=_DPI)
    write_atomically(path, picture.getvalue())
