"""Every preset on one stage from scratch, in one picture: `python -m benchmarks.presets --minutes 60 --seeds 1 2 3`.

Each run is an ordinary `main.py`; its metrics.csv has the curves. What is drawn does not depend on a preset's reward: pixels of
new ground in a training episode, and the share of training episodes that clear the stage, as moving averages. Grey lines are
the means of agents that draw their actions at random. Runs that are already in --log-dir are not made again;
--earlier adds those of another machine.
"""

from __future__ import annotations

import itertools
import json
import math
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import tyro
from gymnasium.vector import AutoresetMode

from a3g.config import TrainConfig
from a3g.game.make import vector_env
from a3g.game.stages import parse_env_id
from a3g.presets import PRESETS, preset_name, preset_values
from a3g.reporting.metrics import CSV_NAME
from benchmarks.training_run import TrainingRun, machine, train

mpl.use("Agg")
from matplotlib import pyplot

CURVES = {
    "train_progress": "pixels of new ground per training episode",
    "train_clear_rate": "share of training episodes cleared",
}
# Not for one stage, one that needs an expert, and one that is far too slow beside the others.
LEFT_OUT = ("expert", "all-stages", "all-stages-ppo", "all-stages-imitation", "quick-student", "original-a3g")
RANDOM_LANES = 16

Points = list[tuple[int, float, float]]
"""Agent steps, seconds, value."""


@dataclass(frozen=True)
class Options:
    """Train presets on one stage and draw their curves."""

    presets: tuple[str, ...] = tuple(name for name in PRESETS if name not in LEFT_OUT)
    """Which; by default all that are for one stage."""
    env: str = "SuperMarioBros-1-1-v0"
    """The stage."""
    minutes: float = 60.0
    """Of each run."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """One run of every preset for each."""
    flags: str = "--test-interval 100000"
    """Further flags of main.py for all runs, as --flags="--lanes 8"; by default there is a single test, which takes hardly any
    time."""
    random_episodes: int = 96
    """Episodes of the agent that acts at random, for each action set."""
    log_dir: Path = Path("logs/presets")
    """Folder of the runs."""
    make_runs: bool = True
    """Make the runs that are not in --log-dir yet; without, they are left out."""
    earlier: Path | None = None
    """A file that --json wrote: its runs are drawn as well where --log-dir has no such run."""
    json: Path | None = None
    """Write the curves here."""
    picture: Path = Path("docs/presets.png")
    """File to draw."""


def run_of(preset: str, seed: int, options: Options) -> TrainingRun | None:
    """A run, made now or earlier; None if it was not made and shall not be."""
    name = f"{preset}_{options.env}_seed{seed}"
    summary = options.log_dir / name / "summary.json"
    if summary.exists():
        return TrainingRun(summary.parent, json.loads(summary.read_text()))
    if not options.make_runs:
        return None
    flags = ["--preset", preset, "--env", options.env, "--seed", str(seed), "--max-minutes", str(options.minutes)]
    return train(options.log_dir.absolute(), name, [*flags, *options.flags.split()])


def random_progress(config: TrainConfig, episodes: int) -> float:
    """Mean pixels of new ground of an agent that takes any action at any time, in the games of a preset."""
    env = vector_env(config.test_stages(), RANDOM_LANES, config.game_options(), seed=1, autoreset_mode=AutoresetMode.NEXT_STEP)
    random = np.random.default_rng(1)
    # As many of each lane: the first that end would be the short ones.
    wanted, ended = math.ceil(episodes / RANDOM_LANES), [list[int]() for _ in range(RANDOM_LANES)]
    env.reset(seed=1)
    while any(len(each) < wanted for each in ended):
        actions = random.integers(config.game_options().num_actions, size=RANDOM_LANES)
        _, _, terminated, truncated, infos = env.step(actions)
        for lane in np.flatnonzero(terminated | truncated):
            ended[lane].append(int(infos["progress"][lane]))
    env.close()
    return statistics.mean(progress for each in ended for progress in each[:wanted])


def measure(options: Options) -> dict[str, Any]:
    """Train all of them, or read what is there."""
    stage = str(parse_env_id(options.env))
    runs: list[dict[str, Any]] = []
    levels: dict[str, float] = {}
    for preset in map(preset_name, options.presets):
        config = TrainConfig().with_values({"env": options.env, **preset_values(preset, options.env)})
        if config.actions not in levels:
            levels[config.actions] = random_progress(config, options.random_episodes)
        for seed in options.seeds:
            run = run_of(preset, seed, options)
            if run is None:
                continue
            has_curves = (run.folder / CSV_NAME).exists()  # not after a few seconds
            curves = {curve: run.curve(f"{curve}/{stage}") if has_curves else [] for curve in CURVES}
            runs.append({"preset": preset, "seed": seed, "actions": config.actions, "summary": run.summary, "curves": curves})
            print(line_of(runs[-1], levels), flush=True)
    runs = _with_earlier(runs, options.earlier, levels)
    described = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(options).items()}
    return {"machine": machine(), "stage": stage, "options": described, "random": levels, "runs": runs}


def _with_earlier(runs: list[dict[str, Any]], earlier: Path | None, levels: dict[str, float]) -> list[dict[str, Any]]:
    """With the runs of an earlier file that are not among them, in the presets' order."""
    made = {(run["preset"], run["seed"]) for run in runs}
    known = json.loads(earlier.read_text())["runs"] if earlier else []
    others = [run for run in known if (run["preset"], run["seed"]) not in made]
    for run in others:
        print(line_of(run, levels))
    order = list(PRESETS)
    return sorted([*runs, *others], key=lambda run: (order.index(run["preset"]), run["seed"]))


def last_quarter(points: Points) -> float:
    """Mean of a curve over the last quarter of its agent steps: its newest point is the mean of only some 20 episodes."""
    return statistics.mean(value for steps, _, value in points if steps >= 0.75 * points[-1][0]) if points else 0.0


def line_of(run: dict[str, Any], levels: dict[str, float]) -> str:
    """A row of the table that is printed, about the last quarter of a run."""
    summary, level = run["summary"], levels[run["actions"]]
    last = {curve: last_quarter(points) for curve, points in run["curves"].items()}
    progress, minutes = last["train_progress"], summary["seconds"] / 60
    return (
        f"{run['preset']:>12} seed {run['seed']}: {summary['agent_steps']:>9,} agent steps in {minutes:5.1f} minutes, "
        f"{progress:5.0f} pixels ({progress / level:.1f} times a random agent's {level:.0f}), "
        f"{last['train_clear_rate']:4.0%} cleared"
    )


def draw(measured: dict[str, Any], picture: Path) -> None:
    """Both curves by agent steps and by minutes, one colour a preset."""
    figure, axes = pyplot.subplots(len(CURVES), 2, figsize=(12, 8), constrained_layout=True, sharey="row")
    presets = list(dict.fromkeys(run["preset"] for run in measured["runs"]))
    named = set[str]()
    for row, (curve, title) in zip(axes, CURVES.items(), strict=True):
        for run in measured["runs"]:
            points: Points = run["curves"][curve]
            label = None if run["preset"] in named else run["preset"]
            named.add(run["preset"])
            style: dict[str, Any] = {"color": f"C{presets.index(run['preset'])}", "alpha": 0.8, "linewidth": 1.2}
            values = [value for _, _, value in points]
            marker = "." if len(points) == 1 else None
            row[0].plot([steps / 1000 for steps, _, _ in points], values, label=label, marker=marker, **style)
            row[1].plot([seconds / 60 for _, seconds, _ in points], values, marker=marker, **style)
        if curve == "train_progress":
            for (actions, level), line in zip(measured["random"].items(), itertools.cycle(("--", ":", "-."))):
                for axis in row:
                    axis.axhline(level, color="grey", linestyle=line, linewidth=1, label=f"random actions, {actions}")
        for axis, unit in zip(row, ("agent steps (thousands)", "minutes"), strict=True):
            axis.set(xlabel=unit, title=f"{measured['stage']}: {title}")
            axis.grid(alpha=0.3)
            axis.set_xlim(left=0)
            axis.set_ylim(bottom=0)
    # Below on the right there is most room: few presets clear anything.
    axes[1][1].legend(*axes[0][0].get_legend_handles_labels(), fontsize=8, loc="upper right")
    figure.suptitle(measured["machine"], fontsize=9)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)
    print(f"picture: {picture}")


def main() -> None:
    options = tyro.cli(Options)
    measured = measure(options)
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(measured) + "\n")
    draw(measured, options.picture)


if __name__ == "__main__":
    main()
