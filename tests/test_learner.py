"""An algorithm's gradients against one ordinary backward pass over the whole batch."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest
import torch
from torch import Tensor

import environment
from a3g.algorithms import make_algorithm
from a3g.algorithms.a2c import a2c_loss
from a3g.algorithms.a3c import A3C, actor_critic_loss
from a3g.algorithms.actor_critic import LossParts
from a3g.algorithms.ppo import draw_steps, ppo_loss
from a3g.config import TrainConfig
from a3g.experience.advantages import gae
from a3g.experience.collector import Collector
from a3g.experience.rollout import Rollout
from a3g.networks.actor_critic import ActorCritic
from tests.learning import CPU, make_rollout, make_small, tensors_of

LANES = 12


def config(**options: Any) -> TrainConfig:
    defaults = {"lanes": LANES, "num_steps": 20, "gamma": 0.9, "tau": 0.95, "workers": 1, "precision": "float32"}
    return TrainConfig().with_values({**defaults, "network": "conv4", "hidden_size": 16, **options})


def whole_batch(
    model: ActorCritic, rollout: Rollout, settings: TrainConfig, lanes: list[int]
) -> tuple[dict[str, Any], list[torch.Tensor]]:
    """Metrics and gradients by one pass over `lanes`, written out."""
    before = torch.cat((rollout.columns["values"], rollout.next_values[None]))
    advantages = gae(rollout.rewards, before, rollout.dones, settings.gamma, settings.options.tau)
    returns = advantages + before[:-1]
    starts = rollout.episode_starts[:, lanes]
    logits, values, _ = model(rollout.observations[:, lanes], rollout.initial_state[:, lanes], starts)
    actions, advantages, returns = rollout.actions[:, lanes], advantages[:, lanes], returns[:, lanes]
    parts: LossParts
    if settings.algorithm in ("a3c", "a2c"):
        loss = actor_critic_loss if settings.algorithm == "a3c" else a2c_loss
        parts = loss(logits, values, actions, advantages, returns, settings.options.value_coef, settings.options.entropy_coef)
    else:
        normalised = (advantages - advantages.mean()) / (advantages - advantages.mean()).square().mean().sqrt()
        old = rollout.columns["log_probs"][:, lanes]
        coefficients = settings.options.clip, settings.options.value_coef, settings.options.entropy_coef
        parts = ppo_loss(logits, values, actions, normalised, returns, old, *coefficients)
    gradients = list(torch.autograd.grad(parts.total, list(model.parameters())))
    norm = float(torch.nn.utils.get_total_norm(gradients))
    metrics = {"policy_loss": float(parts.policy), "value_loss": float(parts.value), "entropy": float(parts.entropy)}
    return {**metrics, "gradient_norm": norm}, gradients


@pytest.mark.parametrize("algorithm_name", ["a3c", "a2c"])
@pytest.mark.parametrize("network", [{"lstm": True}, {"lstm": False}, {"fc": False}], ids=["lstm", "no lstm", "no fc"])
@pytest.mark.parametrize("num_steps", [5, 20, 100], ids=lambda steps: f"{steps} steps")
def test_an_actor_critic_update_is_one_pass_over_the_whole_rollout(
    num_steps: int, network: dict[str, Any], algorithm_name: str
) -> None:
    """However many passes it is added up from."""
    settings = config(num_steps=num_steps, algorithm=algorithm_name, **network)
    algorithm = make_small(settings)
    rollout = make_rollout(algorithm)
    metrics, expected = whole_batch(algorithm.model, rollout, settings, list(range(LANES)))
    (found,) = algorithm.updates(rollout)
    assert found == pytest.approx(metrics, rel=1e-3, abs=1e-5)
    for parameter, gradient in zip(algorithm.model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("lstm", [True, False])
def test_clipped_objective_updates_are_passes_over_shares_of_the_lanes(lstm: bool) -> None:
    """In every epoch each lane once; each update's gradients are those of its lanes at the weights of the moment."""
    settings = config(algorithm="ppo", epochs=2, minibatches=3, lstm=lstm)
    algorithm = make_small(settings)
    rollout = make_rollout(algorithm)
    torch.manual_seed(7)
    batches = [batch.tolist() for _ in range(2) for batch in torch.randperm(LANES).chunk(3)]
    assert [sorted(chain(*batches[i : i + 3])) for i in (0, 3)] == [list(range(LANES))] * 2

    torch.manual_seed(7)
    updates = 0
    for found, batch in zip(algorithm.updates(rollout), batches, strict=True):
        gradients = algorithm.flat.gradients.clone()
        metrics, expected = whole_batch(algorithm.model, rollout, settings, batch)
        assert found == pytest.approx(metrics, rel=1e-3, abs=1e-5)
        for parameter, gradient in zip(algorithm.model.parameters(), expected, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-4)
        algorithm.flat.parameters.sub_(0.01 * gradients)  # as the worker does: the next update starts from other weights
        updates += 1
    assert updates == 6


def test_updates_on_chosen_steps_have_the_gradients_of_those_steps_with_their_weights() -> None:
    settings = config(algorithm="ppo", epochs=1, minibatches=2, lstm=False, learn_share=0.5)
    algorithm = make_small(settings)
    rollout = make_rollout(algorithm)
    before = torch.cat((rollout.columns["values"], rollout.next_values[None]))
    advantages = gae(rollout.rewards, before, rollout.dones, settings.gamma, settings.options.tau)
    returns = (advantages + before[:-1]).flatten()
    sizes = advantages.flatten().abs() + advantages.abs().mean()
    torch.manual_seed(7)
    state = torch.get_rng_state()
    torch.set_rng_state(state)
    chosen = draw_steps(sizes.mean() / sizes, 60)
    torch.set_rng_state(state)
    next(algorithm.updates(rollout))

    weights = (sizes.mean() / sizes)[chosen]
    model = algorithm.model
    observations = rollout.observations.flatten(0, 1)[chosen]
    logits, values, _ = model(observations[None], model.initial_state(60), torch.zeros(1, 60, dtype=torch.bool))
    kept = advantages.flatten()[chosen]
    mean = (weights * kept).mean()
    normalised = (kept - mean) / (weights * (kept - mean).square()).mean().sqrt()
    log_probs = logits[0].log_softmax(-1)
    actions = rollout.actions.flatten()[chosen]
    ratio = (log_probs.gather(1, actions[:, None])[:, 0] - rollout.columns["log_probs"].flatten()[chosen]).exp()
    gain = torch.minimum(ratio * normalised, ratio.clamp(0.8, 1.2) * normalised)
    entropy = -(log_probs.exp() * log_probs).sum(-1)
    errors = 0.5 * (returns[chosen] - values[0]).square()
    loss = (weights * (-gain + settings.options.value_coef * errors - settings.options.entropy_coef * entropy)).mean()
    for parameter, gradient in zip(model.parameters(), torch.autograd.grad(loss, list(model.parameters())), strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-4)


def play(settings: TrainConfig, num_rollouts: int) -> Any:
    """An algorithm and rollouts of real games, with episodes that begin, end and are cut off inside them."""
    torch.manual_seed(1)
    algorithm = make_algorithm(settings, CPU)
    assert isinstance(algorithm, A3C)
    env = environment.make_vector_env(["1-1", "4-1"], 4, max_episode_length=5)
    collector = Collector(algorithm, env, settings.num_steps, settings.gamma, seed=3)
    for _ in range(num_rollouts):
        yield algorithm, collector.collect()
    env.close()


@pytest.mark.parametrize("lstm", [True, False])
def test_a_graph_kept_while_playing_gives_the_gradients_of_the_second_pass(lstm: bool) -> None:
    """In real games, with episodes that begin, end and are cut off inside the rollout, twice in a row."""
    for algorithm, rollout in play(config(num_steps=8, lanes=4, lstm=lstm), 2):
        assert algorithm.keeps_activations
        assert len(algorithm._features) == 8
        assert rollout.episode_starts[1:].any()
        (kept,) = algorithm.updates(rollout)
        gradients = algorithm.flat.gradients.clone()
        assert not algorithm._features  # so this update computes all of it again
        (again,) = algorithm.updates(rollout)
        assert kept == pytest.approx(again, rel=1e-4, abs=1e-5)
        assert gradients.norm() > 0
        torch.testing.assert_close(gradients, algorithm.flat.gradients, rtol=1e-3, atol=1e-4)
        algorithm.flat.parameters.sub_(0.01 * gradients)


@pytest.mark.parametrize("num_steps", [20, 200])
def test_gradients_of_a_kept_graph_add_up_in_float32_when_steps_are_computed_in_bfloat16(num_steps: int) -> None:
    """As a worker collects. Summed in bfloat16, 300 steps were 3% off.

    Compared with a loop over the steps that adds up their gradients in float32. One pass over all steps is no measure:
    without bfloat16 instructions PyTorch's convolutions add up a batch's gradients in bfloat16, which is 1% off.
    """
    for algorithm, rollout in play(config(num_steps=num_steps, lanes=4, precision="bfloat16"), 1):
        assert algorithm._features[0].dtype == torch.bfloat16
        by_step: dict[int, Tensor] = {}
        for t, features in enumerate(algorithm._features):
            features.register_hook(lambda gradient, t=t, by_step=by_step: by_step.update({t: gradient}))
        list(algorithm.updates(rollout))

        parameters = list(algorithm.model.encoder.parameters())
        expected = [torch.zeros_like(parameter) for parameter in parameters]
        for t in range(num_steps):
            with algorithm.computing():
                features = algorithm.model.encode(rollout.observations[t : t + 1])
            gradients = torch.autograd.grad(features, parameters, by_step[t])
            torch._foreach_add_(expected, gradients)
        for parameter, total in zip(parameters, expected, strict=True):
            torch.testing.assert_close(parameter.grad, total, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{"algorithm": "ppo", "minibatches": 1}, {"keep_activations": False}, {"lanes": 1}])
def test_no_graph_is_kept_for_weights_that_change_or_against_the_users_wish_or_where_it_costs(options: dict[str, Any]) -> None:
    assert not getattr(make_small(config(**options)), "keeps_activations", False)
    assert make_small(config()).keeps_activations


def test_gradients_are_clipped_and_their_norm_before_is_told() -> None:
    whole, clipped = make_small(config()), make_small(config(max_grad_norm=0.1))
    rollout = make_rollout(whole)
    norm, again = (next(iter(each.updates(rollout)))["gradient_norm"] for each in (whole, clipped))
    unclipped = whole.flat.gradients
    assert norm == pytest.approx(again) == pytest.approx(float(unclipped.norm()))
    assert norm > 0.1
    torch.testing.assert_close(clipped.flat.gradients, unclipped * (0.1 / norm), rtol=1e-3, atol=1e-6)


def test_bfloat16_gradients_point_the_same_way() -> None:
    exact, rough = make_small(config()), make_small(config(precision="bfloat16"))
    rollout = make_rollout(exact)
    for each in (exact, rough):
        list(each.updates(rollout))
    assert rough.flat.gradients.dtype == torch.float32
    assert not torch.equal(exact.flat.gradients, rough.flat.gradients)
    assert float(torch.nn.functional.cosine_similarity(exact.flat.gradients, rough.flat.gradients, dim=0)) > 0.99


def test_the_rollout_is_not_changed() -> None:
    algorithm = make_small(config(algorithm="ppo"))
    rollout = make_rollout(algorithm)
    before = {name: tensor.clone() for name, tensor in tensors_of(rollout).items()}
    list(algorithm.updates(rollout))
    for name, tensor in tensors_of(rollout).items():
        assert torch.equal(before[name], tensor), name
