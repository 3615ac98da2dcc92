"""`gym_eval.py` as a user meets it: which weights it plays, where results go, and what does not end it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from a3g.config import TrainConfig
from a3g.errors import UserError
from a3g.eval_config import EvalConfig
from a3g.files import write_output
from a3g.networks.actor_critic import ActorCritic
from a3g.networks.flat_parameters import FlatParameters
from a3g.processes.launcher import train
from a3g.processes.play_report import report
from a3g.processes.shared_run import SharedRun
from a3g.processes.tester import BEST_NAME
from a3g.runs.checkpoint import save_checkpoint
from a3g.runs.paths import checkpoint_path
from a3g.runs.playable import find_weights
from a3g.runs.progress import Progress
from a3g.runs.scores import EpisodeResult
from a3g.runs.weights import load_weights, save_weights
from tests.running import ROOT, SMALL, snapshot_of

ENV = "SuperMarioBros-1-1-v0"


def settings(folder: Path, **options: Any) -> TrainConfig:
    small = {**SMALL, "workers": 1, "lanes": 2, "serial": True, "total_steps": 32}
    return TrainConfig().with_values(
        {**small, "log_dir": folder, "save_model_dir": folder / "models", "run_name": "run", **options}
    )


def evaluate(folder: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "gym_eval.py"), "--env", ENV, "-mel", "5", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120, **options)


def weights_in(folder: Path) -> Path:
    config = settings(folder)
    path = folder / "w.safetensors"
    save_weights(path, ActorCritic(config.network_spec()), ENV, config.game_options(), 5)
    return path


# -- weights


def checkpoint_in(folder: Path, number: int = 1) -> tuple[Path, SharedRun]:
    config = settings(folder)
    torch.manual_seed(number)
    shared = SharedRun(ActorCritic(config.network_spec()), config)
    shared.model.input_statistics.copy_(torch.tensor([50.0, 900.0, 1.0]))
    path = checkpoint_path(folder, number)
    save_checkpoint(path, snapshot_of(shared).tensors, Progress(agent_steps=77), config)
    return path, shared


def test_a_checkpoint_is_played_with_what_it_has_learnt(tmp_path: Path) -> None:
    path, shared = checkpoint_in(tmp_path)
    found, weights = find_weights(path)
    assert (found, weights.env_id, weights.agent_steps, weights.score) == (path, ENV, 77, None)
    model = ActorCritic(settings(tmp_path).network_spec())
    shared.model.copy_to(FlatParameters(model))
    for name, tensor in weights.build().state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name
    assert weights.game.time_per_stage == settings(tmp_path).time_per_stage
    assert not weights.game.episodic_life


def test_a_runs_folder_is_played_with_its_best_or_else_its_newest_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"neither best\.safetensors nor a checkpoint"):
        find_weights(tmp_path)
    for number in (1, 2):
        checkpoint_in(tmp_path, number)
    assert find_weights(tmp_path)[0].name == "checkpoint-000002.safetensors"
    weights_in(tmp_path).rename(tmp_path / BEST_NAME)
    assert find_weights(tmp_path)[0].name == BEST_NAME


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    path, _ = checkpoint_in(tmp_path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserError, match="damaged"):
        find_weights(path)


def test_the_shipped_weights_are_found_from_any_folder_and_results_say_all(tmp_path: Path) -> None:
    done = evaluate(tmp_path, "--json", "/dev/stdout", "--num-episodes", "2")
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)  # and nothing else: the table goes to where errors go
    assert len(content["episodes"]) == 2
    assert content["weights"]["path"] == str(ROOT / "trained_models" / f"{ENV}.safetensors")
    score = load_weights(ROOT / "trained_models" / f"{ENV}.safetensors").score
    assert score is not None
    assert content["weights"]["score"] == score.to_json()
    assert score.stages["1-1"].cleared > 0
    assert (content["settings"]["num_episodes"], content["game"]["max_episode_length"]) == (2, 5)
    assert "episodes cleared" in done.stderr


def test_the_last_weights_are_tested_when_asked_for(tmp_path: Path) -> None:
    """Regression: a run that ended before its first test had weights that nobody had tested."""
    assert train(settings(tmp_path, test_at_end=True)) == 0
    best = load_weights(tmp_path / "run" / BEST_NAME)
    assert best.score is not None
    assert best.agent_steps == best.score.agent_steps >= 32
    assert find_weights(tmp_path / "run")[0].name == BEST_NAME


# -- where results go


def test_what_is_no_regular_file_stays_what_it_is(tmp_path: Path) -> None:
    """Regression: `--json /dev/stdout` replaced the device by a file, for the whole machine."""
    pipe, target, link = tmp_path / "pipe", tmp_path / "target", tmp_path / "link"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_output(pipe, b"through the pipe")
    assert os.read(reader, 100) == b"through the pipe"
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    link.symlink_to(target)
    write_output(link, b"through the link")
    assert link.is_symlink()
    assert target.read_bytes() == b"through the link"
    with pytest.raises(OSError, match="No space left"):
        write_output(Path("/dev/full"), b"x")
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)
    write_output(tmp_path / "new" / "file", b"as before")
    assert (tmp_path / "new" / "file").read_bytes() == b"as before"


def test_a_full_disk_ends_the_videos_and_not_the_evaluation(tmp_path: Path) -> None:
    """The kernel's own "file too large", as near to a full disk as a test gets without one."""

    def little_room() -> None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    arguments = ("--weights", str(weights_in(tmp_path)), "--record-video", "-mel", "40", "--num-episodes", "2")
    done = evaluate(tmp_path, *arguments, "--json", "/dev/stdout", preexec_fn=little_room)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Can't write the video, goes on without") == 1
    assert "Traceback" not in done.stderr
    assert len(json.loads(done.stdout)["episodes"]) == 2


def test_a_whole_game_says_how_far_it_got(tmp_path: Path) -> None:
    """Regression: "0 of 1 episodes cleared" was all that was said, whether 1-1 or 8-4 was reached."""
    arguments = ("--weights", str(weights_in(tmp_path)), "--env", "SuperMarioBros-v0", "--no-test-single-stages")
    done = evaluate(tmp_path, *arguments, "-mel", "40", "--json", "/dev/stdout")
    assert done.returncode == 0, done.stderr
    (played,) = json.loads(done.stdout)["episodes"]
    assert (played["stage_reached"], played["lives_lost"], played["stages_cleared"]) == ("1-1", 0, [])
    said = " ".join(done.stderr.split())
    assert "The furthest game reached 1-1: it cleared no stage; 0 lives lost, no warp zone used." in said


def game(reached: str, *cleared: str, lives_lost: int = 3) -> EpisodeResult:
    return EpisodeResult("SuperMarioBros-v0", "died", 1.0, 10, 40, 1, 0, cleared, reached, lives_lost)


def test_the_furthest_of_whole_games_is_named_with_what_it_skipped(tmp_path: Path) -> None:
    weights, config = load_weights(weights_in(tmp_path)), EvalConfig(test_single_stages=False)
    _, text = report([game("1-2", "1-1"), game("4-2", "1-1", "4-1", lives_lost=1), game("1-1")], weights, config)
    assert "furthest game reached 4-2: it cleared 1-1, 4-1; 1 life lost, 11 stages skipped through warp zones." in text


def test_an_interrupt_keeps_the_episodes_that_ended(tmp_path: Path) -> None:
    """Regression: Ctrl-C discarded them."""
    out = tmp_path / "results.json"
    arguments = ("--weights", str(weights_in(tmp_path)), "--num-episodes", "100000", "-tps", "400", "--json", str(out))
    command = [sys.executable, str(ROOT / "gym_eval.py"), "--env", ENV, "-mel", "3", "--new-gym-eval", *arguments]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    folder = tmp_path / "logs" / f"{ENV}_monitor"
    while len(list(folder.glob("*.mp4"))) < 3:  # the third episode has begun, so two have ended
        assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "of 100000 episodes ended" in output
    assert len(json.loads(out.read_text())["episodes"]) >= 2


def test_too_many_episodes_are_refused(tmp_path: Path) -> None:
    done = evaluate(tmp_path, "--num-episodes", str(10**20))
    assert (done.returncode, "at most 1000000" in done.stderr) == (2, True)


# -- the window


def test_an_unreachable_display_is_said(tmp_path: Path) -> None:
    """Regression: Qt ended the program by SIGABRT."""
    environment = {**os.environ, "DISPLAY": ":98765"}
    done = evaluate(tmp_path, "--weights", str(weights_in(tmp_path)), "--render", env=environment)
    assert done.returncode == 2, done.stderr
    assert "No window can be opened on the display :98765" in done.stderr


@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="needs a display that nobody looks at")
def test_a_closed_window_stays_closed(tmp_path: Path) -> None:
    """Regression: the next picture opened it again."""
    script = (
        "import cv2, numpy as np\n"
        "from a3g.reporting.window import Window\n"
        "window, picture = Window('game', 1000), np.zeros((8, 8, 3), np.uint8)\n"
        "window.show(picture); cv2.destroyWindow('game')\n"
        "for _ in range(3): window.show(picture)\n"
        "assert window.is_closed and cv2.getWindowProperty('game', cv2.WND_PROP_VISIBLE) < 1\n"
        "window.close()"
    )
    environment = {**os.environ, "DISPLAY": ":97", "PYTHONPATH": str(ROOT)}
    server = subprocess.Popen(["Xvfb", ":97"], stderr=subprocess.DEVNULL)
    while not Path("/tmp/.X11-unix/X97").exists():
        assert server.poll() is None
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    server.terminate()
    server.wait()
    assert done.returncode == 0, done.stderr
