"""A user's mistakes, on the commands themselves: one sentence on stderr, exit code 2, nothing written."""

from __future__ import annotations

import json
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
from a3g.files import load_tensors, save_tensors
from a3g.networks.actor_critic import ActorCritic
from a3g.processes.shared_run import SharedRun
from a3g.runs.checkpoint import save_checkpoint
from a3g.runs.paths import checkpoint_path
from a3g.runs.progress import Progress
from a3g.runs.weights import save_weights
from tests.running import snapshot_of

ROOT = Path(__file__).parent.parent
ENV = "SuperMarioBros-1-1-v0"
TOO_LONG = "x" * 300  # for any file system's names
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
    path = checkpoint_path(folder / "logs" / "run", 1)
    shared = SharedRun(ActorCritic(SMALL.network_spec()), SMALL)
    save_checkpoint(path, snapshot_of(shared).tensors, Progress(), SMALL)
    return path


def damaged_checkpoint(folder: Path) -> None:
    path = checkpoint(folder)
    path.write_bytes(path.read_bytes()[:-100])


def again(path: Path, change: Callable[[dict[str, torch.Tensor], dict[str, str]], object]) -> None:
    """Write a file again with its tensors or texts changed, and a checksum that fits: what only a stranger's file is."""
    tensors, metadata = load_tensors(path, "test")
    metadata.pop("format_version")
    change(tensors, metadata)
    save_tensors(path, tensors, metadata)


def spoil(tensors: dict[str, torch.Tensor]) -> None:
    """One number among many that is none."""
    numbers = [tensor for tensor in tensors.values() if tensor.is_floating_point()]
    max(numbers, key=torch.numel).view(-1)[7] = float("nan")  # not the first: files are read in no fixed order


def with_settings(**values: object) -> Callable[[Path], object]:
    """A checkpoint of a run with such settings."""

    def change(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
        metadata["config"] = json.dumps({**json.loads(metadata["config"]), **values})

    return lambda folder: again(checkpoint(folder), change)


def with_score(score: str) -> Callable[[Path], object]:
    """Weights that say they scored this."""
    return lambda folder: again(small_weights(folder), lambda tensors, metadata: metadata.update(score=score))


def giant_weights(folder: Path) -> None:
    """A header that declares a terabyte."""
    header = {"w": {"dtype": "F32", "shape": [1 << 38], "data_offsets": [0, 1 << 40]}}
    data = json.dumps(header).encode()
    (folder / "giant").write_bytes(len(data).to_bytes(8, "little") + data + bytes(64))


def endless_header(folder: Path) -> None:
    (folder / "endless").write_bytes(b"\xff" * 7 + b"\x7f" + bytes(64))


def two_damaged_checkpoints(folder: Path) -> None:
    for path in (checkpoint(folder), checkpoint_path(folder / "logs" / "run", 2)):
        path.write_bytes(b"")


def a_file(folder: Path) -> None:
    (folder / "file").write_text("mine")


def a_folder(folder: Path, name: str) -> None:
    """Where a file of the run should be."""
    (folder / "logs" / "run" / name).mkdir(parents=True)


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
    # -- more than there can be
    "workers beyond counting": Case("main.py --workers 1000000000000000000000000000000", "--workers must be at most 4096"),
    "more than fits into memory": Case("main.py --lanes 4096 --num-steps 100000", "GB of memory at the least"),
    "a replay beyond memory": Case(
        "main.py --preset ddqn --replay-size 9999999999 --replay-storage memory", "a smaller --replay-size"
    ),
    "a replay beyond the disk": Case(
        "main.py --preset ddqn --replay-size 9999999999 --replay-storage disk", "GB of disk, with those in checkpoints"
    ),
    # -- what does not go together
    "resume another algorithm": Case(
        "main.py --resume run --preset ddqn", "is of --algorithm a3c, and --algorithm dqn trains another kind", checkpoint
    ),
    "an option of another algorithm": Case("main.py --preset dqn-per --tau 0.9", "--tau is no option of --algorithm dqn"),
    "an LSTM for a DQN": Case("main.py --preset ddqn --lstm", "A DQN has no LSTM here: add --no-lstm"),
    "an A2C without its LSTM": Case("main.py --preset a2c --no-lstm", "--no-fc needs the LSTM"),
    "PPO with lanes that can't be shared out": Case("main.py --preset ppo --lanes 6", "a multiple of --minibatches (4), not 6"),
    "nowhere to log": Case("main.py --log-dir=", "--log-dir must be a name or a path, not empty"),
    "the tester's goal without a tester": Case("main.py --serial --until-cleared", "--until-cleared needs the tester"),
    "eval: episodes beyond counting": Case("gym_eval.py --num-episodes 1" + 20 * "0", "--num-episodes must be at most"),
    # -- bad files, beside those above
    "weights to load with numbers that are none": Case(
        f"main.py --env {ENV} --load",
        "holds numbers that are not finite",
        lambda folder: again(small_weights(folder), lambda tensors, metadata: spoil(tensors)),
    ),
    "all checkpoints damaged": Case("main.py --resume run", "None of the 2 checkpoints", two_damaged_checkpoints),
    "all checkpoints damaged, auto": Case("main.py --resume auto --run-name run", "None of the 2", two_damaged_checkpoints),
    "a checkpoint with numbers that are none": Case(
        "main.py --resume run",
        "holds numbers that are not finite",
        lambda folder: again(checkpoint(folder), lambda tensors, metadata: spoil(tensors)),
    ),
    "weights as checkpoint": Case(
        f"main.py --resume trained_models/{ENV}.safetensors", "has no readable progress", small_weights
    ),
    "settings of the wrong kind": Case("main.py --resume run", "workers can't be 'many'", with_settings(workers="many")),
    "settings of another game": Case("main.py --resume run", "Unknown environment '../../x'", with_settings(env="../../x")),
    "a run name that leads elsewhere": Case("main.py --resume run", "a plain folder name", with_settings(run_name="../../x")),
    "settings that are none": Case(
        "main.py --resume run",
        "has no readable config",
        lambda folder: again(checkpoint(folder), lambda tensors, metadata: metadata.update(config="[" * 50_000)),
    ),
    "a folder as config.json": Case(
        "main.py --run-name run --serial", "Can't write into the run's folder", lambda folder: a_folder(folder, "config.json")
    ),
    "eval: a header of a terabyte": Case("gym_eval.py --weights giant", "is damaged or is none", giant_weights),
    "eval: an endless header": Case("gym_eval.py --weights endless", "is damaged or is none", endless_header),
    "eval: a score that is none": Case(f"gym_eval.py --env {ENV}", "no usable description", with_score('{"wings": 2}')),
    "eval: a score of words": Case(
        f"gym_eval.py --env {ENV}",
        "no usable description",
        with_score('{"stages_cleared": [], "clear_rate": {"1-1": "all"}, "mean_clear_rate": 1, "mean_progress": 1}'),
    ),
    "eval: an infinite score": Case(
        f"gym_eval.py --env {ENV}",
        "no usable description",
        with_score('{"stages_cleared": [], "clear_rate": {}, "mean_clear_rate": Infinity, "mean_progress": 1}'),
    ),
    "eval: a folder as results": Case(
        f"gym_eval.py --env {ENV} --json results.json",
        "Can't write",
        lambda folder: (small_weights(folder), (folder / "results.json").mkdir()),
    ),
    # -- names too long, which fail where closed folders do, but for root too
    "a run name too long": Case(f"main.py --run-name {TOO_LONG}", "a folder name of at most 255 bytes"),
    "resume a name too long": Case(f"main.py --resume {TOO_LONG}", "File name too long"),
    "log folder too long": Case(f"main.py --log-dir {TOO_LONG}", "File name too long"),
    "log folder too long, auto": Case(f"main.py --log-dir {TOO_LONG} --resume auto", "File name too long"),
    "resume a run name too long, auto": Case(
        f"main.py --resume auto --run-name {TOO_LONG}", "a folder name of at most 255 bytes"
    ),
    "eval: a weights folder too long": Case(f"gym_eval.py --env {ENV} -lmr {TOO_LONG}", "File name too long"),
    "eval: results too long": Case(f"gym_eval.py --env {ENV} --json {TOO_LONG}", "File name too long", small_weights),
    # -- the other command
    "eval: unknown env": Case("gym_eval.py --env SuperMarioBros-1-1", "Unknown environment 'SuperMarioBros-1-1'"),
    "eval: no episodes": Case("gym_eval.py --num-episodes 0", "--num-episodes must be at least 1, not 0"),
    "eval: no such GPU": Case(f"gym_eval.py --env {ENV} --gpu-id 99", "There is no GPU 99", small_weights),
    "eval: no weights": Case(f"gym_eval.py --env {ENV} -lmr here", f"There is no weights file here/{ENV}.safetensors"),
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
        if process.is_alive():  # it trains instead of complaining: its exit code will tell
            process.kill()
            process.join()
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
