"""A user's mistakes, on the commands themselves: one sentence on stderr, exit code 2, nothing written."""

from __future__ import annotations

import multiprocessing
import os
import re
import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from a3g.config import TrainConfig
from a3g.learning.model import ActorCritic
from a3g.processes.checkpoint import CHECKPOINT_NAME, Progress, save_checkpoint
from a3g.processes.shared import SharedModel
from a3g.processes.shared import TestBoard as Board
from a3g.weights import save_weights

ROOT = Path(__file__).parent.parent
ENV = "SuperMarioBros-1-1-v0"
SMALL = TrainConfig(env=ENV, network="conv4", hidden_size=16, lstm=False, run_name="run")


@dataclass(frozen=True)
class Case:
    """A command, what its folder holds before, and what its sentence says."""

    command: str
    says: str
    prepare: Callable[[Path], object] = lambda folder: None


def small_weights(folder: Path) -> Path:
    path = folder / "trained_models" / f"{ENV}.safetensors"
    save_weights(path, ActorCritic(SMALL.network_spec()), ENV, SMALL.game_options(), 1)
    return path


def damaged_weights(folder: Path) -> None:
    path = small_weights(folder)
    path.write_bytes(path.read_bytes()[:-100])


def checkpoint(folder: Path) -> Path:
    path = folder / "logs" / "run" / CHECKPOINT_NAME
    save_checkpoint(path, SharedModel(ActorCritic(SMALL.network_spec()), SMALL), Board(), Progress(), SMALL)
    return path


def damaged_checkpoint(folder: Path) -> None:
    path = checkpoint(folder)
    path.write_bytes(path.read_bytes()[:-100])


def a_file(folder: Path) -> None:
    (folder / "file").write_text("mine")


# /proc takes no files from anybody, not even from root, for whom permissions do not count.
CASES = {
    "unknown env": Case("main.py --env SuperMarioBros-9-1-v0", "Unknown environment 'SuperMarioBros-9-1-v0'"),
    "no workers": Case("main.py --workers 0", "--workers must be at least 1, not 0"),
    "no such GPU": Case("main.py --gpu-ids 99", "There is no GPU 99"),
    "unknown preset": Case("main.py --preset turbo", "Unknown preset 'turbo'"),
    "no weights to load": Case(f"main.py --env {ENV} --load", f"There is no weights file trained_models/{ENV}.safetensors"),
    "damaged weights to load": Case(f"main.py --env {ENV} --load", "is damaged", damaged_weights),
    "other weights to load": Case(f"main.py --env {ENV} --load", "holds weights of another network", small_weights),
    "a file as log folder": Case("main.py --log-dir file", "Can't write into the folder file/", a_file),
    "a file above the log folder": Case("main.py --log-dir file/logs", "Can't write into the folder file/logs/", a_file),
    "unwritable log folder": Case("main.py --log-dir /proc/logs", "Can't write into the folder /proc/logs/"),
    "a file as model folder": Case("main.py --save-model-dir file", "Can't write into the folder file", a_file),
    "nothing to resume": Case("main.py --resume run", "There is no checkpoint to resume"),
    "damaged checkpoint": Case("main.py --resume run", "is damaged", damaged_checkpoint),
    "resume another network": Case("main.py --resume run --network nature", "written with another network", checkpoint),
    "a run of that name": Case("main.py --run-name run", "exists: go on with it by --resume run", checkpoint),
    "resume into another run": Case("main.py --resume logs/run --run-name run", "exists: go on with it by", checkpoint),
    "eval: unknown env": Case("gym_eval.py --env SuperMarioBros-1-1", "Unknown environment 'SuperMarioBros-1-1'"),
    "eval: no episodes": Case("gym_eval.py --num-episodes 0", "--num-episodes must be at least 1, not 0"),
    "eval: no such GPU": Case(f"gym_eval.py --env {ENV} --gpu-id 99", "There is no GPU 99", small_weights),
    "eval: no weights": Case(f"gym_eval.py --env {ENV}", "There is no weights file"),
    "eval: no such weights": Case("gym_eval.py --weights here.safetensors", "There is no weights file here.safetensors"),
    "eval: damaged weights": Case(f"gym_eval.py --env {ENV}", "is damaged", damaged_weights),
    "eval: other weights": Case(f"gym_eval.py --env {ENV} -hs 512", "--hidden-size 16, not 512", small_weights),
    "eval: no weights at all": Case("gym_eval.py --weights file", "The weights file file is damaged or is none", a_file),
    "eval: no display": Case(f"gym_eval.py --env {ENV} --render", "isplay", small_weights),
    "eval: a file as video folder": Case(
        f"gym_eval.py --env {ENV} --record-video --log-dir file",
        "Can't write into the folder file",
        lambda folder: (a_file(folder), small_weights(folder)),
    ),
    "eval: a file above the results": Case(
        f"gym_eval.py --env {ENV} --json file/results.json",
        "Can't write",
        lambda folder: (a_file(folder), small_weights(folder)),
    ),
}


@dataclass(frozen=True)
class Result:
    code: int | None
    out: str
    err: str
    before: dict[str, bytes | None]
    after: dict[str, bytes | None]


def everything_in(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def run_command(command: str, folder: Path, out: Path, err: Path) -> None:
    """In a process of its own: become `python <command>` in `folder`."""
    for stream, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    os.chdir(folder)
    for display in ("DISPLAY", "WAYLAND_DISPLAY"):
        os.environ.pop(display, None)
    script, *arguments = command.split()
    sys.argv = [script, *arguments]
    runpy.run_path(str(ROOT / script), run_name="__main__")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """All commands, each in a folder and a process of its own (forked, which saves importing PyTorch each time)."""
    torch.manual_seed(0)
    results = {}
    for name, case in CASES.items():
        folder, streams = tmp_path_factory.mktemp("case"), tmp_path_factory.mktemp("streams")
        case.prepare(folder)
        before = everything_in(folder)
        out, err = streams / "out", streams / "err"
        process = multiprocessing.get_context("fork").Process(target=run_command, args=(case.command, folder, out, err))
        process.start()
        process.join(120)
        results[name] = Result(process.exitcode, out.read_text(), err.read_text(), before, everything_in(folder))
    return results


@pytest.mark.parametrize("name", CASES)
def test_one_sentence_and_exit_code_2(results: dict[str, Result], name: str) -> None:
    result, script = results[name], CASES[name].command.split()[0]
    assert result.code == 2, result
    assert re.fullmatch(rf"{re.escape(script)}: [^\n]+\.\n", result.err), result.err
    assert CASES[name].says in result.err
    assert result.out == ""


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_written(results: dict[str, Result], name: str) -> None:
    assert results[name].after == results[name].before
