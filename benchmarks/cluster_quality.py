"""Whether a training on several machines learns as well as one on a single machine, and which rule learns best.

    python -m benchmarks.cluster_quality --json FILE

With each seed, as many workers play as many agent steps of 1-1 under the ordinary launcher and, for every rule, on real Ray
nodes on this machine, a worker each, by turns. What counts is the share of training episodes that clear the stage, and how
far they come, both as moving averages at the end; and their means over the second half, which depend less on the last moment.
"""

from __future__ import annotations

import json
import os
import shlex
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import tyro

from benchmarks.training_run import TrainingRun, machine, train
from tests.ray_nodes import ENVIRONMENT, Nodes

mpl.use("Agg")
from matplotlib import pyplot

CURVES = {"train_clear_rate": "share of training episodes cleared", "train_progress": "pixels of new ground per episode"}
ALONE = "one machine"
STAGE = "1-1"


@dataclass(frozen=True)
class Options:
    """Compare trainings on one machine and on several."""

    flags: str = "--preset quick-expert --test-interval 100000"
    """Flags of main.py for all, in one string."""
    nodes: int = 2
    """Ray nodes, and workers altogether."""
    rules: tuple[str, ...] = ("additive", "easgd")
    agent_steps: int = 400_000
    updates: int = 8
    """--cluster-updates."""
    seeds: tuple[int, ...] = (1, 2, 3)
    log_dir: Path = Path("logs/cluster-quality")
    """Folder of the runs. Those that are there are not made again."""
    json: Path | None = None
    """Write the figures here."""
    picture: Path = Path("docs/cluster_quality.png")
    """File to draw."""


def run_of(kind: str, seed: int, options: Options) -> TrainingRun:
    """A run, made now or earlier."""
    name = f"{kind.replace(' ', '-')}_seed{seed}"
    summary = options.log_dir / name / "summary.json"
    if summary.exists():
        return TrainingRun(summary.parent, json.loads(summary.read_text()))
    flags = [*shlex.split(options.flags), "--env", f"SuperMarioBros-{STAGE}-v0", "--seed", str(seed)]
    flags += ["--total-steps", str(options.agent_steps)]
    folder = options.log_dir.absolute()
    if kind == ALONE:
        return train(folder, name, [*flags, "--workers", str(options.nodes)])
    with Nodes(cpus=1) as nodes:
        for _ in range(options.nodes - 1):
            nodes.add()
        more = ["--workers", "1", "--cluster", nodes.address, "--cluster-rule", kind, "--cluster-updates", str(options.updates)]
        return train(folder, name, [*flags, *more])


def described(kind: str, seed: int, run: TrainingRun) -> dict[str, Any]:
    """What counts of a run."""
    curves = {name: run.curve(f"{name}/{STAGE}") for name in CURVES}
    half = run.summary["agent_steps"] / 2
    found = {
        "kind": kind,
        "seed": seed,
        "agent_steps": run.summary["agent_steps"],
        "seconds": run.summary["seconds"],
        "curves": curves,
    }
    for name, points in curves.items():
        found[f"{name} at the end"] = points[-1][2] if points else 0.0
        found[f"{name} in the second half"] = statistics.mean([value for steps, _, value in points if steps >= half] or [0.0])
    if kind != ALONE:
        found["staleness"] = statistics.median([value for _, _, value in run.curve("cluster/staleness")] or [0.0])
    return found


def draw(runs: list[dict[str, Any]], title: str, picture: Path) -> None:
    """Both curves by agent steps, one colour a kind."""
    figure, axes = pyplot.subplots(1, len(CURVES), figsize=(12, 4.5), constrained_layout=True)
    kinds = list(dict.fromkeys(run["kind"] for run in runs))
    for axis, (name, heading) in zip(axes, CURVES.items(), strict=True):
        for run in runs:
            points = run["curves"][name]
            label = run["kind"] if run["seed"] == runs[0]["seed"] else None
            colour = f"C{kinds.index(run['kind'])}"
            axis.plot([steps / 1000 for steps, _, _ in points], [value for _, _, value in points], color=colour, label=label)
        axis.set(xlabel="agent steps (thousands)", title=f"{STAGE}: {heading}")
        axis.grid(alpha=0.3)
        axis.set_ylim(bottom=0)
    axes[0].legend()
    figure.suptitle(title, fontsize=9)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)
    print(f"picture: {picture}")


def main() -> None:
    options = tyro.cli(Options)
    os.environ.update(ENVIRONMENT)
    runs = []
    for seed in options.seeds:
        for kind in (ALONE, *options.rules):
            runs.append(described(kind, seed, run_of(kind, seed, options)))
            shown = {name: value for name, value in runs[-1].items() if name != "curves"}
            print(json.dumps(shown), flush=True)
    columns = [f"{name} in the second half" for name in CURVES]
    for kind in (ALONE, *options.rules):
        of_kind = [run for run in runs if run["kind"] == kind]
        cells = [f"{statistics.mean(run[column] for run in of_kind):.3g} {column}" for column in columns]
        print(f"{kind}: {', '.join(cells)} (means of {len(of_kind)} seeds)")
    if options.json is not None:
        settings = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(options).items()}
        options.json.write_text(json.dumps({"machine": machine(), "options": settings, "runs": runs}) + "\n")
    draw(runs, f"{machine()}; {options.flags}; {options.nodes} workers together", options.picture)


if __name__ == "__main__":
    main()
