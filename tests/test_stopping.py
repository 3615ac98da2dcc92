"""How runs end before their goal: told to stop at any moment, or because training has diverged."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
from torch import multiprocessing

from a3g.config import TrainConfig
from a3g.processes.divergence import MAX_RESTORATIONS, MAX_SKIPPED, SERIES_UPDATES, SKIPPED_SECONDS, DivergenceMonitor
from a3g.processes.heartbeat import HeartbeatMonitor, Heartbeats
from a3g.processes.prepare import prepare_run
from a3g.processes.run_end import resume_command
from a3g.processes.supervisor import Child, Supervisor
from a3g.runs.checkpoint import load_progress, newest_good
from a3g.runs.paths import worker_path
from tests.running import SMALL, Start, arguments, newest_checkpoint, snapshot_of, summary_of

fork = multiprocessing.get_context("fork")

# -- told to stop


def test_stopped_while_its_processes_start_a_run_ends_quietly_and_keeps_its_games(tmp_path: Path, start: Start) -> None:
    folder = tmp_path / "logs" / "run"
    command = arguments(tmp_path, "--run-name", "run", "--workers", "1", "--resume", "auto")
    start([*command, "--total-steps", "64"]).finish(0)
    again = start([*command, "--total-steps", "1000000"])
    launcher = psutil.Process(again.process.pid)  # what the fork server has forked is a child of the launcher's child
    again.wait_for(lambda: any(child.ppid() != launcher.pid for child in launcher.children(recursive=True)))
    for _ in range(2):  # an impatient second Ctrl-C changes nothing
        again.process.send_signal(signal.SIGINT)
    out, err = again.finish(128 + signal.SIGINT)
    assert "a3g: SIGINT: stopping, saving\n" in out
    assert f"a3g: go on with it by: python main.py --resume {folder}\n" in out
    assert "killed" not in out
    assert err == ""
    assert summary_of(folder)["exit_reason"] == "SIGINT"
    newest = newest_checkpoint(folder)
    assert load_progress(newest).resumed == 1
    assert worker_path(newest, 0).exists()


def work_for_ever() -> None:
    signal.pause()


def test_nothing_more_is_started_once_told_to_stop_and_what_only_starts_is_ended_at_once() -> None:
    heartbeats, started = Heartbeats(100), []

    def child(number: int) -> Child:
        def start(restarts: int) -> Any:
            process = fork.Process(target=work_for_ever)
            process.start()
            started.append(process)
            return process

        return Child(f"a3g train {number}", start, HeartbeatMonitor(heartbeats, number), lambda: 0)

    team = [child(number) for number in range(100)]
    supervisor = Supervisor(team, heartbeat_timeout=60.0, should_stop=lambda: len(started) == 2)
    supervisor.start(0.0)
    assert supervisor.check(1.0) is None
    assert len(started) == 2
    assert supervisor.join()
    assert [process.exitcode for process in started] == [-signal.SIGKILL] * 2
    assert supervisor.messages == []


def test_how_to_go_on_is_a_command() -> None:
    assert resume_command(TrainConfig.log_dir / "run") == "python main.py --resume run"
    assert resume_command(Path("/tmp/my logs/run")) == "python main.py --resume '/tmp/my logs/run'"


# -- divergence


def test_damage_that_comes_back_at_once_is_divergence() -> None:
    monitor = DivergenceMonitor(1e30, 0.0, 0, 0)
    for restored in range(1, MAX_RESTORATIONS):
        assert monitor.check(1_000.0 * restored, restored, 0, restored) is None
    trouble = monitor.check(9_000.0, SERIES_UPDATES - 1, 0, MAX_RESTORATIONS)
    assert trouble is not None
    assert "training diverged" in trouble
    assert "lower --lr (now 1e+30)" in trouble


def test_accidents_far_apart_are_no_divergence() -> None:
    monitor = DivergenceMonitor(1e-4, 0.0, 0, 0)
    for restored in range(1, 3 * MAX_RESTORATIONS):
        assert monitor.check(float(restored), SERIES_UPDATES * restored, 0, restored) is None


def test_gradients_that_are_never_finite_are_divergence() -> None:
    monitor = DivergenceMonitor(1.0, 0.0, 10, 5)
    assert monitor.check(2 * SKIPPED_SECONDS, 10, 5 + MAX_SKIPPED - 1, 0) is None
    assert monitor.check(2 * SKIPPED_SECONDS, 11, 5 + 2 * MAX_SKIPPED, 0) is None  # one that counted
    assert monitor.check(3 * SKIPPED_SECONDS - 0.1, 11, 5 + 3 * MAX_SKIPPED, 0) is None
    trouble = monitor.check(3 * SKIPPED_SECONDS, 11, 5 + 3 * MAX_SKIPPED, 0)
    assert trouble is not None
    assert f"the last {MAX_SKIPPED} updates were not finite" in trouble


@pytest.mark.parametrize("damage", [float("nan"), float("inf"), 1e30])
def test_weights_of_an_impossible_size_are_damaged(tmp_path: Path, damage: float) -> None:
    values = {**SMALL, "workers": 1, "log_dir": tmp_path, "save_model_dir": tmp_path, "run_name": "run"}
    run = prepare_run(TrainConfig().with_values(values))
    snapshot = snapshot_of(run.shared)
    assert snapshot.source_is_sound
    run.shared.model.weights.detach()[3] = damage
    assert not snapshot.source_is_sound
    run.close()


def test_a_learning_rate_that_is_far_too_high_ends_the_run_with_a_sentence(tmp_path: Path, start: Start) -> None:
    folder = tmp_path / "logs" / "run"
    run = start(arguments(tmp_path, "--run-name", "run", "--workers", "1", "--lr", "1e30", "--checkpoint-interval", "0.5"))
    out, err = run.finish(1)
    assert "lower --lr (now 1e+30)" in out
    assert "training diverged" in summary_of(folder)["exit_reason"]
    assert "Traceback" not in err
    assert "go on with it by" in out
    assert newest_good(folder, print)
    values = {**SMALL, "log_dir": tmp_path / "logs", "save_model_dir": tmp_path, "resume": "run"}
    resumed = prepare_run(TrainConfig().with_values(values))
    assert snapshot_of(resumed.shared).source_is_sound
    assert resumed.shared.model.weights.abs().max() < 10.0
    resumed.close()
