"""Starts reached by playing through the stage before: what they have in common with ours, and evaluation from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from a3g.algorithms.a3c import A3C
from a3g.config import TrainConfig
from a3g.errors import UserError
from a3g.exploration.demonstrations import Demonstration, load_demonstrations, save_demonstrations
from a3g.exploration.played_starts import PlayedStarts
from a3g.game import memory
from a3g.game.emulators import available_emulators, make_emulator
from a3g.game.options import GameOptions
from a3g.game.stage_starts import StartStates
from a3g.game.stages import Stage
from a3g.networks.actor_critic import ActorCritic
from a3g.processes.evaluation import Evaluator
from tests.running import ROOT

pytestmark = pytest.mark.skipif("native" not in available_emulators(), reason="the native core is not built here")
DEMOS = ROOT / "trained_models" / "demos"
# Underground, after a castle, under water, on platforms, and the last castle.
PLAYED = [Stage(1, 2), Stage(2, 1), Stage(2, 2), Stage(5, 3), Stage(8, 4)]


@pytest.mark.parametrize("stage", PLAYED, ids=str)
def test_a_played_start_is_at_the_beginning_of_the_stage(stage: Stage) -> None:
    played, console, ours = PlayedStarts(DEMOS, [stage], "native"), make_emulator("native"), make_emulator("native")
    state = played.draw(stage, np.random.default_rng(1))
    assert state is not None
    console.from_bytes(state)
    StartStates(ours).load(stage)
    ram, our_ram = console.ram(), ours.ram()
    assert memory.stage_now(ram) == memory.stage_now(our_ram) == tuple(stage)
    assert memory.is_controllable(ram)
    for address in (memory.AREA, memory.AREA_TYPE, memory.AREA_OFFSET, memory.PLAYER_PAGE, memory.PLAYER_X):
        assert ram[address] == our_ram[address], hex(address)
    played.close()


def test_evaluation_begins_at_played_starts_and_repeats_with_the_seed() -> None:
    config = TrainConfig().with_values({"network": "conv4", "hidden_size": 8, "lstm": False})
    model = ActorCritic(config.network_spec())
    played = PlayedStarts(DEMOS, [Stage(1, 1), Stage(1, 2)], "native")
    assert played.draw(Stage(1, 1), np.random.default_rng(1)) is None
    evaluator = Evaluator(A3C, "native", GameOptions(time_per_stage=3), played_starts=played)
    episodes = [(stage, seed) for seed in range(3) for stage in (Stage(1, 1), Stage(1, 2))]
    first = evaluator.play(model, episodes)
    assert first == evaluator.play(model, episodes)
    watched = evaluator.play(model, episodes, on_frame=lambda index: None)
    evaluator.close()
    assert first == watched
    assert {result.stage_reached for result in first} == {"1-1", "1-2"}


def test_missing_and_useless_demonstrations_are_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no demonstration of 1-1 in .*, which --played-starts needs for 1-2"):
        PlayedStarts(tmp_path, [Stage(1, 2)], "native")
    good = load_demonstrations(DEMOS, [Stage(1, 1)])[Stage(1, 1)][0]
    save_demonstrations(tmp_path, Stage(1, 1), [Demonstration(Stage(1, 1), good.idle_frames, good.actions[:-40])])
    with pytest.raises(UserError, match="Demonstration 0 of 1-1 does not lead to 1-2"):
        PlayedStarts(tmp_path, [Stage(1, 2)], "native").draw(Stage(1, 2), np.random.default_rng(1))
