"""Advantages and losses against slow loops over single samples, closed forms and the papers' own statements."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from a3g.algorithms.a2c import a2c_loss
from a3g.algorithms.a3c import actor_critic_loss
from a3g.algorithms.actor_critic import Batch
from a3g.algorithms.ppo import draw_steps, ppo_loss, weighted_by_advantage
from a3g.experience.advantages import gae

T, LANES, ACTIONS = 7, 3, 5


def random_rollout(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rewards, values and episode ends, in float64."""
    random = torch.Generator().manual_seed(seed)
    rewards = torch.randn(T, LANES, generator=random, dtype=torch.float64)
    values = torch.randn(T + 1, LANES, generator=random, dtype=torch.float64)
    dones = torch.rand(T, LANES, generator=random) < 0.25
    return rewards, values, dones


def random_batch(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Logits and values that want gradients, actions, advantages and returns, in float64."""
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(T, LANES, ACTIONS, generator=random, dtype=torch.float64).requires_grad_()
    values = torch.randn(T, LANES, generator=random, dtype=torch.float64).requires_grad_()
    actions = torch.randint(ACTIONS, (T, LANES), generator=random)
    advantages = torch.randn(T, LANES, generator=random, dtype=torch.float64)
    returns = torch.randn(T, LANES, generator=random, dtype=torch.float64)
    return logits, values, actions, advantages, returns


def slow_gae(rewards: Tensor, values: Tensor, dones: Tensor, gamma: float, lambda_: float) -> Tensor:
    """The definition: the sum over l of (gamma lambda)^l delta_{t+l}, up to the episode's end."""
    advantages = torch.zeros_like(rewards)
    for lane in range(rewards.shape[1]):
        for t in range(len(rewards)):
            weight = 1.0
            for k in range(t, len(rewards)):
                after = 0.0 if dones[k, lane] else float(values[k + 1, lane])
                advantages[t, lane] += weight * (float(rewards[k, lane]) + gamma * after - float(values[k, lane]))
                weight *= gamma * lambda_
                if dones[k, lane]:
                    break
    return advantages


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("gamma", "lambda_"), [(0.99, 1.0), (0.9, 0.95), (1.0, 0.5), (0.7, 0.0), (0.0, 1.0)])
def test_gae_is_the_papers_sum(seed: int, gamma: float, lambda_: float) -> None:
    rewards, values, dones = random_rollout(seed)
    expected = slow_gae(rewards, values, dones, gamma, lambda_)
    torch.testing.assert_close(gae(rewards, values, dones, gamma, lambda_), expected)


def test_gae_with_lambda_1_is_the_discounted_return_minus_the_value() -> None:
    rewards, values, dones = random_rollout(11)
    returns = values[-1].clone()
    expected = torch.zeros_like(rewards)
    for t in reversed(range(T)):
        returns = rewards[t] + 0.9 * torch.where(dones[t], torch.zeros_like(returns), returns)
        expected[t] = returns - values[t]
    torch.testing.assert_close(gae(rewards, values, dones, 0.9, 1.0), expected)


def test_gae_with_lambda_0_is_the_one_step_error() -> None:
    rewards, values, _ = random_rollout(12)
    never = torch.zeros(T, LANES, dtype=torch.bool)
    torch.testing.assert_close(gae(rewards, values, never, 0.9, 0.0), rewards + 0.9 * values[1:] - values[:-1])


def test_gae_of_a_constant_reward_has_its_closed_form() -> None:
    """Reward 1 for ever and values 0: the geometric series."""
    steps, gamma = 30, 0.9
    ones, zeros = torch.ones(steps, 1, dtype=torch.float64), torch.zeros(steps + 1, 1, dtype=torch.float64)
    never = torch.zeros(steps, 1, dtype=torch.bool)
    expected = torch.tensor([[(1 - gamma ** (steps - t)) / (1 - gamma)] for t in range(steps)], dtype=torch.float64)
    torch.testing.assert_close(gae(ones, zeros, never, gamma, 1.0), expected)


def test_nothing_after_an_episodes_end_counts_before_it() -> None:
    rewards, values, _ = random_rollout(13)
    dones = torch.zeros(T, LANES, dtype=torch.bool)
    dones[3, 1] = True
    before = gae(rewards, values, dones, 0.99, 0.95)
    rewards[4:, 1] += 1000.0
    values[4:, 1] -= 500.0
    after = gae(rewards, values, dones, 0.99, 0.95)
    torch.testing.assert_close(after[:4, 1], before[:4, 1])
    assert not torch.allclose(after[4:, 1], before[4:, 1])
    torch.testing.assert_close(after[:, [0, 2]], before[:, [0, 2]])


def test_the_bootstrap_of_a_truncated_episode_goes_through_its_reward() -> None:
    """gamma V(last state) added to the reward of an ended episode is the same as one that goes on into that value."""
    rewards, values, _ = random_rollout(14)
    gamma = 0.9
    goes_on = torch.zeros(T, LANES, dtype=torch.bool)
    expected = gae(rewards[:4], values[:5], goes_on[:4], gamma, 0.95)
    truncated = goes_on.clone()
    truncated[3] = True
    with_bootstrap = rewards.clone()
    with_bootstrap[3] += gamma * values[4]
    torch.testing.assert_close(gae(with_bootstrap, values, truncated, gamma, 0.95)[:4], expected)


def test_actor_critic_loss_is_the_sum_over_time_and_the_mean_over_lanes() -> None:
    logits, values, actions, advantages, returns = random_batch(1)
    parts = actor_critic_loss(logits, values, actions, advantages, returns, value_coef=0.5, entropy_coef=0.01)
    gradients = torch.autograd.grad(parts.total, (logits, values))

    policy, value, entropy = torch.zeros(()).double(), torch.zeros(()).double(), torch.zeros(()).double()
    for t in range(T):
        for lane in range(LANES):
            probabilities = logits[t, lane].exp() / logits[t, lane].exp().sum()
            policy = policy - torch.log(probabilities[actions[t, lane]]) * advantages[t, lane]
            value = value + 0.5 * (returns[t, lane] - values[t, lane]) ** 2
            entropy = entropy - (probabilities * torch.log(probabilities)).sum()
    slow = (policy + 0.5 * value - 0.01 * entropy) / LANES
    slow_gradients = torch.autograd.grad(slow, (logits, values))

    torch.testing.assert_close(parts.total, slow)
    torch.testing.assert_close(gradients, slow_gradients)
    torch.testing.assert_close(parts.policy, policy.detach() / LANES)
    torch.testing.assert_close(parts.value, value.detach() / LANES)
    torch.testing.assert_close(parts.entropy, entropy.detach() / (T * LANES))


def test_actor_critic_gradients_are_the_known_ones() -> None:
    """Of the logits: advantage times (probability minus one-hot); of the values: value minus return."""
    logits, values, actions, advantages, returns = random_batch(2)
    total = actor_critic_loss(logits, values, actions, advantages, returns, value_coef=1.0, entropy_coef=0.0).total
    of_logits, of_values = torch.autograd.grad(total, (logits, values))
    one_hot = torch.nn.functional.one_hot(actions, ACTIONS)
    expected = advantages.unsqueeze(-1) * (logits.softmax(-1) - one_hot) / LANES
    torch.testing.assert_close(of_logits, expected.detach())
    torch.testing.assert_close(of_values, ((values - returns) / LANES).detach())


@pytest.mark.parametrize("seed", range(3))
def test_a2c_loss_is_the_mean_over_samples_with_hubers_value_loss(seed: int) -> None:
    logits, values, actions, advantages, returns = random_batch(seed)
    returns = returns * 3.0  # errors on both sides of 1
    parts = a2c_loss(logits, values, actions, advantages, returns, value_coef=0.7, entropy_coef=0.03)
    gradients = torch.autograd.grad(parts.total, (logits, values))

    policy, value, entropy = torch.zeros(()).double(), torch.zeros(()).double(), torch.zeros(()).double()
    small = 0
    for t in range(T):
        for lane in range(LANES):
            probabilities = logits[t, lane].exp() / logits[t, lane].exp().sum()
            policy = policy - torch.log(probabilities[actions[t, lane]]) * advantages[t, lane]
            error = abs(returns[t, lane] - values[t, lane])
            small += int(error < 1)
            value = value + (error**2 / 2 if error < 1 else error - 0.5)
            entropy = entropy - (probabilities * torch.log(probabilities)).sum()
    assert 0 < small < T * LANES
    policy, value, entropy = (each / (T * LANES) for each in (policy, value, entropy))
    slow = policy + 0.7 * value - 0.03 * entropy
    slow_gradients = torch.autograd.grad(slow, (logits, values))

    torch.testing.assert_close(parts.total, slow)
    torch.testing.assert_close(gradients, slow_gradients)
    torch.testing.assert_close((parts.policy, parts.value, parts.entropy), (policy.detach(), value.detach(), entropy.detach()))
    assert [part.requires_grad for part in parts] == [True, False, False, False]


def test_a2cs_targets_are_n_step_returns() -> None:
    """With lambda 1, as its preset has it: rewards up to the episode's end, or the value after the rollout."""
    rewards, values, dones = random_rollout(15)
    returns = gae(rewards, values, dones, 0.9, 1.0) + values[:-1]
    for lane in range(LANES):
        for t in range(T):
            expected, discount = 0.0, 1.0
            for k in range(t, T):
                expected += discount * float(rewards[k, lane])
                discount *= 0.9
                if dones[k, lane]:
                    break
            else:
                expected += discount * float(values[T, lane])
            assert float(returns[t, lane]) == pytest.approx(expected)


def slow_ppo(
    logits: Tensor, values: Tensor, actions: Tensor, advantages: Tensor, returns: Tensor, old_log_probs: Tensor, clip: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Sample by sample, with the clipping written out case by case; means of policy loss, value loss and entropy."""
    policy, value, entropy = torch.zeros(()).double(), torch.zeros(()).double(), torch.zeros(()).double()
    for t in range(T):
        for lane in range(LANES):
            probabilities = logits[t, lane].exp() / logits[t, lane].exp().sum()
            ratio = probabilities[actions[t, lane]] / math.exp(old_log_probs[t, lane])
            advantage = float(advantages[t, lane])
            if advantage >= 0:
                gain = advantage * ratio if ratio < 1 + clip else torch.tensor(advantage * (1 + clip)).double()
            else:
                gain = advantage * ratio if ratio > 1 - clip else torch.tensor(advantage * (1 - clip)).double()
            policy = policy - gain
            value = value + 0.5 * (returns[t, lane] - values[t, lane]) ** 2
            entropy = entropy - (probabilities * torch.log(probabilities)).sum()
    return policy / (T * LANES), value / (T * LANES), entropy / (T * LANES)


@pytest.mark.parametrize("seed", range(4))
def test_ppo_loss_is_the_mean_over_samples(seed: int) -> None:
    logits, values, actions, advantages, returns = random_batch(seed)
    old = random_batch(seed + 100)[0].detach().log_softmax(-1).gather(-1, actions.unsqueeze(-1)).squeeze(-1)
    parts = ppo_loss(logits, values, actions, advantages, returns, old, clip_range=0.2, value_coef=0.7, entropy_coef=0.03)
    gradients = torch.autograd.grad(parts.total, (logits, values))

    policy, value, entropy = slow_ppo(logits, values, actions, advantages, returns, old, clip=0.2)
    slow = policy + 0.7 * value - 0.03 * entropy
    slow_gradients = torch.autograd.grad(slow, (logits, values))

    torch.testing.assert_close(parts.total, slow)
    torch.testing.assert_close(gradients, slow_gradients)
    torch.testing.assert_close((parts.policy, parts.value, parts.entropy), (policy.detach(), value.detach(), entropy.detach()))


def test_the_first_ppo_update_is_a_policy_gradient() -> None:
    """With the policy unchanged all ratios are 1: the gradient is actor-critic's, mean instead of sum."""
    logits, values, actions, advantages, returns = random_batch(5)
    old = logits.detach().log_softmax(-1).gather(-1, actions.unsqueeze(-1)).squeeze(-1)
    ppo = ppo_loss(logits, values, actions, advantages, returns, old, 0.2, value_coef=0.5, entropy_coef=0.01)
    a3c = actor_critic_loss(logits, values, actions, advantages, returns, value_coef=0.5, entropy_coef=0.01)
    of_ppo = torch.autograd.grad(ppo.total, (logits, values))
    of_a3c = torch.autograd.grad(a3c.total / T, (logits, values))
    torch.testing.assert_close(of_ppo, of_a3c)


@pytest.mark.parametrize(
    ("advantage", "shift", "pays"),
    [
        (1.0, 0.5, False),  # good action, already far more likely: no more
        (1.0, -0.5, True),  # good action that became less likely: back
        (-1.0, -0.5, False),  # bad action, already far less likely: no more
        (-1.0, 0.5, True),  # bad action that became more likely: back
        (1.0, 0.05, True),  # inside the clip range both ways
        (-1.0, -0.05, True),
    ],
)
def test_ppo_stops_paying_only_beyond_the_clip_in_the_paying_direction(advantage: float, shift: float, pays: bool) -> None:
    logits = torch.zeros(1, 1, ACTIONS, dtype=torch.float64, requires_grad=True)
    actions = torch.zeros(1, 1, dtype=torch.int64)
    old = torch.full((1, 1), math.log(1 / ACTIONS) - shift, dtype=torch.float64)
    nothing = torch.zeros(1, 1, dtype=torch.float64)
    total = ppo_loss(logits, nothing, actions, nothing + advantage, nothing, old, 0.2, value_coef=0.0, entropy_coef=0.0).total
    (gradient,) = torch.autograd.grad(total, logits)
    assert bool(gradient.abs().sum() > 0) is pays
    if pays:
        assert math.copysign(1.0, float(gradient[0, 0, 0])) == -advantage


def test_entropy_of_a_uniform_policy_is_the_logarithm_of_the_actions() -> None:
    logits = torch.full((T, LANES, ACTIONS), 3.0, dtype=torch.float64)
    _, values, actions, advantages, returns = random_batch(6)
    a3c = actor_critic_loss(logits, values, actions, advantages, returns, 0.5, 0.01)
    ppo = ppo_loss(logits, values, actions, advantages, returns, torch.zeros(T, LANES).double(), 0.2, 0.5, 0.01)
    assert float(a3c.entropy) == pytest.approx(math.log(ACTIONS))
    assert float(ppo.entropy) == pytest.approx(math.log(ACTIONS))


def test_the_entropy_bonus_flattens_the_policy() -> None:
    logits, values, actions, advantages, returns = random_batch(7)
    total = actor_critic_loss(logits, values, actions, 0 * advantages, returns, 0.0, entropy_coef=1.0).total
    (gradient,) = torch.autograd.grad(total, logits)
    before = actor_critic_loss(logits, values, actions, advantages, returns, 0.5, 0.01).entropy
    after = actor_critic_loss(logits - 0.1 * gradient, values, actions, advantages, returns, 0.5, 0.01).entropy
    assert after > before


def test_certain_policies_give_finite_losses() -> None:
    """Probabilities of exactly 0 and 1 in float32 must not make NaN."""
    logits = torch.zeros(1, 2, ACTIONS)
    logits[..., 0] = 1e4
    logits.requires_grad_()
    values, actions = torch.zeros(1, 2, requires_grad=True), torch.tensor([[0, 1]])
    total = actor_critic_loss(logits, values, actions, torch.ones(1, 2), torch.ones(1, 2), 0.5, 0.01).total
    gradients = torch.autograd.grad(total, (logits, values))
    assert torch.isfinite(total)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_only_the_total_carries_gradients() -> None:
    logits, values, actions, advantages, returns = random_batch(8)
    parts = actor_critic_loss(logits, values, actions, advantages, returns, 0.5, 0.01)
    assert [part.requires_grad for part in parts] == [True, False, False, False]


def test_steps_are_drawn_by_the_size_of_their_advantages_and_the_loss_keeps_its_expectation() -> None:
    """Against the plain mean over all steps of a quantity that has nothing to do with the advantages."""
    random = torch.Generator().manual_seed(0)
    number = 500
    advantages = torch.randn(number, generator=random) ** 3
    nothing = torch.zeros(1, number)
    batch = Batch(nothing, torch.zeros(2, number, 0), nothing, nothing, nothing, advantages[None], nothing, nothing)
    weights = weighted_by_advantage(batch).weights[0]
    quantity = torch.randn(number, generator=random) + 3 * (advantages > 1)
    torch.manual_seed(1)
    draws = [draw_steps(weights, 100) for _ in range(400)]
    means = torch.stack([(weights[drawn] * quantity[drawn]).mean() for drawn in draws])
    assert float(means.mean()) == pytest.approx(float(quantity.mean()), abs=4 * float(means.std()) / 20)
    counts = torch.bincount(torch.cat(draws), minlength=number)
    expected = (advantages.abs() + advantages.abs().mean()) / (2 * advantages.abs().mean()) / number * 40_000
    torch.testing.assert_close(counts.double(), expected.double(), rtol=0.4, atol=12.0)
