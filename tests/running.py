"""Runs of `python main.py` with real processes, small and short, for the tests that watch them from outside."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from a3g.files import load_tensors
from a3g.processes.shared_run import SharedRun
from a3g.runs.paths import checkpoints_in, worker_path
from a3g.runs.snapshot import Snapshot

ROOT = Path(__file__).parent.parent
SUMMARY_KEYS = {
    "agent_steps",
    "frames",
    "seconds",
    "agent_steps_per_second",
    "updates",
    "episodes",
    "workers",
    "lanes",
    "restarts",
    "skipped_updates",
    "stages_cleared",
    "exit_reason",
}
# A small network, few lanes and short episodes: everything real, but soon done.
SMALL: dict[str, Any] = {
    "env": "SuperMarioBros-1-1-v0",
    "workers": 2,
    "lanes": 4,
    "num_steps": 8,
    "network": "conv4",
    "hidden_size": 32,
    "time_per_stage": 3,
    "tensorboard_logger": False,
    "curves": False,
}
PATIENCE_SECONDS = 240.0


def arguments(folder: Path, *more: str) -> list[str]:
    command = [
        sys.executable,
        str(ROOT / "main.py"),
        "--log-dir",
        str(folder / "logs"),
        "--save-model-dir",
        str(folder / "models"),
    ]
    for name, value in SMALL.items():
        flag = name.replace("_", "-")
        command += ([f"--{flag}"] if value else [f"--no-{flag}"]) if isinstance(value, bool) else [f"--{flag}", str(value)]
    return [*command, *more]


class Run:
    """`python main.py` in a process group of its own."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self.seen: dict[int, psutil.Process] = {}

    def children(self) -> dict[str, psutil.Process]:
        """The run's processes by their titles."""
        titles: dict[str, psutil.Process] = {}
        for child in psutil.Process(self.process.pid).children(recursive=True):
            self.seen[child.pid] = child
            try:
                titles[" ".join(child.cmdline()).strip()] = child
            except psutil.NoSuchProcess:
                continue
        return titles

    def wait_for(self, what: Callable[[], Any]) -> Any:
        """Wait until `what` gives something; the run must not end before."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            self.children()
            found = what()
            if found:
                return found
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.1)
        raise AssertionError(f"waited in vain; running: {list(self.children())}")

    def finish(self, code: int) -> tuple[str, str]:
        """Wait for the end; returns stdout and stderr. Nothing may be left running."""
        out, err = self.process.communicate(timeout=PATIENCE_SECONDS)
        assert self.process.returncode == code, (out, err)
        _, living = psutil.wait_procs(self.seen.values(), timeout=10)
        assert not living
        return out, err

    def kill(self) -> None:
        """Whatever a failed test left."""
        for child in self.seen.values():
            if child.is_running():
                child.kill()
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


Start = Callable[[list[str]], Run]


def summary_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return content


def newest_checkpoint(folder: Path) -> Path:
    return checkpoints_in(folder)[-1]


def snapshot_of(shared: SharedRun) -> Snapshot:
    """As the launcher makes it."""
    return Snapshot(shared.model.tensors(), shared.tensors_beside_model())


def exact_tensors(checkpoint: Path) -> dict[str, Tensor]:
    """A checkpoint and the first worker's part of it, to be compared bit for bit, but for how much memory was in use."""
    tensors, _ = load_tensors(checkpoint, "checkpoint")
    metrics = tensors["counters.metric_values"]
    for worker, names in enumerate(tensors["counters.metric_names"]):
        metrics[worker, [bytes(name.tolist()).rstrip(b"\0") for name in names].index(b"resident_bytes")] = 0
    tensors["counters.metric_values"] = metrics.view(torch.int64)  # where nothing was written is no number, equal to none
    state, _ = load_tensors(worker_path(checkpoint, 0), "worker's state")
    return {**tensors, **state}
