"""The programs in examples/ run, and the adapter to Stable-Baselines3 gives what a VecEnv has to give."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
ENV = "a3g/SuperMarioBros-1-1-v0"


def run(*arguments: str) -> str:
    """What an example prints."""
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=240)
    return done.stdout


def test_every_example_is_on_the_page() -> None:
    page = (EXAMPLES / "README.md").read_text()
    for path in (*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.ipynb")):
        assert f"({path.name})" in page


@pytest.mark.slow
def test_ppo_in_a_single_file_trains() -> None:
    flags = "--num-envs 4 --num-steps 16 --total-steps 256 --epochs 1 --minibatches 2 --device cpu"
    assert run("examples.ppo_single_file", *flags.split()).startswith("a3g ")


@pytest.mark.slow
def test_torchrl_plays_one_game_and_many() -> None:
    pytest.importorskip("torchrl")
    text = run("examples.torchrl_rollout")
    assert "torch.Size([50, 4, 80, 80])" in text
    assert "torch.Size([8, 50, 4, 80, 80])" in text


@pytest.mark.slow
def test_stable_baselines3_trains() -> None:
    pytest.importorskip("stable_baselines3", reason="stable-baselines3 is not installed: pip install 'a3g[examples]'")
    text = run("examples.sb3_ppo", "--num-envs", "2", "--total-steps", "256")
    assert re.search(r"total_timesteps +\| +256 ", text)


@pytest.mark.slow
def test_the_notebook_runs_and_is_stored_without_outputs() -> None:
    path = EXAMPLES / "first_look.ipynb"
    cells = json.loads(path.read_text())["cells"]
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells)
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed: pip install 'a3g[examples]'")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: pip install 'a3g[examples]'")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell("import os; os.environ['TRAIN_SECONDS'] = '1'"))
    nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(ROOT)}}).execute()
    pictures = [
        output for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 3


# -- the adapter


@pytest.fixture
def vec_env_class():
    pytest.importorskip("stable_baselines3", reason="stable-baselines3 is not installed: pip install 'a3g[examples]'")
    from examples.sb3_ppo import MarioVecEnv

    return MarioVecEnv


def test_the_adapter_steps_as_the_vector_environment_does(vec_env_class) -> None:
    """Against Gymnasium's own interface, step by step, through the ends of episodes."""
    options = {"max_episode_length": 6, "time_per_stage": 3}
    ours = vec_env_class(ENV, 3, **options)
    plain = gymnasium.make_vec(ENV, num_envs=3, autoreset_mode="SameStep", **options)
    seeds = [seed for seed in ours.seed(5) if seed is not None]
    observations, expected = ours.reset(), plain.reset(seed=seeds)[0]
    np.testing.assert_array_equal(observations, expected)
    returns, lengths, ends = np.zeros(3), np.zeros(3, int), 0
    random = np.random.default_rng(1)
    for _ in range(20):
        actions = random.integers(10, size=3)
        before = observations.copy()
        newest, rewards, dones, rows = ours.step(actions)
        np.testing.assert_array_equal(observations, before, err_msg="the last observations must outlive a step")
        observations = newest
        expected, expected_rewards, terminated, truncated, infos = plain.step(actions)
        np.testing.assert_array_equal(observations, expected)
        np.testing.assert_array_equal(rewards, expected_rewards)
        np.testing.assert_array_equal(dones, terminated | truncated)
        returns, lengths = returns + rewards, lengths + 1
        for lane, row in enumerate(rows):
            if not dones[lane]:
                assert row["x_pos"] == infos["x_pos"][lane]
                assert not {"terminal_observation", "episode"} & set(row)
                continue
            ends += 1
            np.testing.assert_array_equal(row["terminal_observation"], infos["final_obs"][lane])
            assert row["x_pos"] == infos["final_info"]["x_pos"][lane]
            assert row["TimeLimit.truncated"] == (truncated[lane] and not terminated[lane])
            assert row["episode"]["l"] == lengths[lane]
            assert row["episode"]["r"] == pytest.approx(returns[lane])
            returns[lane] = lengths[lane] = 0
    assert ends > 3
    ours.close()
    plain.close()


def test_stable_baselines3_wraps_the_adapter_in_nothing_that_copies(vec_env_class) -> None:
    """Channels come first, so no VecTransposeImage is put around it."""
    from stable_baselines3 import PPO

    envs = vec_env_class(ENV, 2)
    model = PPO("CnnPolicy", envs, n_steps=4, batch_size=4, device="cpu")
    assert model.get_env() is envs
    assert envs.env_is_wrapped(type("Monitor", (), {})) == [True, True]
    envs.close()
