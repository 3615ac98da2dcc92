"""Where episodes begin: the usual source, and one of a user's that begins in the middle of a stage."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from a3g.errors import UserError
from a3g.game.emulators import available_emulators, make_emulator
from a3g.game.lane_vector import LaneVectorEnv
from a3g.game.options import ACTION_SETS, GameOptions
from a3g.game.packing import State, pack_values, unpack_values
from a3g.game.rules import Outcome
from a3g.game.stage_starts import go_to_start
from a3g.game.stages import STAGES, Stage
from a3g.game.vector import MarioVectorEnv
from environment import Start, UniformStarts, make_vector_env, vector_env_parts

NOTHING, RUN = 0, 3  # of the action set "a3g"
STEPS_TO_FIRST_ENEMY = 26  # running right in 1-1 from the start, without no-ops
SAVED_AT = 60  # frames of running before the state is saved
ENGINES = available_emulators()


class Alternating:
    """By turns a saved state in 1-1, and 4-1 from its beginning."""

    def __init__(self, state: bytes) -> None:
        self.state, self.given = state, 0
        self.ended: list[list[Any]] = []

    def next(self, rng: np.random.Generator, lane: int) -> Start:
        self.given += 1
        if self.given % 2:
            return Start(Stage(1, 1), idle_frames=int(rng.integers(3)), state=self.state, id=f"saved {self.given}")
        return Start(Stage(4, 1), id=self.given)

    def episode_ended(self, start: Start, outcome: Outcome | None, progress: int) -> None:
        assert (start.state == self.state) == (start.stage == Stage(1, 1))
        self.ended.append([start.id, outcome, progress])

    def state_dict(self) -> State:
        return pack_values("counts", [self.given, self.ended])

    def load_state_dict(self, state: State) -> None:
        self.given, self.ended = unpack_values("counts", state)


def saved_state(engine: str) -> tuple[bytes, int]:
    """1-1 after a second of running, and x there."""
    emulator = make_emulator(engine)
    go_to_start(emulator, Stage(1, 1))
    for _ in range(SAVED_AT):
        emulator.frame(ACTION_SETS["a3g"][RUN])
    state = emulator.to_bytes()
    ram = emulator.ram()
    emulator.close()
    return state, ram[0x6D] * 256 + ram[0x86]


def make(engine: str, source: Alternating, **options: Any) -> MarioVectorEnv:
    return make_vector_env([], 2, engine, starts=source, **options)


def play(env: MarioVectorEnv, steps: int, seed: int) -> list[NDArray[Any]]:
    random = np.random.default_rng(seed)
    seen: list[NDArray[Any]] = []
    for _ in range(steps):
        observations, rewards, terminated, truncated, infos = env.step(random.choice([NOTHING, RUN, RUN, 4], 2))
        seen += [observations, rewards, terminated, truncated, infos["x_pos"], infos["attempt"].astype(str)]
    return seen


@pytest.mark.parametrize("engine", ENGINES)
def test_episodes_begin_where_the_source_says_and_it_learns_how_they_end(engine: str) -> None:
    state, x = saved_state(engine)
    source = Alternating(state)
    env = make(engine, source, max_episode_length=20)
    _, infos = env.reset(seed=0)
    assert infos["attempt"].tolist() == ["1-1", "4-1"]
    assert x <= infos["x_pos"][0] < x + 16, "did not begin at the saved state"
    assert infos["x_pos"][1] < 100
    assert infos["progress"].tolist() == [0, 0]
    final: list[list[Any]] = []
    for _ in range(45):
        *_, terminated, truncated, infos = env.step([RUN, NOTHING])
        final += [
            [infos["final_info"]["outcome"][lane], infos["final_info"]["progress"][lane]]
            for lane in np.flatnonzero(terminated | truncated)
        ]
    env.close()
    assert [ended[1:] for ended in source.ended] == final
    assert [source.ended[0][0], source.ended[1][0]] == ["saved 1", 2]
    assert final[0][0] == Outcome.DIED
    assert final[0][1] > 100
    assert final[1] == [None, 0], "standing still was not truncated"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_source_continues_from_a_checkpoint_with_the_games(engine: str) -> None:
    state, _ = saved_state(engine)
    steps = 15 if engine == "nes-py" else 50
    source = Alternating(state)
    env = make(engine, source, max_episode_length=20)
    env.reset(seed=1)
    play(env, steps, seed=0)
    checkpoint, ended_before = env.state_dict(), len(source.ended)
    expected = play(env, steps, seed=1)
    env.close()
    assert len(source.ended) > ended_before

    other_source = Alternating(state)
    other = make(engine, other_source, max_episode_length=20)
    other.reset(seed=2)
    play(other, 3, seed=0)
    other.load_state_dict(checkpoint)
    found = play(other, steps, seed=1)
    other.close()
    for ours, theirs in zip(expected, found, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (other_source.given, other_source.ended) == (source.given, source.ended)


@pytest.mark.skipif("native" not in ENGINES, reason="the native core is not built here")
def test_native_and_python_lanes_play_the_same_with_a_users_source() -> None:
    from a3g.game.native_vector import NativeVectorEnv

    state, _ = saved_state("native")
    options = GameOptions(sticky_actions=0.2, time_per_stage=10)
    sources = [Alternating(state), Alternating(state)]
    native = NativeVectorEnv([], 2, options, starts=sources[0])
    python = LaneVectorEnv([], 2, options, "native", starts=sources[1])
    courses = []
    for env in (native, python):
        env.reset(seed=3)
        courses.append(play(env, 150, seed=4))
        env.close()
    for ours, theirs in zip(*courses, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert sources[0].ended == sources[1].ended
    assert len(sources[0].ended) > 3


class Counting(UniformStarts):
    """Uniform, and counts the ends."""

    ends = 0

    def episode_ended(self, start: Start, outcome: Outcome | None, progress: int) -> None:
        self.ends += 1


@pytest.mark.parametrize("engine", ENGINES)
def test_lives_as_episodes_are_one_game_to_the_source(engine: str) -> None:
    source = Counting([None], noop_max=0)
    env = make_vector_env([None], 1, engine, starts=source, episodic_life=True)
    env.reset()
    terminations = sum(int(env.step(np.array([RUN]))[2].sum()) for _ in range(3 * STEPS_TO_FIRST_ENEMY))
    env.close()
    assert (terminations, source.ends) == (3, 1)


def test_uniform_starts_draw_the_stage_among_several_and_then_the_idle_frames() -> None:
    """The order of draws is part of what a seed means."""
    for lanes, lane, own in ((5, 3, STAGES[3::5]), (32, 7, STAGES[7:8]), (1, 0, STAGES)):
        source = UniformStarts(STAGES, noop_max=30, num_lanes=lanes)
        ours, reference = np.random.default_rng(5), np.random.default_rng(5)
        for _ in range(50):
            stage = own[reference.integers(len(own))] if len(own) > 1 else own[0]
            assert source.next(ours, lane) == Start(stage, int(reference.integers(31)))


def test_lanes_share_out_stages_in_turn() -> None:
    source = UniformStarts(STAGES[:3], noop_max=0, num_lanes=4)
    assert [source.stages_of(lane) for lane in range(4)] == [STAGES[:1], STAGES[1:2], STAGES[2:3], STAGES[:1]]
    with pytest.raises(UserError):
        UniformStarts([], noop_max=0)


@pytest.mark.skipif("native" not in ENGINES, reason="FCEUmm can't be halved")
def test_parts_of_an_environment_ask_one_source_with_the_lanes_numbers_in_the_whole() -> None:
    asked: list[int] = []

    class Noting(UniformStarts):
        def next(self, rng: np.random.Generator, lane: int) -> Start:
            asked.append(lane)
            return super().next(rng, lane)

    parts = vector_env_parts([], 6, 3, GameOptions(), "native", starts=Noting([Stage(1, 1)], 0, 6))
    for part in parts:
        part.reset()
        part.close()
    assert asked == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_first_versions_checkpoints_still_load(engine: str) -> None:
    """They called `continues_game` `goes_on`, and knew neither starts nor ended episodes."""
    env = make_vector_env([None], 2, engine, episodic_life=True)
    env.reset(seed=1)
    env.step([RUN, RUN])
    state = env.state_dict()
    expected = env.step([RUN, NOTHING])[0]
    old = {name: array for name, array in state.items() if not name.startswith(("lane_starts", "ended"))}
    if "continues_game" in old:
        old["goes_on"] = old.pop("continues_game")
    else:
        lanes = unpack_values("lanes", old)
        for lane in lanes:
            lane["goes_on"] = lane.pop("continues_game")
        old |= pack_values("lanes", lanes)
    env.reset(seed=2)
    env.load_state_dict(old)
    np.testing.assert_array_equal(env.step([RUN, NOTHING])[0], expected)
    env.close()
