"""`show_buttons`: two squares in the corner say what is held, and the rest of a picture stays as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from a3g.exploration.demonstrations import load_demonstrations
from a3g.exploration.teacher import Teacher
from a3g.game.buttons import BUTTON_A, BUTTON_B
from a3g.game.emulators import Image, available_emulators
from a3g.game.make import make_env
from a3g.game.options import ACTION_SETS, GameOptions
from a3g.game.stages import Stage

SIDE = 8  # of 80 pixels
STAY, RIGHT, RIGHT_A, RIGHT_B, RIGHT_A_B, JUMP = range(6)
DEMOS = Path(__file__).parent.parent / "trained_models" / "demos"


def squares(picture: Image) -> tuple[set[int], set[int]]:
    """The brightnesses in the squares of A and B."""
    corner = picture[-SIDE:]
    return set(corner[:, :SIDE].ravel().tolist()), set(corner[:, SIDE : 2 * SIDE].ravel().tolist())


def expected(action: int) -> tuple[set[int], set[int]]:
    buttons = ACTION_SETS["a3g"][action]
    return {255 if buttons & BUTTON_A else 0}, {255 if buttons & BUTTON_B else 0}


@pytest.mark.parametrize("engine", available_emulators())
def test_each_picture_tells_what_was_held_when_it_was_taken(engine: str) -> None:
    env = make_env("1-1", emulator=engine, noop_max=0, show_buttons=True)
    plain = make_env("1-1", emulator=engine, noop_max=0) if engine == "native" else None
    held = [STAY] * 4
    try:
        observation, _ = env.reset(seed=1)
        unmarked = plain.reset(seed=1)[0] if plain is not None else None
        for action in (STAY, RIGHT_A, RIGHT_A, RIGHT, RIGHT_B, RIGHT_A_B, STAY, RIGHT_A):
            assert [squares(picture) for picture in observation] == [expected(each) for each in held]
            if unmarked is not None:
                rest = observation.copy()
                rest[:, -SIDE:, : 2 * SIDE] = unmarked[:, -SIDE:, : 2 * SIDE]
                np.testing.assert_array_equal(rest, unmarked)
            observation, *_ = env.step(action)
            held = [*held[1:], action]
            if plain is not None:
                unmarked, *_ = plain.step(action)
    finally:
        env.close()
        if plain is not None:
            plain.close()


def test_a_repeated_action_is_shown_not_the_chosen_one() -> None:
    env = make_env("1-1", noop_max=0, show_buttons=True, sticky_actions=0.5)
    env.reset(seed=3)
    seen = []
    for step in range(40):
        observation, *_ = env.step((STAY, JUMP)[step % 2])
        seen.append(squares(observation[-1])[0] == {255})
    env.close()
    chosen = [step % 2 == 1 for step in range(40)]
    assert seen != chosen
    for step in range(1, 40):
        assert seen[step] in (chosen[step], seen[step - 1])


@pytest.mark.skipif("native" not in available_emulators(), reason="the native core is not built here")
def test_who_is_shown_a_way_on_sees_the_buttons_too() -> None:
    stage = Stage(1, 4)
    options = GameOptions(noop_max=3, show_buttons=True)
    seen: list[Image] = []
    random = np.random.default_rng(1)

    def choose(observations: Image) -> NDArray[np.int64]:
        seen.append(observations.copy())
        return random.choice([RIGHT, RIGHT_A_B], size=len(observations))

    Teacher(load_demonstrations(DEMOS, [stage]), 1, options, 0.0, seed=1).play(200, choose)
    corners = [squares(picture) for observations in seen for picture in observations[0]]
    assert all(a in ({0}, {255}) and b in ({0}, {255}) for a, b in corners)
    assert len({str(corner) for corner in corners}) > 1
