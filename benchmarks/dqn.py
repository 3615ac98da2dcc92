"""How fast DQN trains here, and in Stable-Baselines3: by turns in one run, both with as much learning per agent step.

Both train the Nature network (Mnih et al. 2015) with 512 hidden units on 1-1: one update on 32 steps of a replay of 100,000 for
every 4 agent steps, uniform replay, one network that chooses and values. Here that is `--algorithm dqn` with all cores as
workers, there `DQN("CnnPolicy")` on eight games in processes of their own (benchmarks/sb3.py); each counts from its first
update on. `preset` beside them is what this program's own presets make of it, with larger batches.

    python -m benchmarks.dqn --seconds 60 --rounds 3
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import tyro

from benchmarks import sb3
from benchmarks.training_run import ROOT, TrainingRun, machine, train

UPDATE_INTERVAL = 4
# As in Stable-Baselines3's settings: benchmarks/sb3.py.
SAME = [
    *("--algorithm", "dqn", "--no-lstm", "--network", "nature", "--hidden-size", "512", "--no-double", "--lr", "1e-4"),
    *("--batch-size", "32", "--update-interval", str(UPDATE_INTERVAL), "--replay-size", "100000", "--learning-starts", "1000"),
    *("--num-steps", "8"),
]
OURS = {"same updates": SAME, "preset ddqn": ["--preset", "ddqn"], "preset dqn-per": ["--preset", "dqn-per"]}
STABLE_BASELINES3 = "Stable-Baselines3"


@dataclass(frozen=True)
class Options:
    """Measure how fast DQN trains."""

    seconds: float = 60.0
    """How long each turn takes."""
    rounds: int = 3
    """Turns of each; the median counts."""
    json: Path | None = None
    """Write the figures here."""


def rate_of(run: TrainingRun) -> float:
    """Agent steps per second from a run's first point with updates to its last."""
    points = [(steps, seconds) for steps, seconds, updates in run.curve("train/updates") if updates]
    (first_steps, began), (last_steps, ended) = points[0], points[-1]
    return (last_steps - first_steps) / (ended - began) if ended > began else run.agent_steps_per_second


def measure_ours(flags: list[str], seconds: float) -> dict[str, float]:
    """Agent steps per second, and updates for each of them."""
    with tempfile.TemporaryDirectory() as folder:
        limits = ["--env", "SuperMarioBros-1-1-v0", "--max-minutes", str(seconds / 60), "--no-save-replay"]
        run = train(Path(folder), "bench", [*flags, *limits])
        points = [(steps, updates) for steps, _, updates in run.curve("train/updates") if updates]
        steps, updates = (points[-1][i] - points[0][i] for i in range(2))
        return {"agent_steps_per_second": rate_of(run), "updates_per_agent_step": updates / steps if steps else 0.0}


def measure_stable_baselines3(seconds: float) -> dict[str, float]:
    """As `measure_ours`, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.sb3", "--algorithm", "dqn", "--seconds", str(seconds)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    rate = json.loads(done.stdout.strip().splitlines()[-1])["agent_steps_per_second"]
    return {"agent_steps_per_second": rate, "updates_per_agent_step": sb3.SETTINGS["dqn"]["gradient_steps"] / sb3.GAMES}


def main() -> None:
    options = tyro.cli(Options)
    reason = sb3.reason_against()
    if reason:
        print(f"{STABLE_BASELINES3} is not measured: {reason}.")
    turns: dict[str, list[dict[str, float]]] = {}
    for _ in range(options.rounds):
        for name, flags in OURS.items():
            turns.setdefault(name, []).append(measure_ours(flags, options.seconds))
        if not reason:
            turns.setdefault(STABLE_BASELINES3, []).append(measure_stable_baselines3(options.seconds))
        for name, found in turns.items():
            rate, updates = found[-1]["agent_steps_per_second"], found[-1]["updates_per_agent_step"]
            print(f"{name}: {rate:,.0f} agent steps/s, an update every {1 / updates if updates else 0:,.1f}", flush=True)
    medians = {name: median(each["agent_steps_per_second"] for each in found) for name, found in turns.items()}
    figures: dict[str, Any] = {"machine": machine(), "agent_steps_per_second": medians, "turns": turns}
    if STABLE_BASELINES3 in medians:
        figures["ratios"] = {name: medians[name] / medians[STABLE_BASELINES3] for name in OURS}
        for name, ratio in figures["ratios"].items():
            print(f"{name} over {STABLE_BASELINES3}: {ratio:.1f}")
    print(figures["machine"])
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
