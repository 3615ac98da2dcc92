"""Learning from an expert that sees more: the collector, the loss, exact resumption, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from a3g.algorithms import make_algorithm
from a3g.algorithms.dagger import dagger_loss, divergence
from a3g.config import TrainConfig
from a3g.errors import UserError
from a3g.experience.expert_collector import ExpertCollector
from a3g.experience.make import make_collector
from a3g.game.emulators import available_emulators
from a3g.game.map_observation import MAP_ONE
from a3g.game.native_vector import NativeVectorEnv
from a3g.game.options import MAP_SHAPE
from a3g.game.stages import Stage
from a3g.game.starts import UniformStarts
from a3g.network_spec import MAP_PLACE_AT, MAP_STAGES
from a3g.networks.actor_critic import ActorCritic
from a3g.reporting.phases import PhaseClock
from a3g.runs.expert import load_expert
from a3g.runs.weights import save_weights
from tests.learning import CPU

pytestmark = pytest.mark.skipif("native" not in available_emulators(), reason="the native core is not built here")
LANES, STEPS = 4, 30


def settings(**options: Any) -> TrainConfig:
    small = {"network": "conv4", "hidden_size": 32, "lanes": LANES, "num_steps": STEPS, "precision": "float32", "gamma": 0.9}
    return TrainConfig().with_values(
        {"algorithm": "dagger", "lstm": False, "minibatches": 2, "env": "SuperMarioBros-1-1-v0", **small, **options}
    )


def run_right(maps: np.ndarray[Any, Any]) -> Tensor:
    """An expert that always runs, and jumps where something is in the way: a tile or an enemy up to three tiles ahead."""
    planes = maps.reshape(len(maps), -1)[:, : 4 * 15 * 15].reshape(-1, 4, 15, 15)
    in_the_way = (planes[:, :3, 7:9, 5:8] != 0).any((1, 2, 3))
    logits = torch.full((len(maps), 10), -4.0)
    logits[torch.arange(len(maps)), torch.from_numpy(np.where(in_the_way, 4, 3))] = 4.0
    return torch.log_softmax(logits, -1)


def collector_of(config: TrainConfig) -> tuple[Any, ExpertCollector]:
    torch.manual_seed(0)
    algorithm = make_algorithm(config, CPU)
    collector = make_collector(config, 0, algorithm, 3, PhaseClock(), lambda: None, run_right)
    assert isinstance(collector, ExpertCollector)
    return algorithm, collector


def test_the_loss_is_the_divergence_from_the_expert_and_half_the_squared_error() -> None:
    random = torch.Generator().manual_seed(1)
    logits, expert = (torch.randn(4, 3, 5, generator=random) for _ in range(2))
    values, returns, weights = (torch.rand(4, 3, generator=random) for _ in range(3))
    expert = torch.log_softmax(expert, -1)
    loss = dagger_loss(logits, values, expert, returns, weights, 0.7)
    policy_loss = value_loss = 0.0
    for t in range(4):
        for lane in range(3):
            policy = torch.softmax(logits[t, lane], -1)
            pairs = zip(expert[t, lane].exp().tolist(), policy.tolist(), strict=True)
            divergences = sum(p * (math.log(p) - math.log(q)) for p, q in pairs)
            policy_loss += float(weights[t, lane]) * divergences / 12
            value_loss += float(weights[t, lane]) * 0.5 * float(returns[t, lane] - values[t, lane]) ** 2 / 12
    assert float(loss.policy) == pytest.approx(policy_loss, rel=1e-5)
    assert float(loss.value) == pytest.approx(value_loss, rel=1e-5)
    assert float(loss.total) == pytest.approx(policy_loss + 0.7 * value_loss, rel=1e-5)
    assert float(divergence(expert, expert).abs().max()) == pytest.approx(0.0, abs=1e-6)


def test_the_expert_is_asked_about_the_states_that_are_learned_from() -> None:
    """The same games once more, shown as maps: what the expert said of each step is what it says of that step's map."""
    config = settings(sticky_actions=0.2, time_per_stage=20)
    algorithm, collector = collector_of(config)
    starts = UniformStarts([Stage(1, 1)], config.noop_max, LANES)
    game = replace(config.game_options(), observation="map")
    env = NativeVectorEnv([Stage(1, 1)], LANES, game, seed=3, starts=starts)
    maps, _ = env.reset(seed=3)
    ends = by_policy = by_expert = 0
    for _ in range(6):
        rollout = collector.collect()
        greedy = rollout.columns["log_probs"].argmax(-1)
        for t in range(STEPS):
            torch.testing.assert_close(rollout.columns["expert_log_probs"][t], run_right(maps))
            maps, _, terminated, truncated, _ = env.step(rollout.actions[t].numpy().copy())
            np.testing.assert_array_equal(terminated | truncated, rollout.dones[t].numpy())
        ends += int(rollout.dones.sum())
        by_policy += int((rollout.actions == greedy).sum())
        by_expert += int((rollout.actions != greedy).sum())
    assert min(ends, by_policy, by_expert) > 0
    assert len(list(algorithm.updates(rollout))) == 2


def test_only_episodes_that_the_policy_played_alone_are_reported() -> None:
    _, collector = collector_of(settings(time_per_stage=20))
    ended = reported = 0
    for _ in range(12):
        rollout = collector.collect()
        ended += int(rollout.dones.sum())
        reported += len(rollout.episodes)
        assert all(each.outcome != "cleared" for each in rollout.episodes), "a new network clears nothing"
    assert ended > reported


def test_a_collector_goes_on_from_its_state() -> None:
    _, collector = collector_of(settings(sticky_actions=0.1))
    for _ in range(3):
        collector.collect()
    state = collector.state_dict()
    _, other = collector_of(settings(sticky_actions=0.1))
    other.load_state_dict(state)
    for _ in range(3):
        ours, theirs = collector.collect(), other.collect()
        for name in ("observations", "actions", "rewards", "dones", "episode_starts"):
            torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), msg=name)
        torch.testing.assert_close(ours.columns, theirs.columns)


def test_a_small_network_learns_to_do_as_the_expert_does() -> None:
    config = settings(num_steps=16, lanes=8, minibatches=1, learn_share=1.0, hidden_size=64)
    algorithm, collector = collector_of(config)
    optimizer = torch.optim.Adam(algorithm.model.parameters(), lr=2e-3)
    agreement = []
    for _ in range(160):
        rollout = collector.collect()
        same = rollout.columns["log_probs"].argmax(-1) == rollout.columns["expert_log_probs"].argmax(-1)
        agreement.append(float(same.float().mean()))
        for _ in algorithm.updates(rollout):
            optimizer.step()
    assert np.mean(agreement[:3]) < 0.6
    assert np.mean(agreement[-20:]) > 0.85


def save_expert(path: Path, **options: Any) -> Path:
    config = TrainConfig(**{"observation": "map", "network": "map", "hidden_size": 16, "lstm": False, **options})
    save_weights(path, ActorCritic(config.network_spec()), config.env, config.game_options(), 0, algorithm="ppo")
    return path


def test_an_expert_is_read_from_weights_that_see_the_map(tmp_path: Path) -> None:
    expert = load_expert(settings(expert=save_expert(tmp_path / "expert.safetensors")))
    maps = np.random.default_rng(1).integers(0, 256, (5, *MAP_SHAPE), np.uint8)
    log_probs = expert(maps)
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(5))
    torch.testing.assert_close(expert(maps[2:3]), log_probs[2:3])


def test_weights_of_a_stages_own_speak_in_that_stage(tmp_path: Path) -> None:
    names = ("SuperMarioBros-v0", "SuperMarioBros-1-3-v0", "SuperMarioBros-8-4-v0")
    for seed, name in enumerate(names):
        torch.manual_seed(seed)
        save_expert(tmp_path / f"{name}.safetensors")
    maps = np.random.default_rng(1).integers(0, 2, (4, *MAP_SHAPE), np.uint8)
    maps[..., MAP_PLACE_AT : MAP_PLACE_AT + MAP_STAGES] = 0
    stages = [2, 0, 31, 2]
    maps[range(4), 0, 0, [MAP_PLACE_AT + stage for stage in stages]] = MAP_ONE
    alone = {name: load_expert(settings(expert=tmp_path / f"{name}.safetensors"))(maps) for name in names}
    together = load_expert(settings(expert=tmp_path, env="SuperMarioBros-v0"))(maps)
    for lane, name in enumerate((names[1], names[0], names[2], names[1])):
        torch.testing.assert_close(together[lane], alone[name][lane])
    few = load_expert(settings(expert=tmp_path, env="SuperMarioBros-v0", stages=("8-4",)))(maps)
    torch.testing.assert_close(few[0], alone[names[0]][0], msg="only the weights of stages that are played are loaded")


@pytest.mark.parametrize(
    ("expert", "training", "complaint"),
    [
        (None, {}, "There is no weights file"),
        ({"observation": "pictures", "network": "nips"}, {}, "is no expert: it was not trained with --observation map"),
        ({"skip_rate": 2}, {}, "plays with skip_rate 2, not 4"),
        ({"actions": "right"}, {}, "plays with actions right, not a3g"),
        ({"lstm": True}, {}, "must have no LSTM"),
        ({}, {"emulator": "nes-py"}, "choose --emulator native"),
    ],
)
def test_a_missing_or_unfitting_expert_is_refused(
    tmp_path: Path, expert: dict[str, Any] | None, training: dict[str, Any], complaint: str
) -> None:
    path = tmp_path / "expert.safetensors"
    if expert is not None:
        save_expert(path, **expert)
    config = settings(expert=path)
    with pytest.raises(UserError, match=complaint):
        load_expert(replace(config, **training))


def test_a_map_needs_its_network_and_dagger_no_lstm() -> None:
    with pytest.raises(UserError, match=r"^--network must be map with --observation map, not impala\.$"):
        TrainConfig(observation="map")
    with pytest.raises(UserError, match=r"^--network map learns from maps: it needs --observation map, not pictures\.$"):
        TrainConfig(network="map")
    with pytest.raises(UserError, match="add --no-lstm"):
        settings(lstm=True)
