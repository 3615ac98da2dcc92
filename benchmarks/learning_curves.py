"""Learning curves of finished runs as a picture and a table: `python benchmarks/learning_curves.py --help`.

The runs are made by `python main.py --preset … --run-name NAME --seed S --until-cleared …`; this reads their folders.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import matplotlib as mpl
import tyro

from a3g.reporting.metrics import read_curve

mpl.use("Agg")
from matplotlib import pyplot

CURVES = {"train_progress": "pixels of new ground per episode", "train_clear_rate": "share of episodes cleared"}


@dataclass(frozen=True)
class Options:
    """Draw the learning curves of runs."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """LABEL=FOLDER for each run; runs of the same label have the same colour."""
    picture: Path = Path("docs/learning_curves.png")
    """File to write."""
    stage: str = "1-1"
    """The stage whose curves are drawn."""


def main() -> None:
    options = tyro.cli(Options)
    figure, axes = pyplot.subplots(1, len(CURVES), figsize=(11, 4), constrained_layout=True)
    labels = list(dict.fromkeys(run.partition("=")[0] for run in options.runs))
    for run in options.runs:
        label, _, folder = run.partition("=")
        colour = f"C{labels.index(label)}"
        first = run == next(each for each in options.runs if each.startswith(f"{label}="))
        for axis, (curve, title) in zip(axes, CURVES.items(), strict=True):
            points = read_curve(Path(folder), f"{curve}/{options.stage}")
            axis.plot([p[0] / 1000 for p in points], [p[2] for p in points], colour, label=label if first else None, alpha=0.8)
            axis.set(xlabel="agent steps (thousands)", title=f"{options.stage}: {title}")
        summary = json.loads((Path(folder) / "summary.json").read_text())
        minutes = summary["seconds"] / 60
        print(f"{label}: {summary['agent_steps']:,} agent steps, {minutes:.1f} minutes, {summary['exit_reason']}")
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.set_xlim(left=0)
        axis.set_ylim(bottom=0)
    axes[0].legend()
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.picture, dpi=110)
    print(f"picture: {options.picture}")


if __name__ == "__main__":
    main()
