"""Evaluation plays the game that was trained, through the environments of training, the same whatever the way."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from a3g.algorithms.a3c import A3C
from a3g.game.emulators import available_emulators, make_emulator
from a3g.game.lane import GameOptions, Lane, StartStates
from a3g.game.stages import STAGES, Stage
from a3g.network_spec import NetworkSpec
from a3g.networks.actor_critic import ActorCritic
from a3g.processes.evaluation import LANES, Evaluator, PlannedEpisode
from a3g.runs.scores import EpisodeResult
from a3g.runs.weights import load_weights

SHIPPED = Path(__file__).parent.parent / "trained_models" / "SuperMarioBros-1-1-v0.safetensors"
SPEC = NetworkSpec("conv4", GameOptions().observation_shape, GameOptions().num_actions, hidden_size=8)
STAGE_1_1 = Stage(1, 1)


@pytest.fixture
def model() -> ActorCritic:
    torch.manual_seed(0)
    return ActorCritic(SPEC).eval()


def play_alone(model: ActorCritic, planned: PlannedEpisode, options: GameOptions, engine: str) -> tuple[float, int, str]:
    """The same episode by a plain loop over a `Lane`: reward, agent steps, outcome."""
    stage, seed = planned
    emulator = make_emulator(engine)
    lane, starts = Lane([stage], options, seed), StartStates(emulator)
    observation = np.zeros(options.observation_shape, np.uint8)
    lane.reset(emulator, starts, observation)
    state, total, steps, over = model.initial_state(1), 0.0, 0, False
    while not over:
        with torch.no_grad():
            logits, _, state = model(torch.from_numpy(observation)[None, None], state, torch.zeros(1, 1, dtype=torch.bool))
        reward, terminated, truncated = lane.step(emulator, int(logits.argmax()), observation)
        total, steps, over = total + reward, steps + 1, terminated or truncated
    emulator.close()
    return round(total, 3), steps, str(lane.outcome or "timeout")


def brief(result: EpisodeResult) -> tuple[float, int, str]:
    return round(result.reward, 3), result.agent_steps, result.outcome


@pytest.mark.parametrize("engine", available_emulators())
def test_an_episode_depends_on_its_seed_alone(engine: str) -> None:
    """Not on the others, the lanes, or whether somebody watches; more episodes than lanes, so that lanes are used again."""
    options = GameOptions(sticky_actions=0.25, max_episode_length=40 if engine == "nes-py" else 60, time_per_stage=8)
    model = load_weights(SHIPPED).build()
    episodes: list[PlannedEpisode] = [(STAGES[i % 5], 7 + i) for i in range(3 if engine == "nes-py" else LANES + 4)]
    evaluator = Evaluator(A3C, engine, options)
    together = evaluator.play(model, episodes)
    assert [result.seed for result in together] == [seed for _, seed in episodes]
    frames: list[int] = []
    watched = evaluator.play(model, episodes[:2], on_frame=lambda index: lambda emulator: frames.append(index))
    again = evaluator.play(model, episodes[1:3])
    evaluator.close()
    assert watched == together[:2]
    assert {*frames} == {0, 1}
    assert again == together[1:3]
    assert [brief(result) for result in together[:3]] == [play_alone(model, each, options, engine) for each in episodes[:3]]


class Recording(ActorCritic):
    """Keeps what it is shown."""

    def __init__(self, action: int) -> None:
        super().__init__(SPEC)
        self.shown: list[tuple[Tensor, Tensor, Tensor]] = []
        torch.nn.init.zeros_(self.actor.weight)
        self.actor.bias.data = torch.eye(SPEC.num_actions)[action]

    def forward(self, observations: Tensor, state: Tensor, resets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.shown.append((observations[0].clone(), state.clone(), resets[0].clone()))
        return super().forward(observations, state, resets)


@pytest.mark.parametrize("watched", [False, True])
def test_every_life_of_the_whole_game_begins_as_in_training(watched: bool) -> None:
    """Regression: a life and a stage began with the pictures and the LSTM state of the one before."""
    model = Recording(action=3)  # runs into the first enemy
    evaluator = Evaluator(A3C, "auto", GameOptions(noop_max=0))
    (result,) = evaluator.play(model, [(None, 1)], on_frame=(lambda index: None) if watched else None)
    evaluator.close()
    starts = [step for step, (_, _, begins) in enumerate(model.shown) if begins[0]]
    assert (result.outcome, len(starts), len(model.shown)) == ("died", 3, result.agent_steps)
    assert (result.stage_reached, result.lives_lost) == ("1-1", 3)
    for step in starts:
        pictures = model.shown[step][0][0]
        assert all(torch.equal(picture, pictures[0]) for picture in pictures)
    later = model.shown[starts[1] - 1][0][0]
    assert not all(torch.equal(picture, later[0]) for picture in later)


def test_a_whole_game_cut_off_on_a_cleared_stage_is_not_cleared() -> None:
    """Regression: "1 of 1, 100%" after 1-1 alone."""
    weights = load_weights(SHIPPED)
    evaluator = Evaluator(A3C, "auto", weights.game)
    model = weights.build()
    single = next(
        result for seed in range(1, 9) for result in evaluator.play(model, [(STAGE_1_1, seed)]) if result.stages_cleared
    )
    cut = Evaluator(A3C, "auto", dataclasses.replace(weights.game, max_episode_length=single.agent_steps))
    (whole,) = cut.play(model, [(None, single.seed)])
    evaluator.close()
    cut.close()
    assert (whole.outcome, whole.agent_steps) == ("timeout", single.agent_steps)
    assert (whole.stages_cleared, whole.stage_reached, whole.lives_lost) == (("1-1",), "1-1", 0)


def test_an_evaluation_told_to_stop_returns_what_has_ended(model: ActorCritic) -> None:
    evaluator = Evaluator(A3C, "auto", GameOptions(max_episode_length=5))
    ended: list[int] = []
    stages = STAGES * 3  # more than are played side by side
    results = evaluator.play(
        model, ((stage, 1) for stage in stages), on_result=lambda index, result: ended.append(index), stop=lambda: bool(ended)
    )
    evaluator.close()
    assert [str(stages[i]) for i in sorted(ended)] == [result.stage for result in results]
    assert 0 < len(results) < len(stages)
