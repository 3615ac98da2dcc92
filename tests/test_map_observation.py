"""The map of what is around Mario: what stands where, read from the real game."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from a3g.errors import UserError
from a3g.exploration.demonstrations import load_demonstrations
from a3g.exploration.games import Games
from a3g.game.emulators import available_emulators
from a3g.game.make import make_env
from a3g.game.map_observation import (
    COLUMNS_AHEAD,
    COLUMNS_BEHIND,
    MAP_ONE,
    ROWS_ABOVE,
    ROWS_BELOW,
    write_maps,
    write_maps_in_numpy,
)
from a3g.game.memory import RAM_SIZE
from a3g.game.options import MAP_SHAPE, GameOptions
from a3g.game.stages import WHOLE_GAME, Stage
from a3g.network_spec import FIRST_MAP_SIZE, MAP_PLACE_AT, MAP_STAGES, NetworkSpec
from a3g.networks.actor_critic import ActorCritic
from a3g.runs.weights import load_weights, save_weights, weights_path

DEMOS = Path(__file__).resolve().parent.parent / "trained_models" / "demos"
pytestmark = pytest.mark.skipif("native" not in available_emulators(), reason="the native core is not built here")
ROWS, COLUMNS = ROWS_ABOVE + 1 + ROWS_BELOW, COLUMNS_BEHIND + 1 + COLUMNS_AHEAD
SOLID, STOMPABLE, DEADLY, LIFT = range(4)
RUN, JUMP = 3, 4


def planes_of(games: Games) -> NDArray[np.bool_]:
    """(4, rows, columns) of lane 0."""
    maps = np.full((games.lanes, *MAP_SHAPE), 77, np.uint8)
    write_maps(games.ram, maps)
    planes = maps.reshape(games.lanes, -1)[0, : 4 * ROWS * COLUMNS].reshape(4, ROWS, COLUMNS)
    assert set(np.unique(planes)) <= {0, MAP_ONE}
    return planes == MAP_ONE


def play(games: Games, actions: list[int]) -> None:
    for action in actions:
        games.step(np.full(games.lanes, action))


def test_mario_stands_on_the_ground_of_1_1_before_the_first_pipe() -> None:
    games = Games(Stage(1, 1), lanes=1)
    play(games, [0] * 3)
    solid = planes_of(games)[SOLID]
    assert solid[ROWS_ABOVE + 1 : ROWS_ABOVE + 3, COLUMNS_BEHIND - 2 :].all(), "two rows of ground"
    assert not solid[: ROWS_ABOVE + 1].any(), "nothing in the air yet"
    assert not solid[ROWS_ABOVE + 3 :].any(), "nothing below the picture"
    # The first pipe stands at x = 448, two tiles wide and high.
    play(games, [RUN] * 12 + [JUMP] * 8 + [RUN] * 12)
    x = int(games.x_positions[0]) + 8
    column = 448 // 16 - (x >> 4) + COLUMNS_BEHIND
    solid = planes_of(games)[SOLID]
    assert solid[ROWS_ABOVE - 1 : ROWS_ABOVE + 1, column : column + 2].all()
    assert not solid[ROWS_ABOVE - 1, column - 1]
    assert not solid[ROWS_ABOVE - 2, column]


def test_the_first_enemy_comes_nearer() -> None:
    games = Games(Stage(1, 1), lanes=1)
    seen = []
    for _ in range(24):
        play(games, [RUN])
        seen.append(np.flatnonzero(planes_of(games)[STOMPABLE].any(axis=0)))
    columns = [int(each[0]) for each in seen if len(each)]
    assert columns[0] == COLUMNS - 1, "it comes in from the right"
    assert columns == sorted(columns, reverse=True)
    assert not planes_of(games)[DEADLY].any()


def test_a_firebar_is_a_line_that_turns() -> None:
    stage = Stage(1, 4)
    way = next(each for each in load_demonstrations(DEMOS, [stage])[stage] if not each.idle_frames)
    games = Games(stage, lanes=1)
    lines = []
    for action in way.actions.tolist():
        play(games, [action])
        lines.append(planes_of(games)[DEADLY])
    # A row, a column, or a diagonal of tiles.
    shapes = {tuple(np.ptp(np.nonzero(line), axis=1)) for line in lines if line.sum() == 3}
    assert {(0, 2), (2, 0), (2, 2)} <= shapes


def test_lifts_are_told_from_enemies() -> None:
    games = Games(Stage(1, 2), lanes=1)
    for address, value in ((0x0F, 1), (0x16, 0x26), (0x6E, 0), (0x87, 96), (0xB6, 1), (0xCF, 150)):
        games.ram[0, address] = value
    planes = planes_of(games)
    assert planes[LIFT].sum() == 3, "three tiles wide"
    assert not planes[STOMPABLE].any()


def test_speeds_have_a_sign_and_the_stage_is_told() -> None:
    games = Games(Stage(2, 3), lanes=2)
    maps = np.zeros((2, *MAP_SHAPE), np.uint8)
    for _ in range(4):  # then the left edge stops him
        games.step(np.array([RUN, 7]))
    write_maps(games.ram, maps)
    speed_at = 4 * ROWS * COLUMNS + 40 + 18
    right, left = maps.reshape(2, -1)[:, speed_at]
    assert right > MAP_ONE > left
    np.testing.assert_array_equal(np.flatnonzero(maps.reshape(2, -1)[0, MAP_PLACE_AT:][:MAP_STAGES]), [6])


def test_the_nearest_objects_kinds_and_the_buttons_are_told() -> None:
    games = Games(Stage(1, 1), lanes=2)
    maps = np.zeros((2, *MAP_SHAPE), np.uint8)
    for _ in range(24):
        games.step(np.array([RUN, JUMP]))
    write_maps(games.ram, maps)
    more = maps.reshape(2, -1)[:, FIRST_MAP_SIZE + 20 :]
    goomba, timers = 3, 16
    np.testing.assert_array_equal(np.flatnonzero(more[0, :timers]), [goomba])
    assert not more[0, 3 * 21 :][: 3 * 21].any(), "no fourth object"
    a, b, up, down, left, right = more[0, -20:-14]
    assert (a, b, up, down, left, right) == (0, MAP_ONE, 0, 0, 0, MAP_ONE)
    assert more[1, -20] == MAP_ONE, "A is pressed for a jump"


def test_firebars_of_both_directions_are_told_apart() -> None:
    stage = Stage(5, 4)
    way = next(each for each in load_demonstrations(DEMOS, [stage])[stage] if not each.idle_frames)
    games = Games(stage, lanes=1)
    maps = np.zeros((1, *MAP_SHAPE), np.uint8)
    firebar, spin = 12, 19
    told = set()
    for action in way.actions.tolist():
        play(games, [action])
        write_maps(games.ram, maps)
        objects = maps.reshape(-1)[FIRST_MAP_SIZE + 20 :][: 6 * 21].reshape(6, 21)
        told |= {int(each[spin]) for each in objects if each[firebar]}
        assert not any(each[spin] for each in objects if not each[firebar])
    assert told == {0, MAP_ONE}


@pytest.mark.parametrize("stage", [Stage(1, 1), Stage(2, 2), Stage(3, 1), Stage(4, 4), Stage(5, 3), Stage(8, 4)], ids=str)
def test_the_core_draws_the_same_maps_as_numpy(stage: Stage) -> None:
    games = Games(stage, lanes=16)
    random = np.random.default_rng(stage.world)
    ways = load_demonstrations(DEMOS, [stage])[stage]
    shape = games.lanes, *MAP_SHAPE
    ours, theirs = np.full(shape, 77, np.uint8), np.full(shape, 99, np.uint8)
    steps = max(len(way.actions) for way in ways)
    for step in range(steps):
        actions = random.integers(10, size=games.lanes)
        for lane, way in enumerate(ways[:8]):  # half of them come far, with few and with many missteps
            if step < len(way.actions) and random.random() > 0.02 * lane:
                actions[lane] = way.actions[step]
        games.step(actions)
        write_maps(games.ram, ours)
        write_maps_in_numpy(games.ram, theirs)
        np.testing.assert_array_equal(ours, theirs)


def test_the_core_draws_any_ram_as_numpy_does() -> None:
    ram = np.random.default_rng(1).integers(0, 256, (2000, RAM_SIZE), np.uint8)
    ram[::2, 0x0016:0x001C] &= 0x3F
    ours, theirs = (np.zeros((len(ram), *MAP_SHAPE), np.uint8) for _ in range(2))
    write_maps(ram, ours)
    write_maps_in_numpy(ram, theirs)
    np.testing.assert_array_equal(ours, theirs)


def test_weights_that_read_shorter_maps_do_the_same_with_todays(tmp_path: Path) -> None:
    torch.manual_seed(4)
    spec = NetworkSpec("map", (1, 1, FIRST_MAP_SIZE), hidden_size=16, lstm=False)
    older = ActorCritic(spec).eval()
    path = weights_path(tmp_path, WHOLE_GAME)
    save_weights(path, older, WHOLE_GAME, GameOptions(observation="map"), agent_steps=7)
    weights = load_weights(path)
    assert weights.network == replace(spec, observation_shape=MAP_SHAPE)
    maps, begins = torch.randint(0, 256, (1, 3, *MAP_SHAPE), dtype=torch.uint8), torch.ones(1, 3, dtype=torch.bool)
    theirs = older(maps[..., :FIRST_MAP_SIZE], older.initial_state(3), begins)
    ours = weights.build()(maps, older.initial_state(3), begins)
    for their, our in zip(theirs, ours, strict=True):
        torch.testing.assert_close(our, their, rtol=1e-4, atol=1e-4)


def test_maps_are_bytes_of_a_fixed_shape_on_every_engine() -> None:
    assert GameOptions(observation="map").observation_shape == MAP_SHAPE
    with pytest.raises(UserError, match="Unknown observation 'ram': choose one of pictures, map"):
        GameOptions(observation="ram")
    seen = []
    for emulator in available_emulators():
        env = make_env("1-1", emulator=emulator, observation="map", noop_max=0)
        observation, _ = env.reset(seed=1)
        assert observation.shape == MAP_SHAPE
        for _ in range(10):
            observation = env.step(RUN)[0]
        seen.append(observation)
        env.close()
    for each in seen[1:]:
        np.testing.assert_array_equal(each, seen[0])
