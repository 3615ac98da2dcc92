"""Outcomes, lives and rewards, on the real game by recorded play and poked RAM."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from a3g.game import memory
from a3g.game.emulators import Emulator, available_emulators, make_emulator
from a3g.game.emulators.rom import find_rom
from a3g.game.lane import ACTION_SETS
from a3g.game.progress import MAX_NEW_GROUND, Progress
from a3g.game.rewards import (
    CEILING_PENALTY,
    FAILURE_PENALTY,
    FALLING_HEIGHT,
    FALLING_PENALTY,
    FINISH_REWARD,
    RIGHT_TURN_REWARD,
    A3GReward,
)
from a3g.game.rules import Episode, Outcome, StepResult
from a3g.game.stage_starts import go_to_start
from a3g.game.stages import WHOLE_GAME, Stage
from a3g.processes.counters import RunCounters
from environment import MarioEnv, make_env
from tests.recordings import (
    AXE_1_4,
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

ENGINES = available_emulators()
NOTHING, RIGHT, RUN, RUN_LEFT, DOWN = 0, 1, 3, 7, 9  # of the action set "a3g"
BUTTONS = ACTION_SETS["a3g"]


class Play:
    """What a recording brought, agent step by agent step, with rewards in pixels."""

    def __init__(self, env: MarioEnv, steps: Iterable[int]) -> None:
        _, self.start = env.reset()
        self.rewards: list[float] = []
        self.infos: list[dict[str, Any]] = []
        self.rams: list[bytes] = []
        self.terminated = False
        for action in steps:
            assert not self.terminated, "the episode ended before the recording"
            _, reward, self.terminated, truncated, info = env.step(action)
            assert not truncated
            self.rewards.append(reward * A3GReward.scale)
            self.infos.append(info)
            self.rams.append(bytes(env._emulator.ram()))

    def each(self, key: str) -> list[Any]:
        return [info[key] for info in self.infos]

    def new_ground(self) -> NDArray[np.int64]:
        """Pixels of progress that each step brought."""
        return np.diff(self.each("progress"), prepend=0)

    def assert_ends_with(self, outcome: str) -> None:
        assert self.each("outcome")[:-1] == [None] * (len(self.infos) - 1)
        assert self.infos[-1]["outcome"] == outcome
        assert self.terminated


@pytest.fixture
def play() -> Iterator[Callable[..., Play]]:
    """Plays steps from the start of a stage (or of the whole game) on the fastest engine."""
    made: list[MarioEnv] = []

    def close() -> None:
        while made:
            made.pop().close()

    def go(stage: str | None, steps: Iterable[int], **options: Any) -> Play:
        close()
        made.append(make_env(f"SuperMarioBros-{stage}-v0" if stage else WHOLE_GAME, **{**REPLAY, **options}))
        return Play(made[-1], steps)

    yield go
    close()


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    engine = make_emulator()
    yield engine
    engine.close()


def attempt(emulator: Emulator, start: Stage, asked_for: Stage | None, time_per_stage: int = 400) -> Episode:
    """An episode as an environment begins it with `**REPLAY`, from any stage."""
    go_to_start(emulator, start)
    emulator.frame(0)
    return Episode(emulator.ram(), asked_for, time_per_stage)


def run(episode: Episode, emulator: Emulator, steps: Iterable[int]) -> list[StepResult]:
    return [episode.step(emulator, BUTTONS[action], 4) for action in steps]


# How episodes end


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("stage", "recording", "outcome"),
    [
        pytest.param("1-1", FLAGPOLE_1_1, "cleared", id="flagpole"),
        pytest.param("1-4", AXE_1_4, "cleared", id="axe"),
        pytest.param("1-2", WARP_1_2, "warped", id="warp-zone"),
        pytest.param("1-1", PIT_1_1, "died", id="pit"),
        pytest.param("1-1", "d26", "died", id="enemy"),
    ],
)
def test_recordings_end_alike_on_every_engine(engine: str, stage: str, recording: str, outcome: str) -> None:
    env = make_env(f"SuperMarioBros-{stage}-v0", emulator=engine, **REPLAY)
    played = Play(env, actions(recording))
    env.close()
    played.assert_ends_with(outcome)
    assert played.rewards[-1] / A3GReward.scale == pytest.approx(1.0 if outcome == "cleared" else -1.0)
    assert all(memory.is_controllable(ram) for ram in played.rams[:-1]), "a scene without control was shown"
    assert played.infos[-1]["flag_get"] == (outcome == "cleared")


def test_a_death_is_seen_before_a_life_is_counted(play: Callable[..., Play]) -> None:
    for steps in (actions(PIT_1_1), [RUN] * 26):
        played = play("1-1", steps)
        played.assert_ends_with("died")
        assert played.infos[-1]["life"] == 2
        assert played.infos[-1]["attempt"] == "1-1"


@pytest.mark.parametrize("poked", [(memory.WORLD, 1), (memory.STAGE, 2)], ids=["world", "stage"])
def test_the_pole_of_another_stage_does_not_clear_the_one_asked_for(emulator: Emulator, poked: tuple[int, int]) -> None:
    episode = attempt(emulator, Stage(1, 1), Stage(1, 1))
    *way, last = actions(FLAGPOLE_1_1)
    assert all(result.outcome is None for result in run(episode, emulator, way))
    emulator.poke(*poked)
    result = episode.step(emulator, BUTTONS[last], 4)
    assert (result.outcome, result.reward, result.game_over) == (Outcome.WARPED, FAILURE_PENALTY, True)
    assert episode.stages_cleared == []


def test_standing_still_ends_by_the_time_budget(emulator: Emulator) -> None:
    units = 5
    episode = attempt(emulator, Stage(1, 1), Stage(1, 1), time_per_stage=units)
    steps = units * memory.CLOCK_FRAMES_PER_UNIT // 4
    results = run(episode, emulator, [NOTHING] * (steps - memory.CLOCK_FRAMES_PER_UNIT // 4))
    assert all(result == StepResult(0.0) for result in results)
    while results[-1].outcome is None:
        results += run(episode, emulator, [NOTHING])
    assert results[-1] == StepResult(FAILURE_PENALTY, Outcome.TIMEOUT, game_over=True)
    assert len(results) <= steps


def test_standing_still_ends_by_the_games_own_clock(emulator: Emulator) -> None:
    episode = attempt(emulator, Stage(1, 1), Stage(1, 1), time_per_stage=1000)
    for address, digit in zip(memory.CLOCK_DIGITS, (0, 0, 2), strict=True):
        emulator.poke(address, digit)
    results = run(episode, emulator, [NOTHING] * 10)
    while results[-1].outcome is None:
        results += run(episode, emulator, [NOTHING])
        assert len(results) < 40
    assert results[-1] == StepResult(FAILURE_PENALTY, Outcome.TIMEOUT, game_over=True)


# The whole game


def test_seed_bug_every_lost_life_is_punished_and_leads_to_the_next_and_the_third_ends_it(play: Callable[..., Play]) -> None:
    """Running right meets the first enemy after 26 steps, in every life. (Seed 004 punished only the game over.)"""
    played = play(None, [RUN] * 78)
    assert played.terminated
    assert [step for step, outcome in enumerate(played.each("outcome")) if outcome] == [25, 51, 77]
    assert {played.infos[step]["outcome"] for step in (25, 51, 77)} == {"died"}
    assert [played.rewards[step] for step in (25, 51, 77)] == pytest.approx([FAILURE_PENALTY] * 3)
    assert [played.infos[step]["life"] for step in (24, 25, 51)] == [2, 1, 0]
    assert [played.infos[step]["x_pos"] for step in (25, 51)] == [40, 40], "not shown at the start of the next life"
    assert [played.infos[step]["attempt_steps"] for step in (25, 26, 51, 77)] == [26, 1, 26, 26]
    assert all(memory.is_controllable(ram) for ram in played.rams[:-1]), "a scene without control was shown"
    assert sum(played.rewards[26:51]) == pytest.approx(sum(played.rewards[:25])), "ground counts anew in a new life"


def test_whole_game_goes_on_with_1_2_after_1_1(play: Callable[..., Play]) -> None:
    way = actions(FLAGPOLE_1_1)
    played = play(None, [*way, *[RUN] * 12])
    assert not played.terminated
    cleared = played.infos[len(way) - 1]
    assert (cleared["outcome"], cleared["attempt"]) == ("cleared", "1-1")
    assert played.rewards[len(way) - 1] == pytest.approx(FINISH_REWARD)
    assert (cleared["world"], cleared["stage"], cleared["life"]) == (1, 2, 2)
    underground = 2
    assert played.rams[len(way) - 1][memory.AREA_TYPE] == underground, "the walk into the pipe was not run out"
    assert all(memory.is_controllable(ram) for ram in played.rams), "a scene without control was shown"
    assert set(played.each("attempt")[len(way) :]) == {"1-2"}
    assert played.infos[-1]["progress"] == played.infos[-1]["x_pos"] - cleared["x_pos"] > 50


def test_seed_bug_a_death_after_a_clear_is_still_punished(play: Callable[..., Play]) -> None:
    """Seed 002's EpisodicLifeEnv never cleared its flags: after one clear every death paid +30."""
    way = actions(FLAGPOLE_1_1)
    steps = [*way, *[RUN] * 80]
    outcomes, rewards = (list[Any]() for _ in range(2))
    env = make_env(WHOLE_GAME, **REPLAY)
    env.reset()
    for action in steps:
        _, reward, terminated, _, info = env.step(action)
        if info["outcome"]:
            outcomes.append(info["outcome"])
            rewards.append(reward * A3GReward.scale)
        if terminated:
            break
    env.close()
    assert outcomes[:3] == ["cleared", "died", "died"]
    assert rewards[:3] == pytest.approx([FINISH_REWARD, FAILURE_PENALTY, FAILURE_PENALTY])


def test_seed_bug_a_death_in_the_episode_after_a_clear_is_still_punished() -> None:
    env = make_env("SuperMarioBros-1-1-v0", **REPLAY)
    cleared, died = Play(env, actions(FLAGPOLE_1_1)), Play(env, [RUN] * 26)
    env.close()
    assert (cleared.infos[-1]["outcome"], died.infos[-1]["outcome"]) == ("cleared", "died")
    assert died.rewards[-1] == pytest.approx(FAILURE_PENALTY)


def test_whole_game_goes_on_with_2_1_after_the_castle(emulator: Emulator) -> None:
    episode = attempt(emulator, Stage(1, 4), None)
    results = run(episode, emulator, actions(AXE_1_4))
    assert results[-1] == StepResult(FINISH_REWARD, Outcome.CLEARED, game_over=False)
    assert episode.stages_cleared == [Stage(1, 4)]
    assert episode.attempted_stage == memory.stage_now(emulator.ram()) == Stage(2, 1)
    assert memory.is_controllable(emulator.ram())


def test_whole_game_ends_with_the_axe_of_8_4(emulator: Emulator) -> None:
    """In the castle of 1-4, told at its end that it is world 8."""
    episode = attempt(emulator, Stage(1, 4), None)
    *way, last = actions(AXE_1_4)
    run(episode, emulator, way)
    emulator.poke(memory.WORLD, 7)
    assert run(episode, emulator, [last]) == [StepResult(FINISH_REWARD, Outcome.CLEARED, game_over=True)]
    assert episode.stages_cleared == [Stage(8, 4)]


def test_whole_game_goes_on_after_a_warp_zone(emulator: Emulator) -> None:
    episode = attempt(emulator, Stage(1, 2), None)
    results = run(episode, emulator, actions(WARP_1_2))
    assert all(result.outcome is None for result in results)
    assert episode.attempted_stage == memory.stage_now(emulator.ram()) == Stage(3, 1)
    assert episode.progress == 0
    assert run(episode, emulator, [RUN] * 5)[-1].reward > 0


def to_the_minus_world(emulator: Emulator) -> Episode:
    """The game's own glitch: at the left pipe of 1-2's warp zone, while its numbers are not those of world 1."""
    episode = attempt(emulator, Stage(1, 2), None)
    run(episode, emulator, actions(WARP_1_2)[:-4])
    warp_zone_control, x_of_left_pipe = 0x06D6, 40
    emulator.poke(warp_zone_control, 5)
    emulator.poke(memory.PLAYER_X, x_of_left_pipe)
    return episode


def test_the_minus_world_ends_the_whole_game(emulator: Emulator) -> None:
    episode = to_the_minus_world(emulator)
    assert run(episode, emulator, [DOWN]) == [StepResult(FAILURE_PENALTY, Outcome.WARPED, game_over=True)]
    assert memory.stage_now(emulator.ram()) == (36, 1)
    assert episode.attempted_stage == Stage(1, 2)


def test_a_death_on_arrival_in_the_minus_world_ends_the_whole_game_too(emulator: Emulator) -> None:
    episode = attempt(emulator, Stage(1, 1), None)
    emulator.poke(memory.WORLD, 35)
    emulator.poke(memory.PLAYER_ACTIVITY, memory.ACTIVITY_DYING)
    assert run(episode, emulator, [NOTHING]) == [StepResult(FAILURE_PENALTY, Outcome.WARPED, game_over=True)]


def test_an_episode_of_an_unknown_stage_is_not_entered() -> None:
    counters = RunCounters(1)
    counters.note_episode(0, "36-1", "warped", 100)
    assert not counters.stages.any()


def test_whole_game_out_of_time_costs_a_life(emulator: Emulator) -> None:
    episode = attempt(emulator, Stage(1, 1), None, time_per_stage=2)
    outcomes = []
    for _ in range(60):
        result = episode.step(emulator, 0, 4)
        if result.outcome:
            assert result.reward == FAILURE_PENALTY
            outcomes.append((result.outcome, result.game_over, emulator.ram()[memory.LIVES]))
        if result.game_over:
            break
    assert outcomes == [(Outcome.TIMEOUT, False, 1), (Outcome.TIMEOUT, False, 0), (Outcome.TIMEOUT, True, 0)]


# Reward


def test_reward_is_new_ground_plus_the_finish(play: Callable[..., Play]) -> None:
    played = play("1-1", actions(FLAGPOLE_1_1))
    rewards, furthest = np.array(played.rewards), np.maximum.accumulate([40, *played.each("x_pos")])
    np.testing.assert_allclose(rewards[:-1], np.diff(furthest)[:-1])
    assert rewards[-1] == pytest.approx(FINISH_REWARD)
    assert rewards.max() <= MAX_NEW_GROUND
    assert played.infos[-2]["progress"] == furthest[-2] - 40


def test_walking_back_and_over_the_same_ground_again_earns_nothing(play: Callable[..., Play]) -> None:
    played = play("6-1", [*[RUN] * 18, *[RUN_LEFT] * 18, *[RUN] * 21])
    xs, rewards = played.each("x_pos"), played.rewards
    furthest_before = np.maximum.accumulate([played.start["x_pos"], *xs])[:-1]
    new = np.array(xs) > furthest_before
    assert new[:18].sum() > 15
    assert min(xs[25:40]) < xs[17] - 80
    assert not new[25:40].any()
    assert new[-3:].all()
    assert all(reward == 0 for reward, is_new in zip(rewards, new, strict=True) if not is_new)
    assert sum(rewards) == pytest.approx(max(xs) - played.start["x_pos"])


def test_falling_into_a_pit_is_fined_before_the_death_is(play: Callable[..., Play]) -> None:
    played = play("1-1", actions(PIT_1_1))
    falling = [reward for reward, y in zip(played.rewards, played.each("y_pos"), strict=True) if y < 70]
    assert falling == pytest.approx([FALLING_PENALTY] * len(falling))
    assert len(falling) >= 2
    assert played.rewards[-1] == pytest.approx(FAILURE_PENALTY)


def to_a_sinking_lift(emulator: Emulator) -> None:
    """Mario on the first lift of 1-3, on its way down: he is carried there by pushes upwards, and put onto it."""
    go_to_start(emulator, Stage(1, 3))
    lift, lift_x, speed, lift_y = memory.ENEMY_TYPES[0], 880, memory.PLAYER_Y_SPEED, 0xCF
    for _ in range(1000):
        ram = emulator.ram()
        if ram[lift] in memory.ENEMY_LIFTS and memory.x_position(ram) > lift_x - 16:
            break
        if ram[0xCE] > 110 and 0 < ram[speed] < 128:
            emulator.poke(speed, 0xFB)
            emulator.poke(memory.PLAYER_FLOAT_STATE, 1)
        emulator.frame(BUTTONS[RUN])
    page, x = divmod(lift_x + 16, 256)
    for address, value in ((memory.PLAYER_PAGE, page), (memory.PLAYER_X, x), (0x57, 0), (speed, 0), (0xCE, ram[lift_y] - 32)):
        emulator.poke(address, value)


def test_standing_on_a_low_lift_is_not_fined(emulator: Emulator) -> None:
    to_a_sinking_lift(emulator)
    episode = Episode(emulator.ram(), Stage(1, 3), 400)
    heights, rewards = [], []
    for _ in range(40):
        rewards.append(episode.step(emulator, BUTTONS[NOTHING], 4).reward)
        heights.append(memory.y_position(emulator.ram()))
    assert min(heights) < FALLING_HEIGHT - 5
    assert heights[-1] > min(heights), "the lift did not come up again with Mario on it"
    assert min(rewards) >= 0


def test_the_way_over_the_ceiling_to_the_warp_zone_is_fined(play: Callable[..., Play]) -> None:
    played = play("1-2", actions(WARP_1_2))
    above = [reward for reward, y in zip(played.rewards[:-1], played.each("y_pos")[:-1], strict=True) if y > 254]
    assert above == pytest.approx([CEILING_PENALTY] * len(above))
    assert len(above) > 20


def test_a_bonus_room_is_new_ground_and_coming_back_pays_none_twice(play: Callable[..., Play]) -> None:
    played = play("1-1", [*actions(PIPE_1_1), *[RUN_LEFT] * 10])
    areas = [(ram[memory.AREA_TYPE], ram[memory.AREA_OFFSET]) for ram in played.rams]
    inside = np.array([area != areas[0] for area in areas])
    down, up = int(np.argmax(inside)), len(inside) - int(np.argmax(inside[::-1]))
    assert inside[down:up].all()
    assert 0 < down < up < len(areas)
    xs, rewards = np.array(played.each("x_pos")), np.array(played.rewards)
    assert rewards[down] == 0, "arriving in the room is not ground covered"
    assert rewards[down:up].sum() == pytest.approx(xs[down:up].max() - xs[down])
    assert rewards[down:up].sum() > 50
    assert rewards[up] <= MAX_NEW_GROUND, "coming out further right is not ground covered"
    assert rewards[up + 1 :].max() <= 0, "walking back where the pipe led was paid"
    assert rewards[:down].sum() + rewards[up:].sum() <= xs[:down].max() - 40 + MAX_NEW_GROUND
    assert played.new_ground().min() >= 0


@pytest.mark.parametrize(
    ("stage", "recording", "turns"),
    [pytest.param("4-4", MAZE_4_4, 2, id="4-4"), pytest.param("7-4", MAZE_7_4, 6, id="7-4")],
)
def test_mazes_pay_each_right_turn_once(play: Callable[..., Play], stage: str, recording: str, turns: int) -> None:
    """In 7-4 the recording misses one of the first three turns, is thrown back, and takes all three."""
    played = play(stage, actions(recording))
    played.assert_ends_with("cleared")
    extra = np.array(played.rewards[:-1]) - played.new_ground()[:-1]
    paid = np.flatnonzero(extra > 0)
    np.testing.assert_allclose(extra[paid], RIGHT_TURN_REWARD)
    assert len(paid) == turns
    pages = [played.rams[step][memory.LOADED_PAGE] for step in paid]
    assert len(set(pages)) == turns, "a checkpoint was paid twice"
    assert sum(played.rewards) == pytest.approx(
        played.infos[-1]["progress"] + turns * RIGHT_TURN_REWARD + FINISH_REWARD + extra[extra < 0].sum()
    )


def test_being_thrown_back_by_a_maze_earns_nothing(play: Callable[..., Play]) -> None:
    played = play("4-4", [*actions(WRONG_TURN_4_4), *[RUN] * 4])
    xs = played.each("x_pos")
    back = int(np.argmin(np.diff(xs))) + 1
    assert xs[back] < xs[back - 1] - memory.MAZE_SETBACK // 2
    assert not np.any(np.array(played.rewards[back:]) > 0)
    extra = np.array(played.rewards) - played.new_ground()
    assert not np.any(extra > 0), "the wrong turn was paid"


def test_pipes_of_8_4_pay_new_ground_only(play: Callable[..., Play]) -> None:
    """Loading an area clears the flag that a checkpoint lies ahead, and so does no right turn."""
    played = play("8-4", actions(PIPES_8_4))
    jumps = np.flatnonzero(np.abs(np.diff(played.each("x_pos"))) > 256) + 1
    xs = played.each("x_pos")
    assert [(xs[step - 1] // 256, xs[step] // 256) for step in jumps] == [(5, 1), (1, 7), (9, 12), (14, 0), (4, 16)]
    assert played.rams[jumps[3]][memory.AREA_TYPE] == memory.AREA_TYPE_WATER
    assert any(played.rams[step - 1][memory.MAZE_CHECK] for step in jumps), "no pipe was taken before a checkpoint"
    assert not np.any(np.array(played.rewards) > played.new_ground())


def test_the_pipe_of_8_4_that_leads_back_pays_nothing(play: Callable[..., Play]) -> None:
    played = play("8-4", actions(WRONG_PIPE_8_4))
    assert played.rams[-2][memory.MAZE_CHECK]
    assert played.infos[-1]["x_pos"] < played.infos[-2]["x_pos"] - 256
    assert played.rewards[-1] == 0


def test_a_checkpoint_is_known_by_its_page_not_by_where_mario_stands() -> None:
    """The game checks when it draws the checkpoint's page, wherever on the screen Mario is then."""

    def ram(x: int, ahead: bool, page: int) -> bytes:
        values = bytearray(memory.RAM_SIZE)
        values[memory.WORLD], values[memory.STAGE], values[memory.AREA_TYPE] = 3, 3, 3
        values[memory.PLAYER_PAGE], values[memory.PLAYER_X], values[memory.PLAYER_Y_SCREEN] = *divmod(x, 256), 1
        values[memory.PLAYER_Y], values[memory.MAZE_CHECK], values[memory.LOADED_PAGE] = 100, ahead, page
        return bytes(values)

    start = ram(760, False, 4)
    progress, reward = Progress(start), A3GReward()
    reward.start(start)

    def step(x: int, ahead: bool, page: int) -> float:
        now = ram(x, ahead, page)
        return reward.step(now, progress.step(now))

    step(765, True, 4)
    assert step(770, False, 5) == 5 + RIGHT_TURN_REWARD
    step(780, True, 8)
    assert step(790, False, 9) == 10 + RIGHT_TURN_REWARD, "another checkpoint at nearly the same x"
    step(500, True, 4)
    assert step(750, False, 5) == 0, "the first one again, from another x"


def test_the_checkpoints_that_pay_are_those_of_the_rom() -> None:
    rom = find_rom().read_bytes()
    worlds = bytes([3] * 2 + [6] * 6 + [7] * 3)
    table = rom[rom.index(worlds) :]
    checkpoints = list(zip(table[:11], table[11:22], table[22:33], strict=True))
    out_of_reach = 0xF0  # a height below the screen's lowest floor
    assert {(world, page) for world, page, height in checkpoints if height < out_of_reach} == memory.MAZE_CHECKPOINTS


class CountingEmulator:
    """The real engine, with its frames counted."""

    def __init__(self, engine: Emulator) -> None:
        self._engine = engine
        self.drawn: list[bool] = []

    def frame(self, buttons: int, draw: bool = True) -> None:
        self.drawn.append(draw)
        self._engine.frame(buttons, draw)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


@pytest.mark.skipif("native" not in ENGINES, reason="other engines draw every frame")
@pytest.mark.parametrize("two_frame_max", [False, True])
def test_only_frames_that_are_shown_are_drawn(two_frame_max: bool) -> None:
    """Through a death and the black screen after it; with `two_frame_max` every frame may be one of the last two."""
    env = make_env(WHOLE_GAME, emulator="native", two_frame_max=two_frame_max, **REPLAY)
    watched = MarioEnv(None, env.options, "native", on_frame=lambda _: None)
    counting = env._emulator = CountingEmulator(env._emulator)  # type: ignore[assignment]
    np.testing.assert_array_equal(env.reset()[0], watched.reset()[0])
    counting.drawn.clear()
    for _ in range(30):
        np.testing.assert_array_equal(env.step(RUN)[0], watched.step(RUN)[0])
    assert len(counting.drawn) > 30 * 4, "the black screen was not run out"
    a_death = 1  # drawn, though what is shown after it is the next life
    assert sum(counting.drawn) == (len(counting.drawn) if two_frame_max else 30 + a_death)
    env.close()
    watched.close()
