"""The environment and the vector environment as Gymnasium's users meet them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import gymnasium
import numpy as np
import pytest
from gymnasium.error import ClosedEnvironmentError, InvalidAction, ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import RecordVideo
from numpy.typing import NDArray

from a3g.errors import UserError
from a3g.game import memory
from a3g.game.emulators import Emulator, available_emulators
from a3g.game.stages import Stage
from environment import ACTION_SETS, GameOptions, MarioEnv, MarioVectorEnv, make_env, make_vector_env

ENGINES = available_emulators()
NOTHING, RUN, RUN_JUMP = 0, 3, 4  # of the action set "a3g"
STEPS_TO_FIRST_ENEMY = 26  # running right in 1-1 from the start, without no-ops

GYM_SUPER_MARIO_BROS_KEYS = {"coins", "flag_get", "life", "score", "stage", "status", "time", "world", "x_pos", "y_pos"}
Step = tuple[Any, Any, Any, Any, dict[str, Any]]


def random_actions(seed: int, steps: int, lanes: int = 1) -> NDArray[np.int64]:
    """(steps, lanes), mostly to the right."""
    weights = np.array([1, 2, 2, 3, 5, 1, 0, 0, 1, 1])
    return np.random.default_rng(seed).choice(10, size=(steps, lanes), p=weights / weights.sum())


def assert_equal(one: Any, two: Any) -> None:
    """The same structure, types and values, all the way down."""
    if isinstance(one, dict):
        assert one.keys() == two.keys()
        for key in one:
            assert_equal(one[key], two[key])
    elif isinstance(one, (tuple, list)):
        assert len(one) == len(two)
        for each_one, each_two in zip(one, two, strict=True):
            assert_equal(each_one, each_two)
    elif isinstance(one, np.ndarray) and one.dtype == object:
        assert_equal(one.tolist(), two.tolist())
    else:
        assert type(one) is type(two)
        np.testing.assert_array_equal(one, two)
        assert np.asarray(one).dtype == np.asarray(two).dtype


def play_vector(env: MarioVectorEnv, actions: NDArray[np.int64], seed: Any) -> tuple[Any, list[Step]]:
    first = env.reset(seed=seed)
    return first, [env.step(action) for action in actions]


# Gymnasium's interfaces


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("env_id", ["SuperMarioBros-1-1-v0", "SuperMarioBros-v0"])
def test_gymnasiums_checker_finds_nothing(env_id: str, engine: str) -> None:
    env = make_env(env_id, emulator=engine, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*(not able to test alternative render modes|doesn't have the `spec`).*")
        check_env(env)
    env.close()


def test_observation_action_and_info() -> None:
    env = make_env("SuperMarioBros-1-1-v0")
    observation, info = env.reset(seed=0)
    assert env.observation_space == gymnasium.spaces.Box(0, 255, (4, 80, 80), np.uint8)
    assert env.action_space == gymnasium.spaces.Discrete(10)
    assert env.observation_space.contains(observation)
    assert set(info) >= GYM_SUPER_MARIO_BROS_KEYS | {"outcome", "progress"}
    observation, reward, terminated, truncated, info = env.step(RUN)
    assert env.observation_space.contains(observation)
    assert isinstance(reward, float)
    assert (terminated, truncated, info["outcome"]) == (False, False, None)
    assert set(info) >= GYM_SUPER_MARIO_BROS_KEYS | {"outcome", "progress"}
    env.close()


@pytest.mark.parametrize(("name", "size"), [("a3g", 10), ("right", 5), ("simple", 7), ("complex", 12)])
def test_action_sets(name: str, size: int) -> None:
    env = make_env("SuperMarioBros-1-1-v0", actions=name)
    assert env.action_space.n == len(ACTION_SETS[name]) == size
    env.close()


def test_render_gives_the_picture_of_now() -> None:
    env = make_env("SuperMarioBros-1-1-v0", render_mode="rgb_array")
    env.reset(seed=0)
    before = env.render()
    assert before is not None
    assert before.shape == (224, 240, 3)
    assert before.dtype == np.uint8
    for _ in range(10):
        env.step(RUN)
    assert (env.render() != before).any()
    env.close()


@pytest.mark.parametrize(("skip_rate", "pictures_per_second"), [(1, 60), (4, 15), (6, 10)])
def test_render_fps_is_that_of_agent_steps(skip_rate: int, pictures_per_second: float) -> None:
    env = make_env("1-1", skip_rate=skip_rate, render_mode="rgb_array")
    assert env.metadata["render_fps"] == pictures_per_second
    assert MarioEnv.metadata["render_modes"] == ["rgb_array", "human"]
    env.close()


def test_gymnasiums_video_lasts_as_long_as_the_game(tmp_path: Path) -> None:
    """It played four times too fast: 60 pictures a second, of which the game gives 15."""
    pytest.importorskip("moviepy")
    frames: list[int] = []
    game = MarioEnv(Stage(1, 1), GameOptions(), render_mode="rgb_array", on_frame=lambda _: frames.append(1))
    env = RecordVideo(game, str(tmp_path / "videos"), episode_trigger=lambda _: True)
    env.reset(seed=0)
    for _ in range(30):
        env.step(RUN_JUMP)
    env.close()
    video = cv2.VideoCapture(str(next(tmp_path.glob("videos/*.mp4"))))
    seconds = video.get(cv2.CAP_PROP_FRAME_COUNT) / video.get(cv2.CAP_PROP_FPS)
    assert seconds == pytest.approx(len(frames) / 60, abs=1.5 / 15), "more than the picture after reset and a rounding error"


def test_vector_env_declares_its_spaces_and_autoreset_mode() -> None:
    env = make_vector_env(["1-1"], num_lanes=3)
    assert isinstance(env, gymnasium.vector.VectorEnv)
    assert env.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    assert env.num_envs == 3
    assert env.single_observation_space.shape == (4, 80, 80)
    assert env.observation_space.shape == (3, 4, 80, 80)
    assert env.observation_space.dtype == np.uint8
    assert env.action_space == gymnasium.spaces.MultiDiscrete([10, 10, 10])
    observations, _ = env.reset()
    assert env.observation_space.contains(observations)
    observations, rewards, terminated, truncated, infos = env.step(env.action_space.sample())
    assert env.observation_space.contains(observations)
    assert rewards.shape == terminated.shape == truncated.shape == (3,)
    assert np.issubdtype(rewards.dtype, np.floating)
    assert terminated.dtype == truncated.dtype == np.bool_
    assert infos["_x_pos"].all()
    env.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_vector_env_does_what_gymnasiums_own_does(engine: str) -> None:
    """Against SyncVectorEnv over single environments: everything returned, down to types and masks of the infos."""
    options = {"noop_max": 3, "sticky_actions": 0.1, "max_episode_length": 45}
    actions = random_actions(0, 60, lanes=2)
    actions[:30, 0] = RUN  # lane 0 meets the first enemy, lane 1 lasts until it is truncated
    actions[:, 1] = NOTHING
    gymnasiums = SyncVectorEnv(
        [lambda: make_env("SuperMarioBros-1-1-v0", emulator="nes-py", **options)] * 2,
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    expected = [gymnasiums.reset(seed=[5, 6]), *[gymnasiums.step(action) for action in actions]]
    gymnasiums.close()
    env = make_vector_env(["1-1"], num_lanes=2, emulator=engine, **options)
    (first, infos), steps = play_vector(env, actions, [5, 6])
    env.close()
    assert_equal((first, infos), expected[0])
    for step, theirs in zip(steps, expected[1:], strict=True):
        np.testing.assert_allclose(step[1], theirs[1], rtol=1e-6)  # rewards: float32 here, float64 there
        assert_equal((step[0], *step[2:]), (theirs[0], *theirs[2:]))
    terminated = np.array([step[2] for step in expected[1:]])
    truncated = np.array([step[3] for step in expected[1:]])
    assert terminated[:, 0].any()
    assert truncated[:, 1].any()


def test_an_episodes_end_is_in_the_final_infos_and_the_next_begins_in_the_same_step() -> None:
    env = make_vector_env(["1-1"], num_lanes=3, noop_max=0)
    first, _ = env.reset()
    observations = first
    for step in range(STEPS_TO_FIRST_ENEMY):
        last_seen = observations
        observations, rewards, terminated, truncated, infos = env.step(np.array([RUN, NOTHING, RUN]))
        if step < STEPS_TO_FIRST_ENEMY - 1:
            assert "final_obs" not in infos
    assert terminated.tolist() == [True, False, True]
    assert not truncated.any()
    assert rewards.tolist() == [-1.0, 0.0, -1.0]
    assert infos["_final_obs"].tolist() == infos["_final_info"].tolist() == [True, False, True]
    assert infos["final_obs"][1] is None
    np.testing.assert_array_equal(infos["final_obs"][0][:-1], last_seen[0][1:])
    np.testing.assert_array_equal(observations[0], first[0])
    assert infos["final_info"]["outcome"].tolist() == ["died", None, "died"]
    assert infos["final_info"]["x_pos"][0] > 300
    assert infos["outcome"].tolist() == [None, None, None]
    assert infos["x_pos"].tolist() == [40, 40, 40]
    env.close()


def test_returned_arrays_do_not_change_afterwards() -> None:
    env = make_vector_env(["1-1"], num_lanes=2)
    first, _ = env.reset(seed=0)
    kept = first.copy()
    steps = [env.step(np.array([RUN, RUN_JUMP])) for _ in range(8)]
    copies = [[array.copy() for array in step[:4]] for step in steps]
    for _ in range(8):
        env.step(np.array([RUN, RUN_JUMP]))
    np.testing.assert_array_equal(first, kept)
    for step, copy in zip(steps, copies, strict=True):
        for array, as_it_was in zip(step[:4], copy, strict=True):
            np.testing.assert_array_equal(array, as_it_was)
    env.close()


# Seeding


def test_the_same_seed_and_actions_give_the_same_everything() -> None:
    actions = random_actions(1, 80, lanes=4)
    options = {"num_lanes": 4, "sticky_actions": 0.2}
    courses = []
    for seed in (7, 7, 8):
        env = make_vector_env(["1-1", "1-2", "4-4", "8-1", "5-2"], **options)
        courses.append(play_vector(env, actions, seed))
        env.close()
    assert_equal(courses[0], courses[1])
    assert any((one[0] != two[0]).any() for one, two in zip(courses[0][1], courses[2][1], strict=True))


def test_a_reset_with_the_seed_repeats_the_episode_in_the_same_environment() -> None:
    env = make_vector_env(["1-1", "1-3"], num_lanes=2, sticky_actions=0.2)
    actions = random_actions(2, 50, lanes=2)
    assert_equal(play_vector(env, actions, 3), play_vector(env, actions, 3))
    env.close()


def test_lanes_have_randomness_of_their_own() -> None:
    env = make_vector_env(["1-1"], num_lanes=4, sticky_actions=0.5)
    _, steps = play_vector(env, np.repeat(random_actions(3, 20), 4, axis=1), 0)
    xs = np.stack([step[4]["x_pos"] for step in steps])
    assert len({tuple(lane) for lane in xs.T}) == 4
    env.close()


def test_lanes_play_as_single_environments_do() -> None:
    """Three lanes on one emulator by saved states, and each of their games alone, through several episodes."""
    stages, seeds = ["1-1", "4-4", "2-2"], [11, 12, 13]
    options = {"sticky_actions": 0.1, "noop_max": 10, "max_episode_length": 60}
    actions = random_actions(4, 100, lanes=3)
    vector = make_vector_env(stages, num_lanes=3, **options)
    (observations, _), steps = play_vector(vector, actions, seeds)
    vector.close()
    episodes = 0
    for lane, (stage, seed) in enumerate(zip(stages, seeds, strict=True)):
        env = make_env(f"SuperMarioBros-{stage}-v0", **options)
        np.testing.assert_array_equal(env.reset(seed=seed)[0], observations[lane])
        for action, step in zip(actions[:, lane], steps, strict=True):
            observation, reward, terminated, truncated, info = env.step(action)
            infos = {key: values[lane] for key, values in step[4].items() if not key.startswith(("_", "final"))}
            assert reward == pytest.approx(step[1][lane])
            assert (terminated, truncated) == (step[2][lane], step[3][lane])
            if terminated or truncated:
                episodes += 1
                np.testing.assert_array_equal(step[4]["final_obs"][lane], observation)
                assert {key: step[4]["final_info"][key][lane] for key in info} == info
                observation, info = env.reset()
            np.testing.assert_array_equal(step[0][lane], observation)
            assert infos == info
        env.close()
    assert episodes >= 3


# What is random, and what is shown


def test_no_op_starts_wait_from_none_to_noop_max_frames() -> None:
    env = make_env("SuperMarioBros-1-1-v0", noop_max=0)
    env.reset()
    begin = env._emulator.ram()[memory.FRAME_COUNTER]
    first, _ = env.reset()
    np.testing.assert_array_equal(first, env.reset()[0])
    env.close()
    env = make_env("SuperMarioBros-1-1-v0", noop_max=4)
    env.reset(seed=0)
    waited = set()
    for _ in range(60):
        env.reset()
        waited.add(env._emulator.ram()[memory.FRAME_COUNTER] - begin)
    assert waited == {0, 1, 2, 3, 4}
    env.close()


def test_sticky_actions_repeat_the_last_action_at_their_rate() -> None:
    held: list[int] = []

    def note(emulator: Emulator) -> None:
        read = emulator.ram()[memory.BUTTONS_READ]
        held.append(int(f"{read:08b}"[::-1], 2))

    chance = 0.25
    env = MarioEnv(Stage(1, 1), GameOptions(sticky_actions=chance), on_frame=note)
    env.reset(seed=0)
    at_the_left_edge = [0, 7, 5, 8, 6, 9]  # never to the right, and never twice the same in a row
    repeated, last = 0, ACTION_SETS["a3g"][0]
    steps = 600
    for step in range(steps):
        held.clear()
        chosen = ACTION_SETS["a3g"][at_the_left_edge[step % 6]]
        env.step(at_the_left_edge[step % 6])
        assert len(set(held)) == 1, "an action changed inside an agent step"
        assert held[0] in {chosen, last}
        repeated += held[0] != chosen
        last = held[0]
    spread = np.sqrt(chance * (1 - chance) / steps)
    assert abs(repeated / steps - chance) < 4 * spread
    env.close()


@pytest.mark.parametrize("stack", [1, 3, 4])
def test_the_stack_is_filled_at_reset_and_shifted_by_steps(stack: int) -> None:
    env = make_env("SuperMarioBros-1-1-v0", stack=stack, height=60, width=72)
    before, _ = env.reset(seed=0)
    assert before.shape == (stack, 60, 72)
    assert all((picture == before[0]).all() for picture in before)
    for _ in range(6):
        after = env.step(RUN)[0]
        np.testing.assert_array_equal(after[:-1], before[1:])
        before = after
    assert (after[-1] != after[0]).any() or stack == 1
    env.close()


@pytest.mark.parametrize("skip_rate", [1, 2, 4])
def test_an_agent_step_holds_its_action_for_skip_rate_frames(skip_rate: int) -> None:
    frames: list[int] = []
    env = MarioEnv(Stage(1, 1), GameOptions(skip_rate=skip_rate), on_frame=lambda _: frames.append(1))
    env.reset(seed=0)
    for _ in range(10):
        env.step(RUN)
    assert len(frames) == 10 * skip_rate
    env.close()


def original_crop(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Rows 15:-25 and columns 43:-13 of the 240 x 256 picture, of which engines show all but 8 pixels on each side."""
    whole = np.zeros((240, 256), np.uint8)
    whole[8:-8, 8:-8] = picture
    return whole[15:-25, 43:-13]


@pytest.mark.parametrize("two_frame_max", [False, True])
@pytest.mark.parametrize("skip_rate", [1, 4])
def test_the_two_frame_maximum_is_over_two_frames(skip_rate: int, two_frame_max: bool) -> None:
    """The original A3G's MaxAndSkipEnv kept one frame, so it never took a maximum."""
    frames: list[NDArray[np.uint8]] = []
    options = GameOptions(skip_rate=skip_rate, two_frame_max=two_frame_max, height=200, width=200, noop_max=0)
    env = MarioEnv(Stage(1, 1), options, on_frame=lambda emulator: frames.append(emulator.grey()))
    observation, _ = env.reset()
    frames.append(env._emulator.grey())
    np.testing.assert_array_equal(observation[-1], original_crop(frames[-1]))
    different = False
    for _ in range(15):
        observation = env.step(RUN_JUMP)[0]
        last, maximum = frames[-1], np.maximum(frames[-1], frames[-2])
        different |= (original_crop(maximum) != original_crop(last)).any()
        np.testing.assert_array_equal(observation[-1], original_crop(maximum if two_frame_max else last))
    assert different, "nothing moved, so nothing was tested"
    env.close()


# Episodes


def test_episodes_are_truncated_at_their_longest_length() -> None:
    env = make_env("SuperMarioBros-1-1-v0", max_episode_length=7)
    for _ in range(2):
        env.reset(seed=0)
        ends = [env.step(NOTHING)[2:4] for _ in range(7)]
        assert ends == [(False, False)] * 6 + [(False, True)]
    env.close()


def test_a_death_in_the_last_step_terminates_and_does_not_truncate() -> None:
    env = make_env("SuperMarioBros-1-1-v0", max_episode_length=STEPS_TO_FIRST_ENEMY, noop_max=0)
    env.reset()
    ends = [env.step(RUN)[2:4] for _ in range(STEPS_TO_FIRST_ENEMY)]
    assert ends[-1] == (True, False)
    env.close()


def lives_seen(ends: Iterable[tuple[bool, dict[str, Any]]]) -> list[int]:
    return [info["life"] for ended, info in ends if ended]


@pytest.mark.parametrize("engine", ENGINES)
def test_episodic_life_ends_episodes_with_lives_and_continues_with_the_next(engine: str) -> None:
    env = make_env("SuperMarioBros-v0", emulator=engine, episodic_life=True, noop_max=0)
    begun = []
    for _ in range(4):
        observation, info = env.reset()
        assert all((picture == observation[0]).all() for picture in observation)
        begun.append((info["life"], info["x_pos"]))
        ends = [env.step(RUN)[1:3] for _ in range(STEPS_TO_FIRST_ENEMY)]
        assert [terminated for _, terminated in ends] == [False] * (STEPS_TO_FIRST_ENEMY - 1) + [True]
        assert ends[-1][0] == -1.0
    assert begun == [(2, 40), (1, 40), (0, 40), (2, 40)]
    env.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_episodic_life_in_lanes_continues_with_the_next_life_and_does_not_die_the_last_one_again(engine: str) -> None:
    env = make_vector_env([None], num_lanes=2, emulator=engine, episodic_life=True, noop_max=0)
    env.reset()
    lives = []
    for _ in range(3 * STEPS_TO_FIRST_ENEMY):
        _, _, terminated, _, infos = env.step(np.array([RUN, NOTHING]))
        assert not terminated[1]
        if terminated[0]:
            lives.append((int(infos["life"][0]), int(infos["x_pos"][0])))
    assert lives == [(1, 40), (0, 40), (2, 40)]
    env.close()


def test_a_reset_with_a_seed_begins_the_game_anew_also_with_lives_lost() -> None:
    env = make_env("SuperMarioBros-v0", episodic_life=True, noop_max=0)
    first, info = env.reset(seed=0)
    for _ in range(STEPS_TO_FIRST_ENEMY):
        env.step(RUN)
    again, info_again = env.reset(seed=0)
    np.testing.assert_array_equal(first, again)
    assert info == info_again
    env.close()


@pytest.mark.parametrize(
    ("num_lanes", "expected"),
    [
        (2, [{"1-1", "1-3", "4-1"}, {"1-2", "3-1"}]),
        (7, [{"1-1"}, {"1-2"}, {"1-3"}, {"3-1"}, {"4-1"}, {"1-1"}, {"1-2"}]),
    ],
)
def test_lanes_share_out_the_stages(num_lanes: int, expected: Sequence[set[str]]) -> None:
    env = make_vector_env(["1-1", "1-2", "1-3", "3-1", "4-1"], num_lanes=num_lanes, noop_max=0)
    played: list[set[str]] = [set() for _ in range(num_lanes)]
    for _ in range(15):
        _, infos = env.reset()
        for lane, attempt in enumerate(infos["attempt"]):
            played[lane].add(attempt)
    assert played == list(expected)
    env.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_lane_begins_each_of_its_stages_the_same_every_time(engine: str) -> None:
    env = make_vector_env(["1-1", "4-4"], num_lanes=1, emulator=engine, noop_max=0)
    pictures: dict[str, NDArray[np.uint8]] = {}
    for _ in range(8):
        observations, infos = env.reset()
        np.testing.assert_array_equal(observations, pictures.setdefault(infos["attempt"][0], observations))
        for _ in range(3):
            env.step(np.array([RUN]))
    assert set(pictures) == {"1-1", "4-4"}
    env.close()


def test_the_whole_game_and_environment_ids_are_stages_too() -> None:
    env = make_vector_env([None, "SuperMarioBros-v0", "SuperMarioBros-3-1-v0", "8-4", Stage(5, 2)], num_lanes=5)
    _, infos = env.reset()
    assert infos["attempt"].tolist() == ["1-1", "1-1", "3-1", "8-4", "5-2"]
    env.close()


@pytest.mark.parametrize("name", ["1-1", "SuperMarioBros-1-1-v0", Stage(1, 1)])
def test_stages_have_the_same_names_in_both_kinds_of_environment(name: str | Stage) -> None:
    single = make_env(name)
    lanes = make_vector_env([name], num_lanes=1)
    assert single.reset()[1]["attempt"] == lanes.reset()[1]["attempt"][0] == "1-1"
    single.close()
    lanes.close()


# Mistakes


@pytest.mark.parametrize("engine", ENGINES)
def test_a_step_before_reset_after_an_end_or_after_close_is_refused(engine: str) -> None:
    """After an end every step paid the penalty again."""
    env = make_env("1-1", emulator=engine, noop_max=0)
    with pytest.raises(ResetNeeded):
        env.step(RUN)
    env.reset()
    while not env.step(RUN)[2]:
        pass
    with pytest.raises(ResetNeeded):
        env.step(RUN)
    env.reset()
    env.step(RUN)
    env.close()
    for use in (env.reset, lambda: env.step(RUN)):
        with pytest.raises(ClosedEnvironmentError):
            use()


@pytest.mark.parametrize("engine", ENGINES)
def test_an_action_is_a_whole_number_of_the_set(engine: str) -> None:
    env = make_env("1-1", emulator=engine)
    env.reset(seed=0)
    wrong: list[Any] = [1.7, 3.0, 99, 10, -1, 2**70, None, "3", [3], np.array([3]), np.array(3.0), np.float64(3), True]
    for action in wrong:
        with pytest.raises(InvalidAction, match="from 0 to 9"):
            env.step(action)
    allowed: list[Any] = [3, np.int64(3), np.uint8(3), np.array(3)]
    for action in allowed:
        env.step(action)
    env.close()


@pytest.mark.parametrize(
    "options",
    [
        {"actions": "everything"},
        {"skip_rate": 0},
        {"stack": 0},
        {"height": 0},
        {"width": -1},
        {"noop_max": -1},
        {"sticky_actions": 1.0},
        {"sticky_actions": -0.1},
        {"time_per_stage": 0},
        {"max_episode_length": 0},
        {"frame_stack": 4},
        {"emulator": "snes9x"},
        {"render_mode": "ascii"},
        {"env_id": "SuperMarioBros-9-9-v0"},
    ],
    ids=lambda options: "-".join(f"{key}={value}" for key, value in options.items()),
)
def test_a_wrong_option_is_a_user_error_in_one_sentence(options: dict[str, Any]) -> None:
    with pytest.raises(UserError) as caught:
        make_env(**{"env_id": "SuperMarioBros-1-1-v0", **options})
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    value = next(iter(options.values())) if "frame_stack" not in options else "frame_stack"
    assert str(value) in message


@pytest.mark.parametrize(("stages", "num_lanes"), [([], 1), (["1-1"], 0), (["1-1"], -2), (["9-1"], 1), (["mario"], 1)])
def test_a_wrong_vector_environment_is_a_user_error(stages: list[str], num_lanes: int) -> None:
    with pytest.raises(UserError):
        make_vector_env(stages, num_lanes)


@pytest.mark.parametrize("engine", ENGINES)
def test_environments_can_be_closed_and_made_again(engine: str) -> None:
    """The original A3G leaked an environment with every test; one FCEUmm a process would not even start the second."""
    for _ in range(3):
        single = make_env("SuperMarioBros-1-1-v0", emulator=engine)
        single.reset(seed=0)
        single.step(RUN)
        single.close()
        single.close()
        lanes = make_vector_env(["1-1"], num_lanes=2, emulator=engine)
        lanes.reset()
        lanes.step(np.array([RUN, RUN]))
        lanes.close()
        lanes.close()
