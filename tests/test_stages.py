"""The 32 stage starts, the start of the whole game, and the names of both."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from a3g.errors import UserError
from a3g.game import memory
from a3g.game.emulators import BUTTON_B, BUTTON_RIGHT, Emulator, available_emulators, make_emulator
from a3g.game.stage_starts import area_index, go_to_start
from a3g.game.stages import STAGES, WHOLE_GAME, Stage, env_id_of, parse_env_id
from environment import make_env

ROOT = Path(__file__).parents[1]

# Stages whose map gives 300 units of the clock; the others have 400.
SHORT_CLOCKS = {"1-3", "1-4", "2-3", "2-4", "3-2", "3-3", "3-4", "4-3", "5-1", "5-3", "5-4", "6-3", "6-4", "7-3", "8-1", "8-3"}
WATER = {"2-2", "7-2"}
CASTLES = {stage for stage in STAGES if stage.stage == 4}


@pytest.fixture(scope="module", params=available_emulators())
def emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    engine = make_emulator(request.param)
    yield engine
    engine.close()


def test_there_are_32_stages_in_the_order_of_the_game() -> None:
    assert len(STAGES) == 32
    assert [str(stage) for stage in STAGES[:5]] == ["1-1", "1-2", "1-3", "1-4", "2-1"]
    assert str(STAGES[-1]) == "8-4"


@pytest.mark.parametrize("stage", STAGES, ids=str)
def test_every_stage_starts_with_mario_obeying(emulator: Emulator, stage: Stage) -> None:
    go_to_start(emulator, stage)
    ram = emulator.ram()
    variables = memory.decode(ram)
    assert (variables["world"], variables["stage"]) == tuple(stage)
    assert ram[memory.AREA] == area_index(stage)
    assert variables["time"] == (300 if str(stage) in SHORT_CLOCKS else 400)
    assert variables["life"] == 2
    assert (variables["score"], variables["coins"], variables["status"]) == (0, 0, "small")
    assert memory.is_controllable(ram)
    assert not memory.is_dead(ram)
    assert not memory.is_stage_end(ram)
    assert (ram[memory.AREA_TYPE] == memory.AREA_TYPE_WATER) == (str(stage) in WATER)
    assert (ram[memory.AREA_TYPE] == 3) == (stage in CASTLES)

    before = variables["x_pos"]
    assert 0 < before < 100, "not at the beginning of the stage"
    for _ in range(30):
        emulator.frame(BUTTON_RIGHT | BUTTON_B)
    ram = emulator.ram()
    assert memory.stage_now(ram) == stage
    assert memory.x_position(ram) > before + 8


def test_starts_do_not_depend_on_what_was_played_before(emulator: Emulator) -> None:
    go_to_start(emulator, Stage(3, 1))
    first = emulator.ram()
    go_to_start(emulator, Stage(8, 4))
    for _ in range(50):
        emulator.frame(BUTTON_RIGHT)
    go_to_start(emulator, Stage(3, 1))
    assert emulator.ram() == first


def test_the_whole_game_starts_in_1_1_with_three_lives() -> None:
    env = make_env(WHOLE_GAME, noop_max=0)
    _, info = env.reset()
    assert (info["world"], info["stage"], info["attempt"]) == (1, 1, "1-1")
    assert info["life"] == 2, "lives left after this one"
    assert info["time"] >= 399
    env.close()


@pytest.mark.parametrize("stage", STAGES, ids=str)
def test_ids_name_stages(stage: Stage) -> None:
    assert parse_env_id(f"SuperMarioBros-{stage.world}-{stage.stage}-v0") == stage
    assert parse_env_id(env_id_of(stage)) == stage


def test_the_whole_games_id() -> None:
    assert parse_env_id("SuperMarioBros-v0") is None
    assert env_id_of(None) == "SuperMarioBros-v0"


@pytest.mark.parametrize(
    "env_id",
    [
        "",
        "1-1",
        "SuperMarioBros",
        "SuperMarioBros-v1",
        "SuperMarioBros-9-1-v0",
        "SuperMarioBros-0-1-v0",
        "SuperMarioBros-1-5-v0",
        "SuperMarioBros-1-v0",
        "SuperMarioBros-1-1-v3",
        "SuperMarioBros-1-1-v0 ",
        "SuperMarioBros-1-1-v0\n",
        "SuperMarioBros2-v0",
        "supermariobros-1-1-v0",
        "CartPole-v1",
    ],
)
def test_another_id_is_a_user_error_that_says_what_would_be_right(env_id: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_env_id(env_id)
    message = str(caught.value)
    assert repr(env_id) in message
    assert "SuperMarioBros-1-1-v0" in message
    assert "\n" not in message


def test_stages_and_game_options_import_without_the_engines_and_their_packages() -> None:
    """What the command line needs, so that `--help` answers at once."""
    heavy = ["torch", "cv2", "gymnasium", "numpy"]
    script = "import sys, a3g.game.options, a3g.game.stages; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    assert [package for package in heavy if package in found] == []
