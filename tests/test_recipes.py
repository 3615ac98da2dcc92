"""The recipes of CONTRIBUTING.md, followed: "add an engine" and "add a metric".

"Add an algorithm" is followed by tests/test_custom_algorithm.py, "add a start source" by tests/test_starts.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from a3g.algorithms import make_algorithm
from a3g.config import TrainConfig
from a3g.experience.make import make_collector
from a3g.game.emulators import available_emulators, make_emulator
from a3g.game.options import EMULATOR_NAMES, ENGINES, Engine
from a3g.processes.evaluation import Evaluator
from a3g.reporting.metrics import read_curve
from a3g.reporting.phases import PhaseClock
from environment import make_env
from tests.recordings import FLAGPOLE_1_1, REPLAY, actions

ROOT = Path(__file__).resolve().parent.parent
needs_native = pytest.mark.skipif("native" not in available_emulators(), reason="the native core is not built here")


# -- an engine: its file and its row in the table


@pytest.fixture
def slow_native(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a new engine, whose row is all that is added to the program."""
    row = Engine("tests.recipes.slow_native:SlowNative", "a3g_native", "build it by `pip install ./native`")
    monkeypatch.setitem(ENGINES, "slow-native", row)
    return "slow-native"


def test_the_command_line_offers_the_engines_of_the_table() -> None:
    """In a new process, whose table has a row more when the options are made."""
    code = (
        "from a3g.game import options; from dataclasses import replace\n"
        "options.ENGINES['slow-native'] = options.ENGINES['native']; options.EMULATOR_NAMES += ('slow-native',)\n"
        "from a3g.command_line import parse_train; print(parse_train().emulator)"
    )
    assert ("auto", *ENGINES) == EMULATOR_NAMES
    command = [sys.executable, "-c", code, "--emulator"]
    accepted = subprocess.run([*command, "slow-native"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert accepted.stdout.strip() == "slow-native"
    refused = subprocess.run([*command, "slow"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "'slow-native'" in refused.stdout + refused.stderr


@needs_native
def test_a_new_engine_runs_the_game_frame_for_frame(slow_native: str) -> None:
    random = np.random.default_rng(0)
    ours, native = make_emulator(slow_native), make_emulator("native")
    for _ in range(300):
        buttons = int(random.integers(256))
        ours.frame(buttons, draw=False)
        native.frame(buttons)
        assert ours.ram() == native.ram()
        assert np.array_equal(ours.grey(), native.grey())
    ours.close()
    native.close()


@needs_native
def test_a_new_engine_plays_a_stage_to_its_end(slow_native: str) -> None:
    games = [make_env("1-1", emulator=engine, **REPLAY) for engine in (slow_native, "native")]
    pictures = [game.reset(seed=0)[0] for game in games]
    assert np.array_equal(*pictures)
    outcome = None
    for action in actions(FLAGPOLE_1_1):
        ours, native = (game.step(action) for game in games)
        assert np.array_equal(ours[0], native[0])
        assert ours[1:] == native[1:]
        outcome = ours[4]["outcome"]
        if ours[2]:
            break
    assert outcome == "cleared"
    for game in games:
        game.close()


@needs_native
def test_a_new_engine_is_trained_and_tested_on(slow_native: str) -> None:
    """Rollouts and test episodes are those of the native engine, which has a vector environment of its own in C++."""
    seen = []
    for engine in (slow_native, "native"):
        small = {"network": "conv4", "hidden_size": 32, "lanes": 2, "num_steps": 8, "max_episode_length": 20}
        config = TrainConfig(env="SuperMarioBros-1-1-v0", emulator=engine, precision="float32", **small)
        torch.manual_seed(0)
        algorithm = make_algorithm(config, torch.device("cpu"))
        collector = make_collector(config, 0, algorithm, 5, PhaseClock(), lambda: None)
        rollout = collector.collect()
        evaluator = Evaluator(type(algorithm), engine, config.game_options())
        results = evaluator.play(algorithm.model, [(stage, 3) for stage in config.test_stages()])
        seen.append([rollout.observations.clone(), rollout.actions.clone(), rollout.rewards.clone()])
        seen[-1].append(torch.tensor([result.agent_steps for result in results]))
        collector.close()
        evaluator.close()
    for ours, native in zip(*seen, strict=True):
        assert torch.equal(ours, native)


# -- a metric: one entry in the dict of an update


@pytest.mark.slow
def test_a_new_metric_is_one_entry_in_the_dict_of_an_update(tmp_path: Path) -> None:
    command = [sys.executable, "main.py", "--algorithm", "tests.recipes.counted_updates:CountedUpdates"]
    command += ["--env", "SuperMarioBros-1-1-v0", "--workers", "2", "--lanes", "4", "--num-steps", "8"]
    command += [
        "--network",
        "conv4",
        "--hidden-size",
        "32",
        "--total-steps",
        "200",
        "--time-per-stage",
        "3",
        "--no-tensorboard-logger",
    ]
    command += ["--log-dir", str(tmp_path / "logs"), "--save-model-dir", str(tmp_path / "models"), "--run-name", "run"]
    subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    folder = tmp_path / "logs" / "run"

    # Not declared anywhere: learn/<name>, the mean over the workers.
    assert read_curve(folder, "learn/lanes_learned_from")[-1][2] == 4.0

    # Declared as a sum: each worker tells its own updates, the run's curve all of them.
    summary = json.loads((folder / "summary.json").read_text())
    assert read_curve(folder, "train/own_updates")[-1][2] == summary["updates"] >= 200 // (4 * 8)
