"""The names of the files in a run's folder."""

from __future__ import annotations

import re
from pathlib import Path

BEST_NAME = "best.safetensors"
SCORECARD_NAME = "scorecard.json"
HISTORY_NAME = "history.csv"
SUMMARY_NAME = "summary.json"
CONFIG_NAME = "config.json"
_NAME = re.compile(r"checkpoint-(\d{6,})\.safetensors")
_NAME_OR_PART = re.compile(r"checkpoint-\d{6,}(\.worker-\d+)?\.safetensors")


def checkpoint_path(folder: Path, number: int) -> Path:
    return folder / f"checkpoint-{number:06}.safetensors"


def worker_path(checkpoint: Path, worker: int) -> Path:
    """Where a worker's own state of a checkpoint lies."""
    return checkpoint.with_suffix(f".worker-{worker}.safetensors")


def leaving_path(folder: Path, worker: int) -> Path:
    """Where a worker that ends leaves its state, for the checkpoint that is written next."""
    return worker_path(folder / "leaving.safetensors", worker)


def checkpoints_in(folder: Path) -> list[Path]:
    """A run's checkpoints, the oldest first; none if the folder isn't there."""
    numbered = [(int(match[1]), path) for path in folder.glob("checkpoint-*") if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(numbered)]


def next_number(folder: Path) -> int:
    """A number above those of all checkpoints in a folder."""
    numbers = [int(match[1]) for path in checkpoints_in(folder) if (match := _NAME.fullmatch(path.name))]
    return max(numbers, default=0) + 1


def adopt_leaving(folder: Path, checkpoint: Path, workers: int) -> None:
    """Let the states of workers that have ended belong to a checkpoint."""
    for worker in range(workers):
        left = leaving_path(folder, worker)
        if left.exists():
            left.replace(worker_path(checkpoint, worker))


def prune(folder: Path, keep: int | None = None, spare: Path | None = None) -> None:
    """Remove all but the newest `keep` checkpoints (None: no checkpoint), and workers' states that belong to none.

    The one to `spare` stays: workers may still be about to read their states of it. So do files of any other name.
    """
    found = checkpoints_in(folder)
    kept = [*found[-keep if keep else 0 :], *(path for path in found if spare is not None and path.name == spare.name)]
    for path in folder.glob("checkpoint-*.safetensors"):
        if _NAME_OR_PART.fullmatch(path.name) and not any(path.name.startswith(f"{each.stem}.") for each in kept):
            path.unlink(missing_ok=True)
