"""What each part of the recipe for all stages brings: `python -m benchmarks.ablation --help`, or `make ablation`.

Four stages of different kinds, the same agent steps for every variant: the recipe spends some on the expert, some on the model
that learns from it; what does without an expert spends all on the model. Each result is 10% sticky actions, greedy play.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import tyro

from a3g.config import TrainConfig
from a3g.exploration.demonstrations import load_demonstrations
from a3g.exploration.games import Games, replay
from a3g.game.stages import Stage, env_id_of
from a3g.runs.paths import checkpoints_in
from benchmarks.training_run import ROOT, machine, train

mpl.use("Agg")
from matplotlib import pyplot

VARIANTS = {
    "the recipe": (),
    "without demonstration starts": ("--starts", "stage"),
    "with demonstration starts for the expert alone": ("--starts", "stage"),
    "without adaptive sampling": ("--stage-sampling", "uniform"),
    "without the buttons in the pictures": ("--no-show-buttons",),
    "without the expert and imitation: PPO": ("--preset", "all-stages-ppo"),
    "without the expert: imitation of demonstrations": ("--preset", "all-stages-imitation", "--taught-steps", "0"),
    "without the expert: with a planner as teacher": ("--preset", "all-stages-imitation"),
}
SAME_EXPERT = {
    "with demonstration starts for the expert alone": "the recipe",
    "without the buttons in the pictures": "the recipe",
}
"""Who learns from another variant's expert."""


@dataclass(frozen=True)
class Options:
    """Train variants of the recipe on some stages, play them, and draw how far they come."""

    stages: tuple[str, ...] = ("1-1", "2-2", "4-4", "1-3")
    """Ground, water, a castle with a maze, platforms."""
    variants: tuple[str, ...] = tuple(VARIANTS)
    """Names of those to train, as in the picture."""
    seeds: tuple[int, ...] = (1, 2)
    workers: int = 1
    """Workers of each run. With one each, a process for each seed uses as many cores, and wastes less of them."""
    expert_steps: int = 1_000_000
    """Agent steps of the expert, from maps."""
    model_steps: int = 250_000
    """Agent steps of the model, from pictures."""
    episodes: int = 25
    """Played of each stage at the end."""
    log_dir: Path = Path("logs/ablation")
    """Folder of the runs' folders; finished ones are not trained again."""
    json: Path = Path("docs/ablation.json")
    """Figures to write."""
    picture: Path = Path("docs/ablation.png")
    """File to write."""


def main() -> None:
    options = tyro.cli(Options)
    if unknown := set(options.variants) - set(VARIANTS):
        print(
            f"ablation.py: There is no variant {min(unknown)!r}: choose of {', '.join(map(repr, VARIANTS))}.", file=sys.stderr
        )
        sys.exit(2)
    results: dict[str, list[dict[str, float]]] = {}
    for seed in options.seeds:
        for name in options.variants:
            result = _measure(name, VARIANTS[name], seed, options)
            results.setdefault(name, []).append(result)
            print(f"{name}, seed {seed}: {result['completed']:.0%} completed, {result['cleared']:.0%} cleared", flush=True)
    figures = {"machine": machine(), "stages": options.stages, "expert_steps": options.expert_steps}
    figures |= {"model_steps": options.model_steps, "workers": options.workers, "episodes": options.episodes}
    options.json.write_text(json.dumps(figures | {"results": results}, indent=1) + "\n")
    _draw(results, options)


def _measure(name: str, flags: tuple[str, ...], seed: int, options: Options) -> dict[str, float]:
    """Train a variant with a seed; returns the mean share of a stage completed, and of episodes cleared."""
    folder = _folder(name, seed, options)
    common = ("--stages", *options.stages, "--seed", str(seed), "--test-interval", "1000000")
    common += ("--workers", str(options.workers))
    common += ("--average-steps", str(options.model_steps // 5))  # the presets' average reaches farther back than this run
    if "--starts" not in flags:  # both begin along demonstrations here, though --preset all-stages no longer does
        flags = (*flags, "--starts", "demonstrations")
    steps = options.expert_steps + options.model_steps
    if "--preset" not in flags:
        steps = options.model_steps
        teacher = SAME_EXPERT.get(name, name)
        teaching = _folder(teacher, seed, options)
        if not (teaching / "expert" / "summary.json").is_file():
            maps = ("--preset", "expert", *common, *VARIANTS[teacher], "--total-steps", str(options.expert_steps))
            train(teaching, "expert", maps)
        flags = ("--preset", "all-stages", "--expert", str(checkpoints_in(teaching / "expert")[-1]), *flags)
    else:
        flags = (*flags, "--show-buttons")  # as the recipe's model
    if not (folder / "model" / "summary.json").is_file():
        train(folder, "model", (*flags, *common, "--total-steps", str(steps)))
    shares, clears = [], []
    for stage in options.stages:
        length = stage_length(Stage(*map(int, stage.split("-"))))
        for episode in _play(checkpoints_in(folder / "model")[-1], stage, folder / f"{stage}.json", options.episodes):
            cleared = episode["outcome"] == "cleared"
            shares.append(1.0 if cleared else min(1.0, episode["progress"] / length))
            clears.append(cleared)
    return {"completed": float(np.mean(shares)), "cleared": float(np.mean(clears))}


def _folder(name: str, seed: int, options: Options) -> Path:
    return options.log_dir / f"{name.replace(' ', '-').replace(':', '')}-{seed}"


def stage_length(stage: Stage) -> int:
    """Pixels of new ground on the way that the demonstrations take."""
    known = load_demonstrations(TrainConfig().demos_dir, [stage])[stage]
    way = min(known, key=lambda each: len(each.actions))
    games = Games(stage, way.idle_frames, lanes=1)
    replay(games, way.actions)
    return int(games.progress[0])


def _play(weights: Path, stage: str, result: Path, episodes: int) -> list[dict[str, Any]]:
    if result.is_file():
        known: list[dict[str, Any]] = json.loads(result.read_text())["episodes"]
        if len(known) == episodes:
            return known
    command = [sys.executable, "gym_eval.py", "--weights", str(weights), "--env", env_id_of(Stage(*map(int, stage.split("-"))))]
    command += ["--num-episodes", str(episodes), "--sticky-actions", "0.1", "--json", str(result)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    played: list[dict[str, Any]] = json.loads(result.read_text())["episodes"]
    return played


def _draw(results: dict[str, list[dict[str, float]]], options: Options) -> None:
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 0.6 + 0.5 * len(results)), sharey=True, constrained_layout=True)
    names = list(results)[::-1]
    for axis, key, title in zip(axes, ("completed", "cleared"), ("of a stage completed", "of episodes cleared"), strict=True):
        axis.barh(names, [100 * np.mean([each[key] for each in results[name]]) for name in names], color="C0", alpha=0.6)
        for row, name in enumerate(names):
            axis.plot([100 * each[key] for each in results[name]], [row] * len(results[name]), "k.")
        axis.set(xlim=(0, 100), xlabel=f"% {title}")
        axis.grid(axis="x", alpha=0.3)
    steps = options.expert_steps + options.model_steps
    figure.suptitle(f"{', '.join(options.stages)}: {steps:,} agent steps, 10% sticky actions")
    figure.savefig(options.picture, dpi=110)
    pyplot.close(figure)
    print(f"picture: {options.picture}")


if __name__ == "__main__":
    main()
