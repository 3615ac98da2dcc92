"""The decoded game variables, against gym-super-mario-bros' own environment on nes-py."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from a3g.game import memory
from a3g.game.emulators import BUTTON_RIGHT, BUTTON_START
from a3g.game.emulators.nes_py import NesPy
from a3g.game.lane import ACTION_SETS
from a3g.game.stage_starts import area_index
from a3g.game.stages import Stage
from environment import GameOptions, MarioEnv
from tests.recordings import AXE_1_4, FLAGPOLE_1_1, REPLAY, actions

with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
    warnings.simplefilter("ignore")
    from gym_super_mario_bros.smb_env import SuperMarioBrosEnv


@pytest.fixture
def ours() -> Iterator[NesPy]:
    engine = NesPy()
    yield engine
    engine.close()


def theirs_at(stage: Stage) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = SuperMarioBrosEnv(target=tuple(stage))
        env.reset()
    return env


def signed(info: dict[str, Any]) -> dict[str, Any]:
    """Their info with our signed x: left of the area's edge theirs is above 65,000."""
    x = int(info["x_pos"])
    return {**info, "x_pos": x - 0x10000 if x > 60_000 else x}


def theirs_step(env: Any, buttons: int) -> dict[str, Any]:
    """One frame on their console, without what their environment skips after a death."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env._frame_advance(buttons)
        return signed(env._get_info())


def random_buttons(seed: int, frames: int) -> list[int]:
    random = np.random.default_rng(seed)
    choices = [*ACTION_SETS["complex"], *[BUTTON_RIGHT | 3] * 12]
    return [choices[i] for i in random.integers(len(choices), size=frames // 8) for _ in range(8)]


def start_as_they_do(emulator: NesPy, stage: Stage) -> None:
    """The presses and pokes of SuperMarioBrosEnv._skip_start_screen on our engine."""
    target = (memory.WORLD, stage.world - 1), (memory.STAGE, stage.stage - 1), (memory.AREA, area_index(stage))

    def clock() -> int:
        return memory.number(emulator.ram(), memory.CLOCK_DIGITS)

    emulator.reset()
    emulator.frame(BUTTON_START)
    emulator.frame(0)
    while clock() == 0:
        emulator.frame(BUTTON_START)
        for address, value in target:
            emulator.poke(address, value)
        emulator.frame(0)
        emulator.poke(memory.BLACK_SCREEN_TIMER, 0)
    last = clock()
    while clock() >= last:
        last = clock()
        emulator.frame(BUTTON_START)
        emulator.frame(0)


@pytest.mark.parametrize("stage", [Stage(1, 1), Stage(1, 2), Stage(2, 2), Stage(4, 3), Stage(8, 4)], ids=str)
def test_every_variable_equals_theirs_on_the_same_ram(stage: Stage) -> None:
    """Through play, deaths, black screens and new lives."""
    env = theirs_at(stage)
    seen: dict[str, set[Any]] = {}
    for buttons in random_buttons(stage.world, 800):
        expected = theirs_step(env, buttons)
        decoded = dict(memory.decode(env.ram.tobytes()))
        if not expected["flag_get"]:
            del expected["flag_get"], decoded["flag_get"]
        assert decoded == expected
        for key, value in decoded.items():
            seen.setdefault(key, set()).add(value)
    assert set(seen) >= {"coins", "life", "score", "stage", "status", "time", "world", "x_pos", "y_pos"}
    assert len(seen["x_pos"]) > 50
    assert len(seen["life"]) > (stage == Stage(8, 4)), "no life was lost"
    env.close()


@pytest.mark.parametrize("stage", [Stage(1, 1), Stage(2, 1), Stage(3, 3)], ids=str)
def test_every_variable_equals_theirs_after_the_same_inputs(ours: NesPy, stage: Stage) -> None:
    """Two consoles, theirs and ours, from switching on: every key in every frame until Mario dies.

    On theirs a button acts one frame late (see NesPy.frame), so theirs gets each a frame ahead.
    """
    env = theirs_at(stage)
    start_as_they_do(ours, stage)
    buttons = random_buttons(10 * stage.world + stage.stage, 400)
    env.controllers[0][:] = 0
    frames = 0
    for held_by_ours, held_by_theirs in zip([0, *buttons], buttons, strict=False):
        ours.frame(held_by_ours)
        expected = theirs_step(env, held_by_theirs)
        assert dict(memory.decode(ours.ram())) == expected, f"in frame {frames}"
        frames += 1
        if memory.is_dead(ours.ram()):
            break
    assert frames > 100
    env.close()


def test_x_is_signed_left_of_the_edge() -> None:
    """Where Mario stands left of an area's edge its page byte is 255; theirs then says 65,530."""
    ram = bytearray(memory.RAM_SIZE)
    ram[memory.PLAYER_PAGE], ram[memory.PLAYER_X] = 255, 250
    assert memory.x_position(ram) == -6
    ram[memory.PLAYER_PAGE], ram[memory.PLAYER_X] = 12, 250
    assert memory.x_position(ram) == 12 * 256 + 250


@pytest.mark.parametrize(("stage", "recording"), [(Stage(1, 1), FLAGPOLE_1_1), (Stage(1, 4), AXE_1_4)], ids=["pole", "axe"])
def test_flag_get_comes_with_theirs_and_only_at_the_end_of_the_stage(stage: Stage, recording: str) -> None:
    """Theirs looks for the flag among the enemies while Mario climbs; ours counts the slide and the walk after it too."""
    flags: list[tuple[bool, bool]] = []

    def compare(emulator: Any) -> None:
        emulator._console.__class__ = SuperMarioBrosEnv  # the same console, read in their way
        expected, decoded = signed(emulator._console._get_info()), dict(memory.decode(emulator.ram()))
        flags.append((bool(expected.pop("flag_get")), bool(decoded.pop("flag_get"))))
        if memory.is_controllable(emulator.ram()):
            assert decoded == expected

    env = MarioEnv(stage, GameOptions(**REPLAY), "nes-py", on_frame=compare)
    env.reset()
    terminated = False
    for action in actions(recording):
        _, _, terminated, _, info = env.step(action)
    assert terminated
    assert info["flag_get"]
    assert flags[-1][1]
    assert not any(ours for _, ours in flags[:-1])
    emulator = env._emulator
    for _ in range(60):
        emulator.frame(0)
        compare(emulator)
    theirs, ours = zip(*flags, strict=True)
    assert any(theirs)
    assert ours.index(True) <= theirs.index(True)
    env.close()
