"""How fast everything is, each figure measured in turn in this one run: `make bench`.

Environment: 16 lanes of stage 1-1 on one core, random actions, per engine; beside it the engine's bare frames.
Pieces: what emulating, acting and learning take alone, in as many processes at once as there are workers
(benchmarks/pieces.py), and what the loop makes of it.
Training: `main.py` as users run it, for each network, lanes and workers. `seed settings` is A3G as the original describes
it, in this project: one game per worker, float32, nes-py.
Stable-Baselines3: A2C and PPO as their users run them (benchmarks/sb3.py).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import psutil
import tyro

import environment
from a3g.game.emulators import BUTTON_RIGHT, available_emulators, make_emulator
from a3g.game.stage_starts import go_to_start
from a3g.game.stages import STAGES
from a3g.reporting.phases import PHASE_NAMES
from benchmarks import sb3
from benchmarks.training_run import machine, train

mpl.use("Agg")
from matplotlib import pyplot

ROOT = Path(__file__).resolve().parent.parent
LANES = 16
SEED_SETTINGS = "seed settings (impala + LSTM, 1 lane, float32, nes-py)"
NETWORKS: dict[str, list[str]] = {
    "impala + LSTM": ["--preset", "a3g"],
    "nature + LSTM": ["--preset", "a3g", "--network", "nature"],
    "nature": ["--preset", "a3g", "--network", "nature", "--no-lstm"],
}
OTHERS: dict[str, list[str]] = {
    SEED_SETTINGS: ["--preset", "seed"],
    "impala + LSTM, float32": ["--preset", "a3g", "--precision", "float32"],
    "impala + LSTM, second forward pass": ["--preset", "a3g", "--no-keep-activations"],
    "nips": ["--preset", "a3g", "--network", "nips", "--no-lstm", "--hidden-size", "256"],
    "nips, clipped objective (preset quick)": ["--preset", "quick"],
}


def cores() -> int:
    return psutil.cpu_count(logical=False) or 1


@dataclass(frozen=True)
class Options:
    """Measure how fast everything is."""

    json: Path | None = None
    """Write the figures here."""
    picture: Path | None = None
    """Draw them here."""
    seconds: float = 15.0
    """How long each environment is measured."""
    training_seconds: float = 30.0
    """How long each training is measured."""
    workers: tuple[int, ...] = field(default_factory=lambda: tuple(sorted({1, cores()})))
    """Numbers of workers; the largest is the one that ratios are made of."""
    lanes: tuple[int, ...] = (1, 4, 16, 32)
    """Lanes per worker; 16 is the one that ratios are made of."""
    gpu_ids: tuple[int, ...] = (-1,)
    """As main.py's."""
    sb3: bool = True
    """Measure Stable-Baselines3 as well; needs benchmarks/requirements.txt."""


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


def measure_training(flags: list[str], workers: int, options: Options) -> dict[str, Any]:
    """Speed, shares of time and memory of a training run on 1-1."""
    with tempfile.TemporaryDirectory() as folder:
        common = ["--env", "SuperMarioBros-1-1-v0", "--workers", str(workers), "--gpu-ids", *map(str, options.gpu_ids)]
        run = train(Path(folder), "bench", [*flags, *common, "--max-minutes", str(options.training_seconds / 60)])
        return {
            "agent_steps_per_second": run.agent_steps_per_second,
            "shares_of_time": run.phase_shares(),
            "worker_resident_mb": run.worker_resident_mb(),
        }


def measure_elsewhere(module: str, arguments: list[str]) -> dict[str, Any]:
    """Run another benchmark in a process of its own; returns the JSON of its last line."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def environments(options: Options) -> dict[str, Any]:
    figures: dict[str, Any] = {"environment_steps_per_second": {}, "bare_frames_per_second": {}}
    for engine in available_emulators():
        frames = figures["bare_frames_per_second"][engine] = measure_bare_engine(engine, options.seconds / 3)
        steps = figures["environment_steps_per_second"][engine] = measure_environment(engine, options.seconds)
        print(f"environment, {engine}: {steps:,.0f} agent steps/s on one core; bare engine {frames:,.0f} frames/s", flush=True)
    return figures


def trainings(options: Options) -> dict[str, dict[str, Any]]:
    """Every training, under a name that says what it is."""
    runs = {
        f"{name}, {workers} × {lanes}": ([*flags, "--lanes", str(lanes)], workers)
        for name, flags in NETWORKS.items()
        for lanes in options.lanes
        for workers in options.workers
    }
    runs |= {f"{name}, {max(options.workers)} workers": (flags, max(options.workers)) for name, flags in OTHERS.items()}
    figures = {}
    for name, (flags, workers) in runs.items():
        figures[name] = measure_training(flags, workers, options)
        shares = ", ".join(f"{phase} {share:.0%}" for phase, share in figures[name]["shares_of_time"].items())
        memory = figures[name]["worker_resident_mb"]
        print(f"training, {name}: {figures[name]['agent_steps_per_second']:,.0f} agent steps/s", end="")
        print(f" ({shares}; {memory:,.0f} MB per worker)", flush=True)
    return figures


def loop_shares(options: Options, training: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """How much of what the pieces alone allow the loop reaches."""
    figures: dict[str, Any] = {}
    for name, flags in NETWORKS.items():
        for workers in options.workers:
            run = f"{name}, {workers} × {LANES}"
            pieces = measure_elsewhere("pieces", [*flags, "--lanes", str(LANES), "--workers", str(workers)])
            share = training[run]["agent_steps_per_second"] / pieces["agent_steps_per_second"]
            figures[run] = {**pieces, "reached": share}
            print(
                f"loop, {run}: {share:.0%} of the {pieces['agent_steps_per_second']:,.0f} agent steps/s that its pieces allow",
                flush=True,
            )
    return figures


def ratios(figures: dict[str, Any], options: Options) -> dict[str, float]:
    """Every ratio that the README quotes."""
    most = max(options.workers)
    others = figures.get("stable_baselines3_steps_per_second", {})
    training = {name: each["agent_steps_per_second"] for name, each in figures["training"].items()}
    training |= {f"Stable-Baselines3 {algorithm}": steps for algorithm, steps in others.items()}
    seed = training[f"{SEED_SETTINGS}, {most} workers"]
    result = {f"{name} over seed settings": steps / seed for name, steps in training.items()}
    for algorithm, steps in others.items():
        result[f"nature over Stable-Baselines3 {algorithm}"] = training[f"nature, {most} × {LANES}"] / steps
    engines = figures["environment_steps_per_second"]
    for base in ("fceumm", "nes-py"):
        result |= {
            f"environment: {name} over {base}": steps / engines[base] for name, steps in engines.items() if base in engines
        }
    return result


def save(figures: dict[str, Any], options: Options) -> None:
    if LANES in options.lanes:
        figures["ratios"] = ratios(figures, options)
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(figures, indent=1))


def draw(figures: dict[str, Any], options: Options) -> None:
    """Training speeds, and where the time goes."""
    assert options.picture is not None
    figure, (speeds, shares) = pyplot.subplots(1, 2, figsize=(13, 5.5), constrained_layout=True)
    most, training = max(options.workers), figures["training"]
    chosen = {name: each["agent_steps_per_second"] for name, each in training.items() if f", {most} " in name}
    for algorithm, steps in figures.get("stable_baselines3_steps_per_second", {}).items():
        chosen[f"Stable-Baselines3 {algorithm.upper()}, 8 games"] = steps
    names = sorted(chosen, key=lambda name: chosen[name])
    bars = speeds.barh(names, [chosen[name] for name in names], color=["C3" if "Stable" in n else "C0" for n in names])
    speeds.bar_label(bars, [f"{chosen[name]:,.0f}" for name in names], padding=3, fontsize=8)
    speeds.set(title=f"training, agent steps/s ({most} workers × lanes)", xlim=(0, 1.25 * max(chosen.values())))
    parts = [name for name in names if name in training]
    left = np.zeros(len(parts))
    for phase in PHASE_NAMES:
        widths = np.array([training[name]["shares_of_time"][phase] for name in parts])
        shares.barh(parts, widths, left=left, label=phase)
        left += widths
    shares.set(title="where the workers' time goes", xlim=(0, 1))
    figure.legend(*shares.get_legend_handles_labels(), loc="outside lower right", ncol=len(PHASE_NAMES))
    for axis in (speeds, shares):
        axis.tick_params(axis="y", labelsize=8)
    figure.suptitle(figures["machine"])
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.picture, dpi=110)


def main() -> None:
    options = tyro.cli(Options)
    figures: dict[str, Any] = {"machine": machine(), **environments(options)}
    print(figures["machine"])
    figures["training"] = trainings(options)
    figures["training_steps_per_second"] = {name: each["agent_steps_per_second"] for name, each in figures["training"].items()}
    if LANES in options.lanes and max(options.gpu_ids) < 0:  # the pieces are timed on the CPU
        figures["loop"] = loop_shares(options, figures["training"])
    save(figures, options)  # whatever happens to the other program
    if reason := sb3.reason_against() if options.sb3 else "not asked for":
        print(f"Stable-Baselines3 is not measured: {reason}.")
    else:
        arguments = ["--seconds", str(options.training_seconds)]
        figures["stable_baselines3_steps_per_second"] = {
            algorithm: measure_elsewhere("sb3", ["--algorithm", algorithm, *arguments])["agent_steps_per_second"]
            for algorithm in ("a2c", "ppo")
        }
        for algorithm, steps in figures["stable_baselines3_steps_per_second"].items():
            print(f"Stable-Baselines3 {algorithm}: {steps:,.0f} agent steps/s")
    save(figures, options)
    for name, ratio in figures.get("ratios", {}).items():
        print(f"ratio, {name}: {ratio:.1f}")
    if options.picture is not None:
        draw(figures, options)


if __name__ == "__main__":
    main()
