"""What `config.json` in a run's folder says: the settings, and with what and where they were used."""

from __future__ import annotations

import contextlib
import platform
import socket
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from a3g.accelerator.precision import resolve_precision
from a3g.config import TrainConfig
from a3g.config_json import to_json
from a3g.game.emulators import resolve_emulator

_ROOT = Path(__file__).resolve().parents[2]


def describe_run(config: TrainConfig) -> dict[str, Any]:
    """The options by their names, as `train_config_from_json` reads them, and beside them:

    `versions` (a3g, torch, python), `commit` (of the program, null without git), `host`, and `resolved`: what is used
    for the options that can say `auto`.
    """
    devices = sorted({"cpu" if gpu < 0 else f"cuda:{gpu}" for gpu in config.gpu_ids[: config.workers]})
    precision = config.precision
    if precision == "auto" and devices == ["cpu"]:  # to ask a GPU would make a context on it
        precision = "bfloat16" if resolve_precision("auto", torch.device("cpu")) is torch.bfloat16 else "float32"
    return {
        **to_json(config),
        "versions": {"a3g": _version(), "torch": torch.__version__, "python": platform.python_version()},
        "commit": _commit(),
        "host": socket.gethostname(),
        "resolved": {"emulator": resolve_emulator(config.emulator), "precision": precision, "devices": devices},
    }


def _version() -> str | None:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version("a3g")
    return None


def _commit() -> str | None:
    if not (_ROOT / ".git").exists():
        return None
    command = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=5).stdout.strip()
    return None
