"""What lock-free learning costs: staleness, races and speed with 1, 2, 4, … workers, with and without a lock.

    python benchmarks/staleness.py --json FILE --picture docs/staleness.png

Each run learns stage 1-1 for the same number of agent steps. The picture shows how far episodes come against agent steps,
how old the weights are that gradients are applied to (updates of other workers in between), and the speed.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import tyro

from benchmarks.training_run import TrainingRun, machine, train

mpl.use("Agg")
from matplotlib import pyplot

STAGE = "1-1"


@dataclass(frozen=True)
class Options:
    """Measure what lock-free learning costs."""

    workers: tuple[int, ...] = (1, 2, 4)
    """Numbers of workers; more than the machine has cores take turns on them."""
    seeds: tuple[int, ...] = (1, 2)
    flags: str = "--preset quick"
    """Flags of main.py, in one string."""
    total_steps: int = 300_000
    """Agent steps of each run."""
    log_dir: Path | None = None
    """Keep the runs here; those that are there already, made with the same flags, are not made again."""
    json: Path | None = None
    """Write the figures here."""
    picture: Path | None = None
    """Draw them here."""


def run_one(workers: int, lock: bool, seed: int, options: Options, folder: Path) -> TrainingRun:
    name = f"{workers}workers_{'lock' if lock else 'hogwild'}_seed{seed}"
    summary, asked = folder / name / "summary.json", folder / f"{name}.flags"
    flags = [*options.flags.split(), "--env", f"SuperMarioBros-{STAGE}-v0", "--workers", str(workers), "--seed", str(seed)]
    flags += ["--total-steps", str(options.total_steps), "--test-interval", "600"]
    flags += ["--no-hogwild"] if lock else []
    if summary.exists() and asked.read_text().split() == flags:
        return TrainingRun(folder / name, json.loads(summary.read_text()))
    folder.mkdir(parents=True, exist_ok=True)
    asked.write_text(" ".join(flags))
    return train(folder, name, flags)


def figures_of(run: TrainingRun) -> dict[str, float]:
    """One run in numbers; progress is the mean over its last quarter."""
    progress = [value for steps, _, value in run.curve(f"train_progress/{STAGE}") if steps > 0.75 * run.summary["agent_steps"]]
    return {
        "agent_steps_per_second": run.agent_steps_per_second,
        "staleness": run.last("learn/staleness"),
        "synchronising": run.phase_shares()["synchronising"],
        "progress": statistics.mean(progress),
    }


def count(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' if number != 1 else ''}"


def draw(runs: dict[tuple[int, bool], list[TrainingRun]], figures: list[dict[str, Any]], picture: Path, title: str) -> None:
    figure, (learning, age, speed) = pyplot.subplots(1, 3, figsize=(14, 4.2), constrained_layout=True)
    numbers = sorted({workers for workers, _ in runs})
    for (workers, lock), each in runs.items():
        curves = [np.array(run.curve(f"train_progress/{STAGE}")) for run in each]
        grid = np.linspace(0, min(curve[-1, 0] for curve in curves), 60)
        mean = np.mean([np.interp(grid, curve[:, 0], curve[:, 2]) for curve in curves], axis=0)
        style = {"color": f"C{numbers.index(workers)}", "linestyle": "--" if lock else "-"}
        learning.plot(grid / 1000, mean, label=f"{count(workers, 'worker')}{', lock' if lock else ''}", **style)
    learning.set(title=f"{STAGE}: pixels of new ground per episode", xlabel="agent steps (thousands)", xlim=0, ylim=0)
    learning.legend(fontsize=8)
    for lock in (False, True):
        chosen = [each for each in figures if each["lock"] == lock]
        label, at = "lock" if lock else "Hogwild", [str(each["workers"]) for each in chosen]
        age.plot(at, [each["staleness"] for each in chosen], "o--" if lock else "o-", label=label)
        speed.plot(at, [each["agent_steps_per_second"] for each in chosen], "o--" if lock else "o-", label=label)
    age.set(title="staleness: updates of others in between", xlabel="workers", ylim=0)
    speed.set(title="agent steps/s", xlabel="workers", ylim=0)
    for axis in (learning, age, speed):
        axis.grid(alpha=0.3)
    age.legend()
    figure.suptitle(title, fontsize=9)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)


def main() -> None:
    options = tyro.cli(Options)
    runs: dict[tuple[int, bool], list[TrainingRun]] = {}
    figures: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.log_dir or Path(temporary)).absolute()
        for workers in options.workers:
            for lock in (False, True) if workers > 1 else (False,):
                each = [run_one(workers, lock, seed, options, folder) for seed in options.seeds]
                runs[workers, lock] = each
                numbers = [figures_of(run) for run in each]
                means = {name: statistics.mean(one[name] for one in numbers) for name in numbers[0]}
                figures.append({"workers": workers, "lock": lock, **means, "runs": numbers})
                how = "lock" if lock else "Hogwild"
                print(
                    f"{count(workers, 'worker')}, {how}: {means['agent_steps_per_second']:,.0f} agent steps/s, "
                    f"{means['staleness']:.2f} updates of others between reading and applying, "
                    f"{means['synchronising']:.1%} of the time synchronising, x {means['progress']:,.0f} in the last quarter",
                    flush=True,
                )
        if options.picture is not None:
            title = f"{options.flags}, {count(len(options.seeds), 'seed')}; {machine()}"
            draw(runs, figures, options.picture, title)
    if options.json is not None:
        options.json.write_text(json.dumps({"machine": machine(), "flags": options.flags, "results": figures}, indent=1))


if __name__ == "__main__":
    main()
