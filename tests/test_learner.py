"""The learner's gradients against one ordinary backward pass over the whole batch."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import Any

import pytest
import torch
from a3g.learning.flat import FlatModel
from a3g.learning.learner import Learner
from a3g.learning.losses import actor_critic_loss, gae, ppo_loss
from a3g.learning.model import ActorCritic, NetworkSpec
from a3g.learning.precision import autocast, fresh_autocast
from a3g.learning.rollout import Collector, Rollout
from torch import Tensor

import environment
from a3g.config import TrainConfig

LANES = 12
SHAPE = (2, 20, 20)


def config(**options: Any) -> TrainConfig:
    defaults = {"lanes": LANES, "num_steps": 20, "gamma": 0.9, "tau": 0.95, "workers": 1}
    return TrainConfig(**{**defaults, **options})


def make_model(lstm: bool = True) -> ActorCritic:
    torch.manual_seed(1)
    return ActorCritic(NetworkSpec("conv4", SHAPE, num_actions=5, hidden_size=16, lstm=lstm))


def make_rollout(model: ActorCritic, settings: TrainConfig) -> Rollout:
    """Random experience that looks like what a collector hands over."""
    steps, lanes = settings.num_steps, settings.lanes
    dones = torch.rand(steps, lanes) < 0.1
    return Rollout(
        observations=torch.randint(0, 256, (steps, lanes, *SHAPE), dtype=torch.uint8),
        actions=torch.randint(0, 5, (steps, lanes)),
        log_probs=-1.6 + 0.2 * torch.randn(steps, lanes),
        rewards=torch.randn(steps, lanes),
        dones=dones,
        resets=torch.cat((torch.rand(1, lanes) < 0.5, dones[:-1])),
        values=torch.randn(steps + 1, lanes),
        initial_state=torch.randn(model.initial_state(lanes).shape),
        episodes=[],
    )


def whole_batch(model: ActorCritic, rollout: Rollout, settings: TrainConfig, lanes: list[int]) -> tuple[Tensor, list[Tensor]]:
    """Loss and gradients by one pass over `lanes`, written out."""
    advantages = gae(rollout.rewards, rollout.values, rollout.dones, settings.gamma, settings.tau)
    returns = advantages + rollout.values[:-1]
    logits, values, _ = model(rollout.observations[:, lanes], rollout.initial_state[:, lanes], rollout.resets[:, lanes])
    actions, advantages, returns = rollout.actions[:, lanes], advantages[:, lanes], returns[:, lanes]
    if settings.loss == "a3c":
        total = actor_critic_loss(
            logits, values, actions, advantages, returns, settings.value_coef, settings.entropy_coef
        ).total
    else:
        normalised = (advantages - advantages.mean()) / (advantages - advantages.mean()).square().mean().sqrt()
        old = rollout.log_probs[:, lanes]
        coefficients = settings.clip, settings.value_coef, settings.entropy_coef
        total = ppo_loss(logits, values, actions, normalised, returns, old, *coefficients).total
    return total, list(torch.autograd.grad(total, list(model.parameters())))


@pytest.mark.parametrize("lstm", [True, False])
@pytest.mark.parametrize("num_steps", [5, 20, 100], ids=lambda steps: f"{steps} steps")
def test_an_a3g_update_is_one_pass_over_the_whole_rollout(num_steps: int, lstm: bool) -> None:
    """However many passes it is added up from."""
    settings, model = config(num_steps=num_steps), make_model(lstm)
    rollout = make_rollout(model, settings)
    total, expected = whole_batch(model, rollout, settings, list(range(LANES)))
    flat = FlatModel(model)
    ((loss, norm),) = Learner(model, flat, settings, torch.float32).learn(rollout)
    torch.testing.assert_close(loss.total, total.detach(), rtol=1e-4, atol=1e-5)
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-4)
    assert norm == pytest.approx(float(torch.nn.utils.get_total_norm(expected)), rel=1e-3)


@pytest.mark.parametrize("lstm", [True, False])
def test_clipped_objective_updates_are_passes_over_shares_of_the_lanes(lstm: bool) -> None:
    """In every epoch each lane once; each update's gradients are those of its lanes at the weights of the moment."""
    settings, model = config(loss="ppo", epochs=2, minibatches=3), make_model(lstm)
    rollout = make_rollout(model, settings)
    torch.manual_seed(7)
    batches = [batch.tolist() for _ in range(2) for batch in torch.randperm(LANES).chunk(3)]
    assert [sorted(chain(*batches[i : i + 3])) for i in (0, 3)] == [list(range(LANES))] * 2

    torch.manual_seed(7)
    flat = FlatModel(model)
    updates = 0
    for (loss, _), batch in zip(Learner(model, flat, settings, torch.float32).learn(rollout), batches, strict=True):
        found = flat.gradients.clone()
        total, expected = whole_batch(model, rollout, settings, batch)
        torch.testing.assert_close(loss.total, total.detach(), rtol=1e-4, atol=1e-5)
        for parameter, gradient in zip(model.parameters(), expected, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-4)
        flat.values.sub_(0.01 * found)  # as the worker does: the next update starts from other weights
        updates += 1
    assert updates == 6


@pytest.mark.parametrize("lstm", [True, False])
def test_a_graph_kept_while_playing_gives_the_gradients_of_the_second_pass(lstm: bool) -> None:
    """In real games, with episodes that begin, end and are cut off inside the rollout, twice in a row."""
    settings = config(num_steps=8, lanes=4)
    env = environment.make_vector_env(["1-1", "4-1"], 4, max_episode_length=5)
    torch.manual_seed(1)
    model = ActorCritic(NetworkSpec("conv4", settings.game_options().observation_shape, hidden_size=16, lstm=lstm))
    flat = FlatModel(model)
    learner = Learner(model, flat, settings, torch.float32)
    collector = Collector(env, 8, settings.gamma, torch.device("cpu"), seed=3)
    for _ in range(2):
        rollout = collector.collect(model, keep_graph=learner.wants_graph)
        assert rollout.features is not None
        assert rollout.resets[1:].any()
        ((kept, _),) = learner.learn(rollout)
        gradients = flat.gradients.clone()
        ((again, _),) = learner.learn(replace(rollout, features=None))
        torch.testing.assert_close(kept, again, rtol=1e-4, atol=1e-5)
        assert gradients.norm() > 0
        torch.testing.assert_close(gradients, flat.gradients, rtol=1e-3, atol=1e-4)
        flat.values.sub_(0.01 * gradients)
    env.close()


@pytest.mark.parametrize("num_steps", [20, 200])
def test_gradients_of_a_kept_graph_add_up_in_float32_when_steps_are_computed_in_bfloat16(num_steps: int) -> None:
    """As a worker collects: inside an autocast. Summed in bfloat16, 300 steps were 3% off.

    Compared with a loop over the steps that adds up their gradients in float32. One pass over all steps is no measure:
    without bfloat16 instructions PyTorch's convolutions add up a batch's gradients in bfloat16, which is 1% off.
    """
    settings, cpu = config(num_steps=num_steps, lanes=4), torch.device("cpu")
    env = environment.make_vector_env(["1-1", "4-1"], 4, max_episode_length=5)
    torch.manual_seed(1)
    model = ActorCritic(NetworkSpec("conv4", settings.game_options().observation_shape, hidden_size=16))
    flat = FlatModel(model)
    with autocast(cpu, torch.bfloat16):
        rollout = Collector(env, num_steps, settings.gamma, cpu, seed=3).collect(model, keep_graph=True)
    assert rollout.features is not None
    feature_gradients: list[Tensor] = []
    rollout.features.register_hook(feature_gradients.append)  # type: ignore[no-untyped-call]
    list(Learner(model, flat, settings, torch.bfloat16).learn(rollout))

    parameters = list(model.encoder.parameters())
    expected = [torch.zeros_like(parameter) for parameter in parameters]
    for t in range(num_steps):
        with fresh_autocast(cpu, torch.bfloat16):
            features = model.encode(rollout.observations[t : t + 1])
        gradients = torch.autograd.grad(features, parameters, feature_gradients[0][t : t + 1])
        torch._foreach_add_(expected, gradients)
    for parameter, total in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.grad, total, rtol=1e-4, atol=1e-5)
    env.close()


@pytest.mark.parametrize("options", [{"loss": "ppo"}, {"keep_activations": False}, {"lanes": 1}])
def test_no_graph_is_kept_for_weights_that_change_or_against_the_users_wish_or_where_it_costs(options: dict[str, Any]) -> None:
    model = make_model()
    assert not Learner(model, FlatModel(model), config(**options), torch.float32).wants_graph


def test_gradients_are_clipped_and_their_norm_before_is_told() -> None:
    model = make_model()
    rollout = make_rollout(model, config())
    flat = FlatModel(model)
    ((_, norm),) = Learner(model, flat, config(), torch.float32).learn(rollout)
    unclipped = flat.gradients.clone()
    ((_, again),) = Learner(model, flat, config(max_grad_norm=0.1), torch.float32).learn(rollout)
    assert norm == pytest.approx(again) == pytest.approx(float(unclipped.norm()))
    assert norm > 0.1
    torch.testing.assert_close(flat.gradients, unclipped * (0.1 / norm), rtol=1e-3, atol=1e-6)


def test_bfloat16_gradients_point_the_same_way() -> None:
    model = make_model()
    rollout = make_rollout(model, config())
    flat = FlatModel(model)
    list(Learner(model, flat, config(), torch.float32).learn(rollout))
    exact = flat.gradients.clone()
    list(Learner(model, flat, config(), torch.bfloat16).learn(rollout))
    assert flat.gradients.dtype == torch.float32
    assert float(torch.nn.functional.cosine_similarity(exact, flat.gradients, dim=0)) > 0.99


def test_the_rollout_is_not_changed() -> None:
    model = make_model()
    rollout = make_rollout(model, config())
    before = {name: getattr(rollout, name).clone() for name in Rollout.__slots__ if name not in ("episodes", "features")}
    list(Learner(model, FlatModel(model), config(loss="ppo"), torch.float32).learn(rollout))
    for name, tensor in before.items():
        assert torch.equal(getattr(rollout, name), tensor), name
