"""The native core's vector environment is the same environment as the one in Python."""

import numpy as np
import pytest

from a3g.game.emulators import available_emulators
from a3g.game.lane import GameOptions
from a3g.game.lane_vector import LaneVectorEnv
from a3g.game.native_vector import NativeVectorEnv
from a3g.game.options import REWARD_NAMES
from a3g.game.packing import unpack_bytes
from a3g.game.stages import STAGES, Stage
from tests.recordings import (
    FLAGPOLE_1_1,
    MAZE_4_4,
    MAZE_7_4,
    PIPE_1_1,
    PIPES_8_4,
    PIT_1_1,
    REPLAY,
    WARP_1_2,
    WRONG_PIPE_8_4,
    WRONG_TURN_4_4,
    actions,
)

if "native" not in available_emulators():
    pytest.skip("the native core is not built here", allow_module_level=True)
a3g_native = pytest.importorskip("a3g_native")

# Mostly to the right, so that lanes get far, die and go on.
CHANCES = [0.02, 0.1, 0.15, 0.15, 0.45, 0.02, 0.02, 0.02, 0.02, 0.05]

CASES = {
    "one stage": ([Stage(1, 1)], 4, GameOptions(), 400),
    "more stages than lanes": (list(STAGES), 5, GameOptions(time_per_stage=20), 400),
    "whole game": ([None], 3, GameOptions(), 500),
    "whole game, lives as episodes": ([None], 3, GameOptions(episodic_life=True, time_per_stage=30), 500),
    "sticky actions": ([Stage(1, 1), Stage(8, 1)], 4, GameOptions(sticky_actions=0.3, noop_max=0), 200),
    "two-frame maximum": ([Stage(2, 1)], 2, GameOptions(two_frame_max=True, stack=2, height=84, width=84, skip_rate=3), 200),
    "two-frame maximum, every frame": ([Stage(1, 1)], 2, GameOptions(two_frame_max=True, skip_rate=1, time_per_stage=5), 250),
    "two-frame maximum, lives as episodes": (
        [None],
        3,
        GameOptions(two_frame_max=True, episodic_life=True, time_per_stage=10),
        200,
    ),
    "buttons shown": ([Stage(1, 1), Stage(1, 4)], 3, GameOptions(show_buttons=True, sticky_actions=0.2), 300),
    "buttons shown, lives as episodes": (
        [None],
        2,
        GameOptions(show_buttons=True, episodic_life=True, time_per_stage=20, height=84, width=96, two_frame_max=True),
        300,
    ),
    "gym reward": ([Stage(1, 1), Stage(1, 2)], 4, GameOptions(reward="gym"), 300),
    "gym reward, lives as episodes": ([None], 3, GameOptions(reward="gym", episodic_life=True, time_per_stage=30), 300),
    "map": ([Stage(1, 1), Stage(1, 4), Stage(8, 3)], 3, GameOptions(observation="map", sticky_actions=0.1), 300),
    "map, lives as episodes": ([None], 2, GameOptions(observation="map", episodic_life=True, time_per_stage=20), 300),
    "gym reward with a bonus": ([Stage(1, 1), Stage(1, 2)], 4, GameOptions(reward="gym-bonus"), 300),
    "gym reward with a bonus, lives as episodes": (
        [None],
        3,
        GameOptions(reward="gym-bonus", episodic_life=True, time_per_stage=30),
        300,
    ),
    "gym reward and direction": ([Stage(1, 1), Stage(1, 2)], 4, GameOptions(reward="gym-forward"), 300),
    "gym reward and direction, lives as episodes": (
        [None],
        3,
        GameOptions(reward="gym-forward", episodic_life=True, time_per_stage=30),
        300,
    ),
    "cut off": ([Stage(1, 2), Stage(2, 2)], 2, GameOptions(max_episode_length=37, actions="complex"), 200),
}


def assert_same(native, python):
    if isinstance(python, dict):
        assert native.keys() == python.keys()
        for key in python:
            assert_same(native[key], python[key])
    elif isinstance(python, np.ndarray) and python.dtype == object:
        for mine, theirs in zip(native, python, strict=True):
            assert_same(mine, theirs)
    else:
        np.testing.assert_array_equal(native, python)


@pytest.mark.parametrize("case", CASES)
def test_native_lanes_play_the_same_games_as_python_lanes(case):
    stages, num_lanes, options, steps = CASES[case]
    native = NativeVectorEnv(stages, num_lanes, options, seed=7)
    python = LaneVectorEnv(stages, num_lanes, options, "native", seed=7)
    random = np.random.default_rng(0)
    episodes = 0
    for first, second in zip(native.reset(seed=11), python.reset(seed=11), strict=True):
        assert_same(first, second)
    for _ in range(steps):
        if options.actions == "a3g":
            actions = random.choice(options.num_actions, num_lanes, p=CHANCES)
        else:
            actions = random.integers(options.num_actions, size=num_lanes)
        mine, theirs = native.step(actions), python.step(actions)
        for first, second in zip(mine, theirs, strict=True):
            assert_same(first, second)
        episodes += int(theirs[2].sum() + theirs[3].sum())
    assert episodes > 0, "no episode ended, so the ends were not compared"


@pytest.mark.parametrize("reward", REWARD_NAMES)
@pytest.mark.parametrize(
    ("stage", "recording"),
    [
        pytest.param(Stage(1, 1), FLAGPOLE_1_1, id="flagpole"),
        pytest.param(Stage(1, 1), PIPE_1_1, id="pipe"),
        pytest.param(Stage(1, 1), PIT_1_1, id="pit"),
        pytest.param(Stage(1, 2), WARP_1_2, id="warp"),
        pytest.param(Stage(4, 4), MAZE_4_4, id="4-4"),
        pytest.param(Stage(4, 4), WRONG_TURN_4_4, id="4-4 wrong"),
        pytest.param(Stage(7, 4), MAZE_7_4, id="7-4"),
        pytest.param(Stage(8, 4), PIPES_8_4, id="8-4"),
        pytest.param(Stage(8, 4), WRONG_PIPE_8_4, id="8-4 wrong"),
    ],
)
def test_recordings_pay_the_same_in_the_core(stage, recording, reward):
    options = GameOptions(reward=reward, **REPLAY)
    native, python = NativeVectorEnv([stage], 1, options), LaneVectorEnv([stage], 1, options, "native")
    native.reset()
    python.reset()
    for action in actions(recording):
        mine, theirs = (env.step(np.array([action])) for env in (native, python))
        for first, second in zip(mine, theirs, strict=True):
            assert_same(first, second)


def test_the_core_has_the_same_rewards():
    assert a3g_native.REWARDS == REWARD_NAMES


def test_threads_change_nothing():
    envs = [NativeVectorEnv([Stage(1, 1)], 6, GameOptions(), seed=3, threads=threads) for threads in (1, 3)]
    random = np.random.default_rng(1)
    for env in envs:
        env.reset()
    for _ in range(100):
        actions = random.integers(10, size=6)
        one, three = (env.step(actions) for env in envs)
        for first, second in zip(one, three, strict=True):
            assert_same(first, second)


def test_an_idle_lane_stays_as_it_is() -> None:
    """Its game, observation and randomness; the other lanes play what they would play without it."""
    options = GameOptions(sticky_actions=0.3, noop_max=5)
    idle, busy = (NativeVectorEnv([Stage(1, 1)], 3, options) for _ in range(2))
    for env in (idle, busy):
        env.reset(seed=1)
    idle.set_idle(1, True)
    before = idle.state_dict()
    actions = np.random.default_rng(0).integers(options.num_actions, size=(60, 3))
    for each in actions:
        observations, rewards, terminated, truncated, _ = idle.step(each)
        expected = busy.step(each)
        for got, wanted in zip((observations, rewards, terminated, truncated), expected, strict=False):
            np.testing.assert_array_equal(np.asarray(got)[[0, 2]], np.asarray(wanted)[[0, 2]])
        assert (rewards[1], terminated[1], truncated[1]) == (0.0, False, False)
    np.testing.assert_array_equal(observations[1], before["observations"][1])
    after = idle.state_dict()
    for name in ("episode_steps", "last_actions", "variables"):
        np.testing.assert_array_equal(after[name][1], before[name][1])
    assert unpack_bytes("games", after)[1] == unpack_bytes("games", before)[1]
    for env in (idle, busy):
        env.close()
