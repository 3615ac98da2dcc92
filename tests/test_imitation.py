"""Imitation: the collector of demonstrations, the loss, and that it learns to clear what was shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from a3g.algorithms import make_algorithm
from a3g.algorithms.imitation import imitation_loss
from a3g.config import TrainConfig
from a3g.errors import UserError
from a3g.experience.demonstration_collector import DemonstrationCollector
from a3g.experience.make import make_collector
from a3g.exploration.demonstrations import Demonstration, save_demonstrations
from a3g.game.emulators import available_emulators
from a3g.game.stages import Stage
from a3g.reporting.phases import PhaseClock
from tests.learning import CPU

pytestmark = pytest.mark.skipif("native" not in available_emulators(), reason="the native core is not built here")
LANES, STEPS = 3, 40


def settings(**options: Any) -> TrainConfig:
    small = {
        "taught_steps": 0,
        "network": "conv4",
        "hidden_size": 32,
        "lanes": LANES,
        "num_steps": STEPS,
        "precision": "float32",
        "gamma": 0.9,
    }
    return TrainConfig().with_values({"algorithm": "imitation", "lstm": False, "minibatches": 2, **small, **options})


def shown() -> list[Demonstration]:
    """Two ways that end in the first enemies of 1-1 and 4-1."""
    run = np.full(200, 3, np.uint8)
    return [Demonstration(Stage(1, 1), 0, run), Demonstration(Stage(4, 1), 4, run)]


def collector_of(config: TrainConfig) -> tuple[Any, DemonstrationCollector]:
    torch.manual_seed(0)
    algorithm = make_algorithm(config, CPU)
    game = config.game_options()
    return algorithm, DemonstrationCollector(algorithm, shown(), LANES, STEPS, game, seed=3, clock=PhaseClock())


def test_the_loss_is_cross_entropy_and_half_the_squared_error() -> None:
    random = torch.Generator().manual_seed(1)
    logits = torch.randn(4, 3, 5, generator=random)
    values, returns = torch.randn(4, 3, generator=random), torch.randn(4, 3, generator=random)
    actions = torch.randint(5, (4, 3), generator=random)
    loss = imitation_loss(logits, values, actions, returns, 0.7)
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), actions.flatten())
    torch.testing.assert_close(loss.policy, expected)
    torch.testing.assert_close(loss.total, expected + 0.7 * 0.5 * torch.nn.functional.mse_loss(values, returns))
    torch.testing.assert_close(loss.entropy, torch.distributions.Categorical(logits=logits).entropy().mean())


def test_a_collector_returns_demonstrations_that_go_on_from_rollout_to_rollout() -> None:
    _, collector = collector_of(settings())
    episode_ends = 0
    last_dones = torch.ones(LANES, dtype=torch.bool)
    for _ in range(4):
        rollout = collector.collect()
        assert bool((rollout.actions == 3).all())
        torch.testing.assert_close(rollout.episode_starts[0], last_dones)
        torch.testing.assert_close(rollout.episode_starts[1:], rollout.dones[:-1])
        assert bool((rollout.rewards[rollout.dones] < 0).all()), "a death pays"
        first = rollout.observations[rollout.episode_starts]
        assert bool((first[:, 0] == first[:, -1]).all()), "an episode begins with one picture"
        last_dones = rollout.dones[-1].clone()
        episode_ends += int(rollout.dones.sum())
    assert episode_ends > 3


def test_a_collector_goes_on_from_its_state() -> None:
    _, collector = collector_of(settings())
    collector.collect()
    state = collector.state_dict()
    _, other = collector_of(settings())
    other.load_state_dict(state)
    ours, theirs = collector.collect(), other.collect()
    for name in ("observations", "actions", "rewards", "dones", "episode_starts"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), msg=name)


@pytest.mark.parametrize("lstm", [False, True])
def test_an_update_has_the_gradients_of_its_share_and_returns_are_discounted_to_the_end(lstm: bool) -> None:
    config = settings(lstm=lstm, minibatches=1)
    algorithm, collector = collector_of(config)
    rollout = collector.collect()
    (metrics,) = algorithm.updates(rollout)
    found = [parameter.grad.clone() for parameter in algorithm.model.parameters()]

    returns = torch.zeros(STEPS, LANES)
    for lane in range(LANES):
        for t in range(STEPS):
            factor = 1.0
            for k in range(t, STEPS):
                returns[t, lane] += factor * float(rollout.rewards[k, lane])
                factor *= config.gamma
                if rollout.dones[k, lane]:
                    break
            else:
                returns[t, lane] += factor * float(rollout.next_values[lane])
    logits, values, _ = algorithm.model(rollout.observations, rollout.initial_state, rollout.episode_starts)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rollout.actions.flatten())
    total = loss + config.options.value_coef * 0.5 * (returns - values).square().mean()
    for gradient, expected in zip(found, torch.autograd.grad(total, list(algorithm.model.parameters())), strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-4)
    assert metrics["policy_loss"] == pytest.approx(loss.item(), rel=1e-4)


def test_a_small_network_learns_what_it_is_shown() -> None:
    """Two ways with a jump before each enemy, which one can only tell from the pictures."""
    torch.manual_seed(1)
    config = settings(num_steps=16, lanes=4, minibatches=1, hidden_size=64)
    algorithm = make_algorithm(config, CPU)
    jumps = np.array([4 if 14 <= step % 30 < 24 else 3 for step in range(200)], np.uint8)
    ways = [Demonstration(Stage(1, 1), 0, jumps), Demonstration(Stage(4, 1), 0, np.roll(jumps, 9))]
    collector = DemonstrationCollector(algorithm, ways, 4, 16, config.game_options(), seed=1)
    optimizer = torch.optim.Adam(algorithm.model.parameters(), lr=2e-3)
    losses = []
    for _ in range(260):
        for metrics in algorithm.updates(collector.collect()):
            optimizer.step()
            losses.append(metrics["policy_loss"])
    assert np.mean(losses[:10]) > 0.6
    assert np.mean(losses[-20:]) < 0.4


def test_it_needs_demonstrations_and_the_native_engine(tmp_path: Path) -> None:
    config = settings(env="SuperMarioBros-1-1-v0", demos_dir=tmp_path)
    algorithm = make_algorithm(config, CPU)
    with pytest.raises(UserError, match=r"no demonstration in .*explore"):
        make_collector(config, 0, algorithm, 1, PhaseClock(), lambda: None)
    save_demonstrations(tmp_path, Stage(1, 1), shown()[:1])
    collector = make_collector(config, 0, algorithm, 1, PhaseClock(), lambda: None)
    assert isinstance(collector, DemonstrationCollector)
    collector.close()
    with pytest.raises(UserError, match="native"):
        make_collector(config.with_values({"emulator": "nes-py"}), 0, algorithm, 1, PhaseClock(), lambda: None)
