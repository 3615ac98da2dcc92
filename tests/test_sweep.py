"""The command `sweep`: what it combines, what it collects, and how its trainings stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from a3g.__main__ import main
from a3g.cluster.slurm.granted import gpu_option
from a3g.cluster.sweep_config import SweepConfig, make_tasks, parse_sweep
from a3g.cluster.sweep_task import TaskState, TrainingTask, read_state

ROOT = Path(__file__).parent.parent


def test_every_combination_is_trained() -> None:
    config, common = parse_sweep(
        ["--stages", "1-1", "2-1", "--seeds", "1", "2", "--set", "lr=1e-4,3e-4", "lstm=on,off", "--preset", "quick"]
    )
    tasks = make_tasks(config, common)
    assert len(tasks) == len({task.name for task in tasks}) == 16
    first, last = tasks[0], tasks[-1]
    assert first.name == "1-1_lr=1e-4_lstm=on_seed=1"
    assert first.arguments == ["--preset", "quick", "--env", "SuperMarioBros-1-1-v0", "--seed", "1", "--lr", "1e-4", "--lstm"]
    assert (last.stage, last.seed, last.settings) == ("2-1", 2, {"lr": "3e-4", "lstm": "off"})
    assert last.arguments[-3:] == ["--lr", "3e-4", "--no-lstm"]


def test_without_stages_the_environment_is_the_trainings_own() -> None:
    tasks = make_tasks(SweepConfig(seeds=(3,)), ["--env", "SuperMarioBros-v0"])
    assert [task.name for task in tasks] == ["seed=3"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--stages", "9-9"], "--stages must be stages from 1-1 to 8-4, not 9-9."),
        (["--stages", "1-1", "1-1"], "--stages must be different stages"),
        (["--seeds", "-1"], "--seeds must be one or more numbers from 0 up"),
        (["--set", "lr"], "--set must be made of NAME=VALUE,VALUE, not lr."),
        (["--set", "lr=1,,2"], "--set must be made of NAME=VALUE,VALUE"),
        (["--set", "seed=1,2"], "--set must be something else: the sweep sets that itself"),
        (["--set", "lr=1", "--set", "gamma=1"], "--set is given 2 times: give all its values behind one."),
        (["--run-name", "mine"], "--run-name is set by the sweep itself"),
        (["--stages", "1-1", "--env", "SuperMarioBros-v0"], "--env is set by the sweep itself"),
        (["--cpus", "0"], "--cpus must be at least 1"),
        (["--hours", "0"], "--hours must be between 0.05 and 10000"),
        (["--sbatch", "account"], "--sbatch must be made of NAME=VALUE"),
        (["--workers", "0"], "--workers must be at least 1, not 0."),
        (["--watch", "x", "--preset", "quick"], "nothing is trained: leave --preset quick out."),
        (["--collect", "nowhere"], "There is no sweep in"),
    ],
)
def test_mistakes_are_said_in_one_sentence(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("a3g sweep: ")
    assert says in err
    assert err.count("\n") == 1


def test_slurm_is_needed_only_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["sweep", "--executor", "slurm", "--folder", str(tmp_path / "sweep")]) == 2
    assert "which is not on this machine: use --executor local." in capsys.readouterr().err
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(
    ("environment", "option"),
    [
        ({}, []),
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, []),  # of a job that asked for none, where Slurm hides nothing
        ({"SLURM_GPUS_ON_NODE": "2", "CUDA_VISIBLE_DEVICES": "3,5"}, ["--gpu-ids", "0", "1"]),
        ({"SLURM_JOB_GPUS": "7", "CUDA_VISIBLE_DEVICES": "GPU-8f6c"}, ["--gpu-ids", "0"]),
        ({"SLURM_GPUS_ON_NODE": "1"}, ["--gpu-ids", "0"]),
        ({"SLURM_JOB_GPUS": "", "CUDA_VISIBLE_DEVICES": "NoDevFiles"}, []),
        ({"SLURM_JOB_GPUS": "0", "CUDA_VISIBLE_DEVICES": "NoDevFiles"}, []),
    ],
)
def test_the_gpus_of_a_job_are_counted_from_0(environment: dict[str, str], option: list[str]) -> None:
    assert gpu_option(environment) == option


@pytest.mark.parametrize(
    ("state", "name"),
    [
        (TaskState(), "waiting"),
        (TaskState(None, 1), "running"),
        (TaskState(0, 2), "done"),
        (TaskState(138, 1), "stopped"),
        (TaskState(143, 1), "stopped"),
        (TaskState(1, 1), "failed"),
        (TaskState(137, 1), "failed"),
    ],
)
def test_how_a_training_stands(state: TaskState, name: str) -> None:
    assert state.name == name


def test_a_damaged_state_is_none(tmp_path: Path) -> None:
    (tmp_path / "state").write_text('{"exit_code": 0, "more": 1}')
    assert read_state(tmp_path / "state") == TaskState() == read_state(tmp_path / "none")


def test_a_training_that_fails_says_so(tmp_path: Path) -> None:
    task = TrainingTask(["--workers", "0"], tmp_path / "tasks" / "one.json")
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert task() == 2
    finally:
        signal.signal(signal.SIGTERM, before)
    state = read_state(tmp_path / "tasks" / "one.json")
    assert (state.name, state.exit_code, state.starts) == ("failed", 2, 1)


def test_a_sweep_that_is_not_this_one_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("submitit")
    (tmp_path / "sweep.json").write_text(json.dumps({"executor": "local", "jobs": {}, "tasks": []}))
    assert main(["sweep", "--executor", "local", "--folder", str(tmp_path)]) == 2
    assert "Another sweep is in" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_sweep_on_this_machine_is_saved_when_it_is_stopped(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    folder = tmp_path / "sweep"
    flags = [
        "--workers",
        "1",
        "--lanes",
        "2",
        "--num-steps",
        "4",
        "--network",
        "conv4",
        "--hidden-size",
        "16",
        "--no-tensorboard-logger",
    ]
    command = [sys.executable, "-m", "a3g", "sweep", "--executor", "local", "--folder", str(folder), "--stages", "1-1", "1-2"]
    with subprocess.Popen([*command, *flags], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            deadline = time.monotonic() + 600
            while not list(folder.glob("1-1_seed=1/checkpoint-*")):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            out, _ = process.communicate(timeout=300)
        finally:
            process.kill()
    assert process.returncode == 130
    state = read_state(folder / "tasks" / "1-1_seed=1.json")
    assert (state.name, state.exit_code) == ("stopped", 143)
    assert (folder / "1-1_seed=1" / "summary.json").exists()
    assert not (folder / "1-2_seed=1").exists()
    assert "1 stopped, 1 waiting" in out
