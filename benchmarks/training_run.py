"""Runs `main.py` as users do and reads what it left behind; shared by the benchmarks."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from a3g.reporting.metrics import read_curve
from a3g.reporting.phases import PHASE_NAMES

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class TrainingRun:
    """A finished run."""

    folder: Path
    summary: dict[str, Any]

    @property
    def agent_steps_per_second(self) -> float:
        return float(self.summary["agent_steps_per_second"])

    def curve(self, name: str) -> list[tuple[int, float, float]]:
        """Points (agent steps, seconds, value)."""
        return read_curve(self.folder, name)

    def last(self, name: str) -> float:
        return self.curve(name)[-1][2]

    def phase_shares(self) -> dict[str, float]:
        """Shares of the workers' time."""
        return {name: self.last(f"time/{name}") for name in PHASE_NAMES}

    def worker_resident_mb(self) -> float:
        return max(value for _, _, value in self.curve("system/worker_resident_mb"))


def train(folder: Path, name: str, flags: Sequence[str]) -> TrainingRun:
    """Run a training to its end; its weights go into its own folder.

    Raises:
        subprocess.CalledProcessError: if it fails.
    """
    command = [sys.executable, "main.py", *flags, "--log-dir", str(folder), "--run-name", name]
    command += ["--save-model-dir", str(folder / name / "weights"), "--no-tensorboard-logger"]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return TrainingRun(folder / name, json.loads((folder / name / "summary.json").read_text()))


def machine() -> str:
    """The processor, for the record beside every figure."""
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    else:
        model = platform.processor() or platform.machine()
    return f"{model}, {psutil.cpu_count(logical=False)} cores, Python {platform.python_version()}"
