"""What follows an episode's end in a vector environment: Gymnasium's three modes, its wrappers, masks, seeds, pictures."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ClosedEnvironmentError, InvalidAction, ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import NormalizeObservation, RecordEpisodeStatistics, TransformObservation

from a3g.errors import UserError
from a3g.game.emulators import available_emulators
from a3g.game.lane_vector import LaneVectorEnv
from a3g.game.options import GameOptions
from a3g.game.stages import Stage
from a3g.game.vector import MarioVectorEnv
from environment import make_env, make_vector_env
from tests.test_environment import assert_equal

ENGINES = available_emulators()
NOTHING, RUN, RUN_JUMP = 0, 3, 4  # of the action set "a3g"
STEPS_TO_FIRST_ENEMY = 26  # running right in 1-1 from the start, without no-ops
OPTIONS: dict[str, Any] = {"noop_max": 3, "sticky_actions": 0.1, "max_episode_length": 35}


def gymnasiums(mode: AutoresetMode) -> SyncVectorEnv:
    return SyncVectorEnv([lambda: make_env("1-1", emulator="nes-py", **OPTIONS)] * 2, autoreset_mode=mode)


@pytest.mark.parametrize("engine", ENGINES)
def test_next_step_mode_does_what_gymnasiums_own_does(engine: str) -> None:
    reference = gymnasiums(AutoresetMode.NEXT_STEP)
    env = make_vector_env(["1-1"], 2, engine, autoreset_mode="NextStep", **OPTIONS)
    assert env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    assert_equal(env.reset(seed=[5, 6]), reference.reset(seed=[5, 6]))
    ended = np.zeros(2, int)
    for _ in range(60):
        ours, theirs = env.step(np.array([RUN, NOTHING])), reference.step(np.array([RUN, NOTHING]))
        np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-6)  # rewards: float32 here, float64 there
        assert_equal((ours[0], *ours[2:]), (theirs[0], *theirs[2:]))
        ended += ours[2] | ours[3]
    env.close()
    reference.close()
    assert (ended > 0).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_disabled_mode_and_masks_do_what_gymnasiums_own_does(engine: str) -> None:
    reference = gymnasiums(AutoresetMode.DISABLED)
    env = make_vector_env(["1-1"], 2, engine, autoreset_mode=AutoresetMode.DISABLED, **OPTIONS)
    assert_equal(env.reset(seed=[5, 6]), reference.reset(seed=[5, 6]))
    resets = 0
    for _ in range(60):
        ours, theirs = env.step(np.array([RUN, NOTHING])), reference.step(np.array([RUN, NOTHING]))
        np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-6)
        assert_equal((ours[0], *ours[2:]), (theirs[0], *theirs[2:]))
        mask = ours[2] | ours[3]
        if mask.any():
            resets += 1
            with pytest.raises(ResetNeeded):
                env.step(np.array([RUN, NOTHING]))
            assert_equal(
                env.reset(options={"reset_mask": mask.copy()}),
                reference.reset(options={"reset_mask": mask.copy()}),
            )
    env.close()
    reference.close()
    assert resets >= 2


GAMES: dict[str, tuple[list[Stage | None], GameOptions]] = {
    "one stage": ([Stage(1, 1)], GameOptions(sticky_actions=0.3, time_per_stage=8)),
    "lives as episodes": ([None], GameOptions(episodic_life=True, time_per_stage=8, sticky_actions=0.3)),
    "two-frame maximum": ([None], GameOptions(episodic_life=True, two_frame_max=True, time_per_stage=8)),
}


def all_envs(game: str, **arguments: Any) -> list[MarioVectorEnv]:
    """The same games in Python on every shared engine, and in the native core."""
    stages, options = GAMES[game]
    envs: list[MarioVectorEnv] = [
        LaneVectorEnv(stages, 2, options, engine, seed=7, **arguments) for engine in ENGINES if engine != "nes-py"
    ]
    if "native" in ENGINES:
        from a3g.game.native_vector import NativeVectorEnv

        envs.append(NativeVectorEnv(stages, 2, options, seed=7, **arguments))
    return envs


def stream(env: MarioVectorEnv, steps: int) -> list[list[tuple[Any, ...]]]:
    """What each lane's agent sees when its actions depend on nothing but its own number of agent steps."""
    actions = np.random.default_rng(0).choice([NOTHING, RUN, RUN_JUMP, RUN], (steps, env.num_envs))
    observations, infos = env.reset(seed=3)
    seen: list[list[tuple[Any, ...]]] = [[] for _ in range(env.num_envs)]
    taken = np.zeros(env.num_envs, int)
    ended = np.zeros(env.num_envs, bool)
    while taken.min() < steps:
        chosen = actions[np.minimum(taken, steps - 1), range(env.num_envs)]
        before = ended
        observations, rewards, terminated, truncated, infos = env.step(chosen)
        ended = terminated | truncated
        for lane in range(env.num_envs):
            if env.autoreset_mode == AutoresetMode.NEXT_STEP and before[lane]:
                assert rewards[lane] == 0
                assert not ended[lane]
                seen[lane].append(("first", observations[lane].tobytes(), infos["attempt"][lane], infos["progress"][lane]))
                continue
            taken[lane] += 1
            same_step_end = ended[lane] and env.autoreset_mode == AutoresetMode.SAME_STEP
            last = infos["final_obs"][lane] if same_step_end else observations[lane]
            source = infos["final_info"] if same_step_end else infos
            row = tuple(source[key][lane] for key in ("outcome", "attempt", "progress", "attempt_steps", "x_pos"))
            seen[lane].append((last.tobytes(), rewards[lane], terminated[lane], truncated[lane], *row))
            if same_step_end:
                seen[lane].append(("first", observations[lane].tobytes(), infos["attempt"][lane], infos["progress"][lane]))
    return [lane[: steps + 1] for lane in seen]


@pytest.mark.parametrize("game", GAMES)
def test_the_games_are_the_same_in_every_mode_and_environment(game: str) -> None:
    reference: Any = None
    for mode in (AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP):
        for env in all_envs(game, autoreset_mode=mode):
            seen = stream(env, 120)
            env.close()
            reference = reference or seen
            assert sum(row[0] == "first" for lane in seen for row in lane) >= 2, "no episode ended"
            assert seen == reference


@pytest.mark.parametrize("engine", ENGINES)
def test_a_checkpoint_between_an_end_and_the_next_beginning(engine: str) -> None:
    options = {"noop_max": 3, "max_episode_length": 5, "autoreset_mode": AutoresetMode.NEXT_STEP}
    env = make_vector_env(["1-1"], 2, engine, **options)
    env.reset(seed=1)
    for _ in range(5):
        *_, truncated, _ = env.step([RUN, RUN])
    assert truncated.all()
    state = env.state_dict()
    expected = [env.step([RUN, RUN])[:4] for _ in range(3)]
    env.reset(seed=2)
    env.load_state_dict(state)
    assert_equal([env.step([RUN, RUN])[:4] for _ in range(3)], expected)
    env.close()


# Gymnasium's wrappers


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_gymnasiums_statistics_of_episodes(mode: AutoresetMode) -> None:
    env = RecordEpisodeStatistics(make_vector_env(["1-1"], 2, noop_max=0, autoreset_mode=mode))
    env.reset()
    episodes = []
    for _ in range(2 * STEPS_TO_FIRST_ENEMY + 1):
        infos = env.step(np.array([RUN, NOTHING]))[4]
        if "episode" in infos:
            episodes.append((int(infos["episode"]["l"][0]), infos["_episode"].tolist()))
    env.close()
    assert episodes == [(STEPS_TO_FIRST_ENEMY, [True, False])] * 2


def test_gymnasiums_observation_wrappers_take_next_step_mode() -> None:
    env = make_vector_env(["1-1"], 2, noop_max=0, autoreset_mode=AutoresetMode.NEXT_STEP)
    space = gymnasium.spaces.Box(0, 1, (2, 80, 80), np.float32)
    halved = TransformObservation(
        env, lambda pictures: (pictures[:, -2:] / 255).astype(np.float32), single_observation_space=space
    )
    normal = NormalizeObservation(halved)
    observations, _ = normal.reset(seed=0)
    for _ in range(STEPS_TO_FIRST_ENEMY + 3):
        observations = normal.step(np.array([RUN, NOTHING]))[0]
    assert observations.shape == (2, 2, 80, 80)
    assert np.isfinite(observations).all()
    normal.close()


# Mistakes


@pytest.mark.parametrize("engine", ENGINES)
def test_one_clear_exception_for_actions_that_are_none(engine: str) -> None:
    env = make_vector_env(["1-1"], 2, engine)
    env.reset(seed=0)
    expected = env.step([RUN, NOTHING])[0]
    env.reset(seed=0)
    wrong: list[Any] = [
        [RUN],
        [RUN, RUN, RUN],
        RUN,
        [[RUN, RUN]],
        [[RUN], RUN],
        [1.7, 0],
        np.array([3.0, 0.0]),
        np.array([True, False]),
        [10, 0],
        [99, 0],
        [2**70, 0],
        [-1, 0],
        ["3", "0"],
        None,
    ]
    for actions in wrong:
        with pytest.raises(InvalidAction, match="2 lanes"):
            env.step(actions)
    np.testing.assert_array_equal(env.step(np.array([RUN, NOTHING], np.uint8))[0], expected)
    env.close()


def lanes_of_both_kinds() -> list[MarioVectorEnv]:
    return [make_vector_env(["1-1"], 4, engine) for engine in ENGINES if engine != "nes-py"]


def test_steps_and_states_before_the_first_reset_and_after_close_are_refused() -> None:
    for env in lanes_of_both_kinds():
        for use in (lambda env=env: env.step([RUN] * 4), env.state_dict):
            with pytest.raises(ResetNeeded):
                use()
        with pytest.raises(ResetNeeded):
            env.reset(options={"reset_mask": np.array([True, False, False, False])})
        env.close()
        with pytest.raises(ClosedEnvironmentError):
            env.reset()


def test_seeds_that_are_not_one_a_lane_are_refused() -> None:
    for env in lanes_of_both_kinds():
        for seeds in ([1, 2], [], [1] * 5, np.arange(3)):
            with pytest.raises(ValueError, match="4 seeds"):
                env.reset(seed=seeds)
        first = env.reset(seed=[1, 2, 3, 4])[0]
        np.testing.assert_array_equal(env.reset(seed=np.arange(1, 5))[0], first)
        env.close()


def test_masks_that_are_none_are_refused() -> None:
    for env in lanes_of_both_kinds():
        env.reset()
        wrong: list[Any] = [np.zeros(4, bool), np.ones(3, bool), np.ones(4, int), None, True, [1, 0, 0, 0]]
        for mask in wrong:
            with pytest.raises(ValueError, match="reset_mask"):
                env.reset(options={"reset_mask": mask})
        env.close()


def test_a_mask_leaves_other_lanes_alone() -> None:
    for env in lanes_of_both_kinds():
        env.reset(seed=0)
        for _ in range(5):
            before, *_ = env.step([RUN] * 4)
        mask = np.array([False, True, False, True])
        after, infos = env.reset(seed=9, options={"reset_mask": mask})
        np.testing.assert_array_equal(after[~mask], before[~mask])
        assert (infos["x_pos"][mask] == 40).all()
        assert infos["_x_pos"].tolist() == mask.tolist()
        fresh, _ = env.reset(seed=9)
        np.testing.assert_array_equal(after[mask], fresh[mask])
        env.close()


@pytest.mark.parametrize("arguments", [{"autoreset_mode": "Never"}, {"render_mode": "human"}, {"render_mode": "ascii"}])
def test_unknown_modes_are_user_errors(arguments: dict[str, str]) -> None:
    with pytest.raises(UserError, match=next(iter(arguments.values()))):
        make_vector_env(["1-1"], 2, **arguments)


# Pictures


@pytest.mark.parametrize("engine", ENGINES)
def test_render_gives_a_picture_for_each_lane(engine: str) -> None:
    env = make_vector_env(["1-1", "1-2"], 2, engine, noop_max=0, render_mode="rgb_array", skip_rate=6)
    assert env.metadata["render_fps"] == 10
    assert env.render_mode in env.metadata["render_modes"]
    env.reset()
    for _ in range(4):
        env.step([RUN, RUN])
    pictures = env.render()
    assert pictures is not None
    assert [picture.shape for picture in pictures] == [(224, 240, 3)] * 2
    kept = [picture.copy() for picture in pictures]
    env.step([RUN, RUN])
    np.testing.assert_array_equal(pictures, kept)
    env.close()
    alone = make_env("1-1", emulator=engine, noop_max=0, render_mode="rgb_array", skip_rate=6)
    alone.reset()
    for _ in range(4):
        alone.step(RUN)
    single = alone.render()
    alone.close()
    assert single is not None
    # The native core's is one frame younger.
    assert (kept[0] != single).any(axis=2).mean() < (0.15 if engine == "native" else 1e-9)
    assert (kept[1] != single).any(axis=2).mean() > 0.5


def test_without_a_render_mode_there_is_no_picture() -> None:
    env = make_vector_env(["1-1"], 2)
    env.reset()
    assert env.render() is None
    env.close()
