"""How fast everything is, each figure measured in turn in this one run: `python benchmarks/throughput.py --json FILE`.

Environment: 16 lanes of stage 1-1 on one core, random actions, per engine; beside it the engine's bare frames.
Training: `main.py` as users run it, for each network, with one worker per core. `seed settings` is A3G as seed 002
describes it, in this project: one game per worker, float32, nes-py.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tyro

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import environment
from a3g.game.emulators import BUTTON_RIGHT, available_emulators, make_emulator
from a3g.game.stages import STAGES, go_to_start
from a3g.reporting.metrics import read_curve

LANES = 16
TRAININGS: dict[str, list[str]] = {
    "seed settings (impala + LSTM, 1 lane, float32, nes-py)": ["--preset", "seed"],
    "impala + LSTM": ["--preset", "a3g"],
    "impala + LSTM, float32": ["--preset", "a3g", "--precision", "float32"],
    "nature + LSTM": ["--preset", "a3g", "--network", "nature"],
    "nature": ["--preset", "a3g", "--network", "nature", "--no-lstm"],
    "nature, clipped objective (preset quick)": ["--preset", "quick"],
}


@dataclass(frozen=True)
class Options:
    """Measure how fast everything is."""

    json: Path | None = None
    """Write the figures here."""
    seconds: float = 15.0
    """How long each environment is measured."""
    training_minutes: float = 0.75
    """How long each training is measured."""
    workers: int = psutil.cpu_count(logical=False) or 1
    """Workers of each training."""


def measure_environment(engine: str, seconds: float) -> float:
    """Agent steps per second of a vector environment on one core."""
    env = environment.make_vector_env(["1-1"], LANES, emulator=engine)
    env.reset(seed=0)
    random = np.random.default_rng(0)
    # Mostly to the right, as a policy that learns would play.
    chances = [0.02, 0.1, 0.2, 0.1, 0.4, 0.03, 0.03, 0.04, 0.04, 0.04]
    steps, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        env.step(random.choice(len(chances), LANES, p=chances))
        steps += LANES
    rate = steps / (time.perf_counter() - begin)
    env.close()
    return rate


def measure_bare_engine(engine: str, seconds: float) -> float:
    """Frames per second of the engine alone: no pictures taken, no rules, no states saved."""
    emulator = make_emulator(engine)
    go_to_start(emulator, STAGES[0])
    frames, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        emulator.frame(BUTTON_RIGHT)
        frames += 1
    rate = frames / (time.perf_counter() - begin)
    emulator.close()
    return rate


def measure_training(flags: list[str], options: Options) -> dict[str, float]:
    """Agent steps per second and resident megabytes per worker of a training run."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "main.py", "--env", "SuperMarioBros-1-1-v0", "--workers", str(options.workers)]
        command += [*flags, "--max-minutes", str(options.training_minutes), "--log-dir", folder, "--save-model-dir", folder]
        command += ["--run-name", "bench", "--no-tensorboard-logger"]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        summary = json.loads((Path(folder) / "bench" / "summary.json").read_text())
        memory = max(value for _, _, value in read_curve(Path(folder) / "bench", "system/worker_resident_mb"))
    return {"agent_steps_per_second": summary["agent_steps_per_second"], "worker_resident_mb": memory}


def main() -> None:
    options = tyro.cli(Options)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    environments: dict[str, float] = {}
    figures: dict[str, Any] = {"environment_steps_per_second": environments, "bare_frames_per_second": {}}
    for engine in available_emulators():
        frames = figures["bare_frames_per_second"][engine] = measure_bare_engine(engine, options.seconds / 3)
        steps = environments[engine] = measure_environment(engine, options.seconds)
        print(f"environment, {engine}: {steps:,.0f} agent steps/s on one core; bare engine {frames:,.0f} frames/s")
    trainings = {name: measure_training(flags, options) for name, flags in TRAININGS.items()}
    figures["training_steps_per_second"] = {name: each["agent_steps_per_second"] for name, each in trainings.items()}
    figures["worker_resident_mb"] = {name: each["worker_resident_mb"] for name, each in trainings.items()}
    baseline = figures["training_steps_per_second"][next(iter(TRAININGS))]
    figures["training_times_seed_settings"] = {
        name: steps / baseline for name, steps in figures["training_steps_per_second"].items()
    }
    figures["environment_times_nes_py"] = {name: steps / environments["nes-py"] for name, steps in environments.items()}
    for name, training in trainings.items():
        steps, memory = training["agent_steps_per_second"], training["worker_resident_mb"]
        ratio = figures["training_times_seed_settings"][name]
        print(f"training, {name}: {steps:,.0f} agent steps/s ({ratio:.1f} times seed settings), {memory:,.0f} MB per worker")
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
