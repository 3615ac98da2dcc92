"""A vector environment that goes on elsewhere from a saved state plays the same games, step by step."""

from __future__ import annotations

import dataclasses
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from a3g.config import TrainConfig
from a3g.files import load_tensors, save_tensors
from a3g.game.emulators import available_emulators
from a3g.game.lane import GameOptions
from a3g.game.lane_vector import LaneVectorEnv
from a3g.game.packing import pack_bytes, pack_values, unpack_bytes, unpack_values
from a3g.game.stages import STAGES, Stage
from a3g.game.vector import MarioVectorEnv
from a3g.runs.worker_state import load_worker_state, save_worker_state

# Mostly to the right, so that lanes get far, die and go on.
CHANCES = [0.02, 0.1, 0.15, 0.15, 0.45, 0.02, 0.02, 0.02, 0.02, 0.05]
Case = tuple[list[Stage | None], int, GameOptions, int]
CASES: dict[str, Case] = {
    "one stage": ([Stage(1, 1)], 4, GameOptions(sticky_actions=0.2, noop_max=0), 150),
    "more stages than lanes": (list(STAGES), 3, GameOptions(time_per_stage=10), 150),
    "whole game, lives as episodes": ([None], 3, GameOptions(episodic_life=True, time_per_stage=10), 200),
    "mazes": ([Stage(4, 4), Stage(7, 4), Stage(8, 4)], 3, GameOptions(time_per_stage=40), 150),
    "gym reward": ([Stage(1, 1), None], 3, GameOptions(reward="gym", time_per_stage=10), 150),
    "gym reward with a bonus": ([Stage(1, 1), None], 3, GameOptions(reward="gym-bonus", time_per_stage=10), 150),
    "gym reward and direction": ([Stage(1, 1), None], 3, GameOptions(reward="gym-forward", time_per_stage=10), 150),
    "two-frame maximum": ([Stage(1, 1)], 2, GameOptions(two_frame_max=True, skip_rate=2, time_per_stage=6), 150),
}


def make(engine: str, case: Case, seed: int) -> MarioVectorEnv:
    stages, lanes, options, _ = case
    if engine == "native, all at once":
        from a3g.game.native_vector import NativeVectorEnv

        return NativeVectorEnv(stages, lanes, options, seed)
    return LaneVectorEnv(stages, lanes, options, engine, seed)


def play(env: MarioVectorEnv, steps: int, seed: int) -> tuple[list[Any], int]:
    """What an agent sees, and how many episodes ended."""
    random, seen, ended = np.random.default_rng(seed), [], 0
    for _ in range(steps):
        observations, rewards, terminated, truncated, infos = env.step(random.choice(10, env.num_envs, p=CHANCES))
        seen += [observations.copy(), rewards.copy(), terminated.copy(), truncated.copy()]
        seen += [np.asarray(infos[name]).astype(str) for name in ("progress", "attempt", "attempt_steps", "outcome", "x_pos")]
        ended += int((terminated | truncated).sum())
    return seen, ended


ENGINES = ["native, all at once", *available_emulators()]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_restored_environment_plays_the_same_games(engine: str, case: str) -> None:
    if engine == "native, all at once" and "native" not in available_emulators():
        pytest.skip("the native core is not built here")
    steps = CASES[case][3]
    if engine == "nes-py":
        if case not in ("one stage", "two-frame maximum"):
            pytest.skip("nes-py is too slow to play everything")
        steps = 60
    env = make(engine, CASES[case], seed=7)
    env.reset(seed=11)
    play(env, steps, seed=0)
    state = env.state_dict()
    expected, ended = play(env, steps, seed=1)
    env.close()
    assert ended or engine == "nes-py"

    other = make(engine, CASES[case], seed=99)
    other.reset(seed=98)
    play(other, 5, seed=2)
    other.load_state_dict(state)
    found, _ = play(other, steps, seed=1)
    other.close()
    for ours, theirs in zip(expected, found, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_damaged_game_of_the_native_core_is_refused_and_changes_nothing() -> None:
    a3g_native = pytest.importorskip("a3g_native")
    from a3g.game.native_vector import NativeVectorEnv

    env = NativeVectorEnv([Stage(1, 1)], 1, GameOptions(), seed=1)
    env.reset()
    play(env, 30, seed=0)
    batch = env._batch
    assert isinstance(batch, a3g_native.Batch)
    good = batch.save_game(0)
    random = np.random.default_rng(0)
    damaged = [b"", good[:-1], good + b"\0", good[: len(good) // 2], batch.save(0), b"A3GG" + bytes(len(good) - 4)]
    for _ in range(200):
        bad = bytearray(good)
        bad[random.integers(len(bad))] ^= 1 << random.integers(8)
        damaged.append(bytes(bad))
    for bad_game in damaged:
        with pytest.raises(ValueError, match="game"):
            batch.load_game(0, bad_game)
    assert batch.save_game(0) == good


def test_a_game_of_the_cores_first_version_goes_on() -> None:
    """Games that version 1 saved have no index of the reward: they were played for a3g."""
    pytest.importorskip("a3g_native")
    env, other = make("native, all at once", CASES["one stage"], 1), make("native, all at once", CASES["one stage"], 1)
    for each in (env, other):
        each.reset()
        play(each, 30, seed=0)
    for lane in range(env.num_envs):
        game = env._batch.save_game(lane)
        assert game[4:12] == struct.pack("<II", 2, 0), "the version and the index of the reward"
        first_version = game[:4] + struct.pack("<I", 1) + game[12:-4]
        env._batch.load_game(lane, first_version + struct.pack("<I", zlib.crc32(first_version)))
        assert env._batch.save_game(lane) == game
    for ours, theirs in zip(play(env, 60, seed=1)[0], play(other, 60, seed=1)[0], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_game_played_for_another_reward_is_refused() -> None:
    pytest.importorskip("a3g_native")
    env, other = make("native, all at once", CASES["one stage"], 1), make("native, all at once", CASES["gym reward"], 1)
    for each in (env, other):
        each.reset()
    with pytest.raises(ValueError, match="this game was played for the reward gym: a3g is expected"):
        env._batch.load_game(0, other._batch.save_game(0))


def test_a_python_lane_saved_before_progress_was_kept_apart_goes_on() -> None:
    """Regression: the first version kept the progress with the reward."""
    case = CASES["one stage"]
    env, other = make("auto", case, 1), make("auto", case, 2)
    for each in (env, other):
        each.reset()
    play(env, 30, seed=0)
    state = env.state_dict()
    lanes = unpack_values("lanes", state)
    for lane in lanes:
        lane["episode"]["reward"] |= lane["episode"].pop("progress")
    other.load_state_dict({**state, **pack_values("lanes", lanes)})
    for ours, theirs in zip(play(env, 60, seed=1)[0], play(other, 60, seed=1)[0], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_worker_file_from_before_an_option_counts_as_one_with_its_default(tmp_path: Path) -> None:
    """Checkpoints written before there were several rewards were played for a3g."""
    path, cpu, config = tmp_path / "worker", torch.device("cpu"), TrainConfig(workers=1)
    tensors = {"x": torch.zeros(1)}
    save_worker_state(path, tensors, config, 0, cpu)
    _, metadata = load_tensors(path, "worker's state")
    games = json.loads(metadata["games"])
    assert games["game"].pop("reward") == "a3g"
    save_tensors(path, tensors, {**metadata, "games": json.dumps(games)})
    assert load_worker_state(path, config, 0, cpu).same_games
    assert not load_worker_state(path, TrainConfig(workers=1, reward="gym"), 0, cpu).same_games


def test_a_worker_file_from_before_a_layer_could_be_left_out_counts_as_one_that_has_it(tmp_path: Path) -> None:
    path, cpu, config = tmp_path / "worker", torch.device("cpu"), TrainConfig(workers=1, shared_optimizer=False)
    tensors = {"x": torch.zeros(1)}
    save_worker_state(path, tensors, config, 0, cpu)
    _, metadata = load_tensors(path, "worker's state")
    described = {name: json.loads(metadata[name]) for name in ("games", "optimizer")}
    assert all(each["network"].pop("fc") for each in described.values())
    save_tensors(path, tensors, {**metadata, **{name: json.dumps(each) for name, each in described.items()}})
    assert load_worker_state(path, config, 0, cpu)[1:] == (True, True)
    assert load_worker_state(path, dataclasses.replace(config, fc=False), 0, cpu)[1:] == (False, False)


def test_byte_strings_come_back_and_wrong_lengths_are_refused() -> None:
    parts = [b"abc", b"", b"\0" * 5]
    packed = pack_bytes("x", parts)
    assert unpack_bytes("x", packed) == parts
    assert unpack_bytes("x", pack_bytes("x", [])) == []
    for lengths in ([3, 0, 4], [4, -1, 5], []):
        with pytest.raises(ValueError, match="do not fit"):
            unpack_bytes("x", {**packed, "x.lengths": np.array(lengths, np.int64)})
