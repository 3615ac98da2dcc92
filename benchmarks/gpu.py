"""What a GPU brings, and each feature of it: `python benchmarks/gpu.py --json FILE`.

Environment only: that many processes stepping 16 lanes of stage 1-1 each with random actions, no network. Training:
`main.py` as users run it, the original A3G's network on one GPU, with everything on, without each feature, with each alone, and
with none. The rates are those of the last 30 seconds, when every graph has been recorded.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import tyro

from a3g.game.emulators import resolve_emulator
from benchmarks.throughput import measure_environment
from benchmarks.training_run import machine, train

EVERYTHING_OFF = ["--no-gpu-graphs", "--no-gpu-overlap", "--no-gpu-pinned", "--precision", "float32"]
TRAININGS: dict[str, list[str]] = {
    "everything on": [],
    "without CUDA graphs": ["--no-gpu-graphs"],
    "without halves in turn": ["--no-gpu-overlap"],
    "without pinned memory": ["--no-gpu-pinned"],
    "tf32 instead of bfloat16": ["--precision", "tf32"],
    "float32 instead of bfloat16": ["--precision", "float32"],
    "everything off": EVERYTHING_OFF,
    "CUDA graphs alone": ["--gpu-graphs", *EVERYTHING_OFF[1:]],
    "halves in turn alone": [EVERYTHING_OFF[0], "--gpu-overlap", *EVERYTHING_OFF[2:]],
    "pinned memory alone": [*EVERYTHING_OFF[:2], "--gpu-pinned", *EVERYTHING_OFF[3:]],
    "bfloat16 alone": EVERYTHING_OFF[:3],
}


@dataclass(frozen=True)
class Options:
    """Measure what a GPU brings, and each feature of it."""

    json: Path | None = None
    """Write the figures here."""
    seconds: float = 15.0
    """How long the environment is measured."""
    training_minutes: float = 1.5
    """How long each training runs."""
    workers: int = 16
    """Workers of each training, and processes of the environment's measurement: one per core, if there are so many."""
    gpu: int = 0
    """The GPU."""


def measure_environments(options: Options) -> float:
    """Agent steps per second of all processes together."""
    os.environ["OMP_NUM_THREADS"] = "1"
    engine = resolve_emulator("auto")
    with get_context("spawn").Pool(options.workers) as pool:
        rates = pool.starmap(measure_environment, [(engine, options.seconds)] * options.workers, chunksize=1)
    return sum(rates)


def measure_training(flags: list[str], options: Options) -> dict[str, Any]:
    """Agent steps per second, shares of the workers' time, and megabytes of GPU memory per worker, without its context."""
    common = ["--preset", "a3g", "--env", "SuperMarioBros-1-1-v0", "--max-minutes", str(options.training_minutes)]
    common += ["--workers", str(options.workers), "--gpu-ids", str(options.gpu)]
    with tempfile.TemporaryDirectory() as folder:
        run = train(Path(folder), "bench", [*common, *flags])
        return {
            "agent_steps_per_second": run.last("train/agent_steps_per_second"),
            "phase_shares": run.phase_shares(),
            "worker_gpu_mb": max(value for _, _, value in run.curve("system/worker_gpu_mb")),
        }


def main() -> int:
    options = tyro.cli(Options)
    if torch.cuda.device_count() <= options.gpu:
        print(f"There is no GPU {options.gpu} here to measure.", file=sys.stderr)
        return 2
    environments = measure_environments(options)
    figures: dict[str, Any] = {
        "gpu": torch.cuda.get_device_name(options.gpu),
        "machine": machine(),
        "workers": options.workers,
        "environment_steps_per_second": environments,
    }
    print(f"{figures['gpu']}, {options.workers} workers; {figures['machine']}")
    print(f"{'environment only':30} {environments:10,.0f} agent steps/s")
    trainings: dict[str, dict[str, Any]] = {}
    for name, flags in TRAININGS.items():
        trainings[name] = result = measure_training(flags, options)
        result["share_of_environment_only"] = result["agent_steps_per_second"] / environments
        print(
            f"{name:30} {result['agent_steps_per_second']:10,.0f} agent steps/s, "
            f"{result['share_of_environment_only']:6.1%} of the environment only, "
            f"{result['worker_gpu_mb']:7,.0f} MB per worker",
            flush=True,
        )
    figures["training"] = trainings
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
