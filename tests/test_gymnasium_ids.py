"""Gymnasium's `make` and `make_vec` know our environments after `import a3g`, which stays quick."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import a3g
from a3g.errors import UserError
from a3g.game.env import MarioEnv
from a3g.game.stages import STAGES, WHOLE_GAME, env_id_of
from a3g.game.vector import MarioVectorEnv

ROOT = Path(__file__).parent.parent
ENV = "a3g/SuperMarioBros-1-1-v0"
IDS = [f"a3g/{env_id_of(stage)}" for stage in (None, *STAGES)]


def in_fresh_python(program: str) -> str:
    """What a program prints in a Python process of its own."""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True, timeout=120)
    return done.stdout.strip()


def test_all_stages_and_the_whole_game_are_registered(capsys: pytest.CaptureFixture[str]) -> None:
    assert a3g.__version__
    assert [env_id for env_id in gymnasium.registry if env_id.startswith("a3g/")] == IDS
    gymnasium.pprint_registry()
    assert "a3g" in capsys.readouterr().out


def test_importing_the_package_imports_neither_gymnasium_nor_pytorch() -> None:
    program = "import sys, a3g; print([name for name in ('gymnasium', 'torch', 'numpy', 'a3g_native') if name in sys.modules])"
    assert in_fresh_python(program) == "[]"


@pytest.mark.parametrize(
    "program",
    [
        "import a3g, gymnasium",
        "import gymnasium, a3g",
        "import a3g; from gymnasium.envs import registration; import gymnasium",
        "import a3g, importlib.util; importlib.util.find_spec('gymnasium'); import gymnasium",
        "import gymnasium; gymnasium.make('a3g:a3g/SuperMarioBros-v0').close()",
    ],
)
def test_the_order_of_imports_does_not_matter(program: str) -> None:
    count = "print(sum(env_id.startswith('a3g/') for env_id in gymnasium.registry), type(gymnasium.__spec__.loader).__name__)"
    assert in_fresh_python(f"{program}; {count}") == "33 SourceFileLoader"


@pytest.mark.parametrize("env_id", IDS)
def test_every_id_makes_its_stage(env_id: str) -> None:
    env = gymnasium.make(env_id)
    _, info = env.reset(seed=1)
    assert f"{info['world']}-{info['stage']}" == (env_id.split("-", 1)[1][:3] if env_id != f"a3g/{WHOLE_GAME}" else "1-1")
    assert env.spec is not None
    assert env.spec.id == env_id
    env.close()


def test_gymnasiums_checker_has_nothing_to_complain_about() -> None:
    env = gymnasium.make(ENV)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped, skip_render_check=True)  # it would open a window
    env.close()


def test_options_are_keyword_arguments() -> None:
    env = gymnasium.make(ENV, stack=2, height=42, width=42, actions="simple", max_episode_steps=2, render_mode="rgb_array_list")
    env.reset(seed=1)
    observation, *_ = env.step(0)
    assert observation.shape == (2, 42, 42)
    assert env.action_space.n == 7
    assert env.step(0)[3], "cut off after two steps"
    assert [picture.shape for picture in env.render()] == [(224, 240, 3)] * 3
    env.close()


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'wings': choose from"):
        gymnasium.make(ENV, wings=2)
    with pytest.raises(TypeError, match="unexpected keyword argument 'wings': choose from"):
        gymnasium.make_vec(ENV, num_envs=2, wings=2)
    with pytest.raises(UserError, match="turbo"):
        gymnasium.make(ENV, emulator="turbo")


def test_many_games_are_our_own_vector_environment() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        envs = gymnasium.make_vec(ENV, num_envs=16, stack=2, max_episode_steps=3)
    assert isinstance(envs.unwrapped, MarioVectorEnv)
    assert envs.num_envs == 16
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert envs.spec is not None
    assert envs.spec.id == ENV
    observations, _ = envs.reset(seed=1)
    assert observations.shape == (16, 2, 80, 80)
    ends = [envs.step(np.zeros(16, np.int64))[3].all() for _ in range(3)]
    assert ends == [False, False, True]
    envs.close()


def test_the_spec_of_a_vector_environment_makes_it_again() -> None:
    first = gymnasium.make_vec(ENV, num_envs=3, autoreset_mode="NextStep", noop_max=0)
    again = gymnasium.make_vec(first.spec)
    assert (again.num_envs, again.metadata["autoreset_mode"]) == (3, AutoresetMode.NEXT_STEP)
    np.testing.assert_array_equal(first.reset(seed=5)[0], again.reset(seed=5)[0])
    first.close()
    again.close()


def test_lanes_can_play_different_stages() -> None:
    envs = gymnasium.make_vec(f"a3g/{WHOLE_GAME}", num_envs=2, stages=["3-1", "8-4"])
    _, infos = envs.reset(seed=1)
    assert infos["attempt"].tolist() == ["3-1", "8-4"]
    envs.close()


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_gymnasiums_own_vector_environments_take_single_games(mode: str) -> None:
    envs = gymnasium.make_vec(ENV, num_envs=2, vectorization_mode=mode, noop_max=0)
    fast = gymnasium.make_vec(ENV, num_envs=2, noop_max=0)
    envs.reset(seed=1)
    fast.reset(seed=1)
    for action in (1, 3, 4, 4):
        observations, rewards, *_ = envs.step(np.full(2, action))
        others, other_rewards, *_ = fast.step(np.full(2, action))
        np.testing.assert_array_equal(observations, others)
        np.testing.assert_allclose(rewards, other_rewards, rtol=1e-6)
    envs.close()
    fast.close()


def test_make_returns_the_environment_of_this_package() -> None:
    env = gymnasium.make(ENV)
    assert isinstance(env.unwrapped, MarioEnv)
    env.close()
