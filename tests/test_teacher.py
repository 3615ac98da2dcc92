"""The planner as a teacher: what it makes of an agent's play clears the stage when it is played again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from a3g.algorithms import make_algorithm
from a3g.config import TrainConfig
from a3g.errors import UserError
from a3g.experience.make import check_experience, make_collector
from a3g.exploration.demonstrations import load_demonstrations
from a3g.exploration.games import CLEARED, Games, replay
from a3g.exploration.teacher import Lesson, Teacher
from a3g.game.emulators import Image, available_emulators
from a3g.game.options import GameOptions
from a3g.game.packing import unpack_bytes, unpack_values
from a3g.game.rules import Outcome
from a3g.game.stages import Stage
from a3g.reporting.phases import PhaseClock
from tests.learning import CPU

pytestmark = pytest.mark.skipif("native" not in available_emulators(), reason="the native core is not built here")
DEMOS = Path(__file__).parent.parent / "trained_models" / "demos"
STAGE = Stage(1, 4)  # the one that is found soonest
RUN = 3
OPTIONS = GameOptions(noop_max=3)


def run_right(observations: Image) -> NDArray[np.int64]:
    """An agent that runs into whatever comes."""
    return np.full(len(observations), RUN)


def teacher(lanes: int, sticky_actions: float = 0.0, seed: int = 1) -> Teacher:
    return Teacher(load_demonstrations(DEMOS, [STAGE]), lanes, OPTIONS, sticky_actions, seed)


def test_with_its_help_an_agent_that_only_runs_clears_a_stage_and_the_way_replays() -> None:
    found, lessons = teacher(3, sticky_actions=0.1).play(700, run_right)
    assert found
    for demonstration in found:
        games = Games(demonstration.stage, demonstration.idle_frames, lanes=1)
        assert replay(games, demonstration.actions) == CLEARED
        assert (demonstration.actions == RUN).mean() > 0.3, "hardly anything of this is the agent's own"
        assert demonstration.idle_frames <= OPTIONS.noop_max
        assert 0.0 <= demonstration.sticky_actions <= 0.1
    assert {each.outcome for each in lessons} <= {Outcome.DIED, Outcome.TIMEOUT}, (
        "an agent that only runs has no success of its own"
    )
    assert len(lessons) >= 2


def test_an_agent_that_can_do_it_alone_is_left_alone() -> None:
    shown = load_demonstrations(DEMOS, [STAGE])[STAGE][0]
    assert shown.idle_frames == 0
    steps = iter(shown.actions.tolist())
    alone = Teacher({STAGE: [shown]}, 1, GameOptions(noop_max=0), 0.0, seed=1)
    found, lessons = alone.play(len(shown.actions), lambda observations: np.array([next(steps)]))
    assert [each.actions.tolist() for each in found] == [shown.actions.tolist()]
    (lesson,) = lessons
    assert (lesson.stage, lesson.outcome, lesson.agent_steps) == (STAGE, Outcome.CLEARED, len(shown.actions))
    assert lesson.progress > 2000
    assert lesson.episode_return == pytest.approx(lesson.progress / 30, rel=0.1)


def test_it_teaches_the_stages_that_it_is_told_to() -> None:
    two = [STAGE, Stage(1, 1)]
    both = Teacher(load_demonstrations(DEMOS, two), 2, OPTIONS, 0.0, seed=1)
    for taught, begun in (([STAGE], {STAGE}), ([Stage(1, 1), Stage(8, 4)], {Stage(1, 1)}), ([], set(two))):
        both.teach(taught)
        assert {both._begin(0).stage for _ in range(4)} == begun


def test_standing_still_is_a_failure_too() -> None:
    _, lessons = teacher(2).play(50, lambda observations: np.zeros(len(observations), np.int64))
    assert [each.outcome for each in lessons] == [Outcome.TIMEOUT] * 2


def test_the_same_seed_teaches_the_same() -> None:
    def play() -> tuple[list[int], list[Lesson]]:
        actions: list[int] = []

        def choose(observations: Image) -> NDArray[np.int64]:
            actions.append(int(observations.sum()))
            return run_right(observations)

        _, lessons = teacher(2, 0.2).play(90, choose)
        return actions, lessons

    assert play() == play()


def test_what_is_taught_joins_the_demonstrations_and_the_agents_own_episodes_are_reported() -> None:
    torch.manual_seed(0)
    config = TrainConfig().with_values(
        {
            "env": f"SuperMarioBros-{STAGE}-v0",
            "algorithm": "imitation",
            "lstm": False,
            "taught_steps": 250,
            "lanes": 2,
            "num_steps": 8,
            "network": "conv4",
            "hidden_size": 16,
            "demos_dir": DEMOS,
        }
    )
    algorithm = make_algorithm(config, CPU)
    with torch.no_grad():
        algorithm.model.actor.bias[RUN] = 100.0  # an agent that runs into whatever comes
    collector = make_collector(config, 0, algorithm, 1, PhaseClock(), lambda: None)
    episodes = []
    for _ in range(3):
        episodes += collector.collect().episodes
    assert {episode.stage for episode in episodes} == {str(STAGE)}
    state = {name: tensor.numpy() for name, tensor in collector.state_dict().items()}
    added = unpack_bytes("added.actions", state)
    assert added
    for (_, idle_frames, _), actions in zip(unpack_values("added", state), added, strict=True):
        assert replay(Games(STAGE, idle_frames, lanes=1), np.frombuffer(actions, np.uint8)) == CLEARED
    collector.close()


def test_the_planner_teaches_from_pictures_alone() -> None:
    values = {"algorithm": "imitation", "lstm": False, "taught_steps": 8, "observation": "map", "network": "map"}
    with pytest.raises(UserError, match="--taught-steps lets the agent play from pictures: leave --observation map out"):
        check_experience(TrainConfig(demos_dir=DEMOS).with_values(values), learns_from_demonstrations=True)


def test_teaching_needs_a_network_without_memory() -> None:
    with pytest.raises(UserError, match="add --no-lstm"):
        TrainConfig().with_values({"algorithm": "imitation", "taught_steps": 8})
    with pytest.raises(UserError, match="add --no-lstm"):
        TrainConfig().with_values({"algorithm": "ppo", "learn_share": 0.5})
