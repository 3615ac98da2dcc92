"""From scratch to "cleared in 90% of 20 random starts": agent steps and minutes, ours and Stable-Baselines3's PPO.

    python -m benchmarks.time_to_clear --stages 1-1 --seeds 1 2 3 4 5 --json FILE
    python -m benchmarks.time_to_clear --expert-flags="--preset quick-expert" --flags="--preset quick-student" --clear-rate 0.7

With --expert-flags an expert is trained first; its time and the commands' start count. Ours is `main.py --until-cleared` with
the flags given; its tester plays beside the training and its time counts.
The weights then play 100 more episodes, each from a random one of the stage's 31 starts (0 to 30 frames without buttons), and
100 more with 10% sticky actions.
Stable-Baselines3 (benchmarks/sb3.py) is tested every 20,000 agent steps, and the time of its tests does not count.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import tyro

from benchmarks import sb3
from benchmarks.training_run import machine, train

ROOT = Path(__file__).resolve().parent.parent
TEST_EPISODES = 20
EXPERT_CLEAR_RATE = 0.9
SB3_TEST_INTERVAL = 20_000  # agent steps


@dataclass(frozen=True)
class Options:
    """Measure how long it takes to clear stages from scratch."""

    stages: tuple[str, ...] = ("1-1",)
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)
    flags: str = "--preset quick"
    """Flags of main.py, in one string."""
    expert_flags: str = ""
    """Flags with which an expert is trained first."""
    clear_rate: float = 0.9
    """Share of the test's episodes to clear; with sticky actions if the flags say so."""
    workers: int = psutil.cpu_count(logical=False) or 1
    max_minutes: float = 30.0
    """Give up after so many minutes."""
    sb3_minutes: float = 20.0
    """Stable-Baselines3's limit for a stage, with the first seed; 0 leaves it out."""
    log_dir: Path | None = None
    """Keep the runs here."""
    json: Path | None = None
    """Write the figures here."""


def ours(stage: str, seed: int, options: Options, folder: Path) -> dict[str, Any]:
    """One training from scratch, and what its weights clear afterwards."""
    env = f"SuperMarioBros-{stage}-v0"
    common = ["--env", env, "--seed", str(seed), "--workers", str(options.workers), "--until-cleared"]
    common += ["--test-episodes", str(TEST_EPISODES), "--max-minutes", str(options.max_minutes)]
    began = time.perf_counter()
    expert_steps = 0
    if options.expert_flags:
        flags = [*options.expert_flags.split(), *common, "--clear-rate", str(EXPERT_CLEAR_RATE)]
        expert = train(folder, f"{stage}_seed{seed}_expert", flags)
        expert_steps = expert.summary["agent_steps"]
        common += ["--expert", str(expert.folder)]
    run = train(folder, f"{stage}_seed{seed}", [*options.flags.split(), *common, "--clear-rate", str(options.clear_rate)])
    seconds = time.perf_counter() - began if options.expert_flags else run.summary["seconds"]
    weights = run.folder / "weights" / f"{env}.safetensors"
    command = [sys.executable, "gym_eval.py", "--env", env, "--num-episodes", "100", "--seed", "1000"]
    rates = [0.0, 0.0]
    for i, sticky_actions in enumerate((0.0, 0.1) if weights.exists() else ()):
        scores = run.folder / f"eval-{sticky_actions}.json"
        flags = ["--sticky-actions", str(sticky_actions), "--weights", str(weights), "--json", str(scores)]
        subprocess.run([*command, *flags], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        rates[i] = json.loads(scores.read_text())["clear_rate"][stage]
    return {
        "stage": stage,
        "seed": seed,
        "cleared": stage in run.summary["stages_cleared"] and run.summary["exit_reason"].startswith("cleared"),
        "agent_steps": run.summary["agent_steps"],
        "expert_agent_steps": expert_steps,
        "minutes": seconds / 60,
        "agent_steps_per_second": run.agent_steps_per_second,
        "clear_rate_100_more_episodes": rates[0],
        "clear_rate_100_with_sticky_actions": rates[1],
    }


def stable_baselines3(stage: str, seed: int, options: Options) -> dict[str, Any]:
    """Stable-Baselines3's PPO until it clears or its time is up."""
    model = sb3.make_model("ppo", stage, seed)
    seconds, rate, best = 0.0, 0.0, 0.0
    while seconds < 60 * options.sb3_minutes and rate < options.clear_rate:
        begin = time.perf_counter()
        model.learn(SB3_TEST_INTERVAL, reset_num_timesteps=False)
        seconds += time.perf_counter() - begin
        rate = sb3.clear_rate(model, stage, TEST_EPISODES, seed=seed)
        best = max(best, rate)
        print(f"Stable-Baselines3 PPO, {stage}: {model.num_timesteps:,} agent steps, {seconds / 60:.1f} minutes, {rate:.0%}")
    model.get_env().close()
    return {
        "stage": stage,
        "seed": seed,
        "cleared": rate >= options.clear_rate,
        "agent_steps": model.num_timesteps,
        "minutes": seconds / 60,
        "best_clear_rate": best,
    }


def main() -> None:
    options = tyro.cli(Options)
    figures: dict[str, Any] = {"machine": machine(), "flags": options.flags, "ours": [], "stable_baselines3": []}
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.log_dir or Path(temporary)).absolute()
        for stage in options.stages:
            runs = []
            for seed in options.seeds:
                result = ours(stage, seed, options, folder)
                runs.append(result)
                reached = "cleared" if result["cleared"] else "not cleared"
                print(
                    f"{stage}, seed {seed}: {reached} after {result['agent_steps']:,} agent steps, "
                    f"{result['minutes']:.1f} minutes; {result['clear_rate_100_more_episodes']:.0%} of 100 more episodes, "
                    f"{result['clear_rate_100_with_sticky_actions']:.0%} with sticky actions",
                    flush=True,
                )
            # A run that did not get there counts as longer than all others.
            minutes = sorted(run["minutes"] if run["cleared"] else float("inf") for run in runs)
            print(f"{stage}: median {statistics.median(minutes):.1f} minutes of {len(minutes)} seeds", flush=True)
            figures["ours"] += runs
            if options.sb3_minutes and (reason := sb3.reason_against()):
                print(f"Stable-Baselines3 is left out: {reason}.")
            elif options.sb3_minutes:
                figures["stable_baselines3"].append(stable_baselines3(stage, options.seeds[0], options))
            if options.json is not None:
                options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
