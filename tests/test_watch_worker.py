"""What a worker shows of its games: what it thought in the game that a viewer has chosen."""

from __future__ import annotations

import numpy as np
import pytest

from a3g.algorithms import make_algorithm
from a3g.command_line import parse_train
from a3g.experience.make import make_collector
from a3g.game.emulators import resolve_emulator
from a3g.processes.watch_channel import WatchChannel
from a3g.processes.watch_views import WorkerView
from a3g.reporting.phases import PhaseClock
from tests.learning import CPU

LANES, CHOSEN = 3, 1


@pytest.mark.parametrize(
    "flags", ["--lstm --num-steps 4", "--no-lstm --num-steps 6", "--no-lstm --algorithm ppo --num-steps 8"]
)
def test_all_probabilities_are_shown_of_the_game_that_is_chosen(flags: str) -> None:
    text = f"--env SuperMarioBros-1-1-v0 --network nips --hidden-size 32 --lanes {LANES} --precision float32 {flags}"
    text += " --minibatches 1" if "ppo" in flags else ""
    config = parse_train(text.split())
    algorithm = make_algorithm(config, CPU)
    game = config.game_options()
    channel = WatchChannel(1, resolve_emulator("auto"), game.observation_shape, game.num_actions)
    view = WorkerView(channel, 0)
    slot = channel.want({0: {CHOSEN}})[0]
    collector = make_collector(config, 0, algorithm, 5, PhaseClock(), lambda: None, after_step=view.after_step)
    for _ in range(3):
        rollout = collector.collect()
        view.rollout_ended(rollout, algorithm)
    collector.close()
    shown = slot.recent(CHOSEN, 0, config.num_steps)
    probabilities, values, actions = shown[:, :-3], shown[:, -3], shown[:, -1].astype(int)
    np.testing.assert_allclose(probabilities.sum(-1), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(actions, rollout.actions[:, CHOSEN])
    if "log_probs" in rollout.columns:
        taken = np.take_along_axis(probabilities, actions[:, None], axis=1)[:, 0]
        np.testing.assert_allclose(taken, rollout.columns["log_probs"][:, CHOSEN].exp(), rtol=1e-4)
    if "values" in rollout.columns:
        np.testing.assert_allclose(values, rollout.columns["values"][:, CHOSEN], rtol=1e-3, atol=1e-5)
    other = slot.recent(CHOSEN + 1, 0, config.num_steps)[:, :-3]
    assert np.isnan(other).sum() >= other.size - len(other), "of the others only what the rollout tells"


def test_nobody_has_chosen_anything_once_they_look_elsewhere() -> None:
    channel = WatchChannel(2, resolve_emulator("auto"), (4, 80, 80), 10)
    slot = channel.want({0: {3, 5}, 2: {0}})[0]
    assert slot.chosen.tolist() == [3, 5]
    assert channel.want({0: {5}})[0].chosen.tolist() == [5]
