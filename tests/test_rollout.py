"""What the collector stores against what the real game returned."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from a3g.algorithms.a3c import A3C
from a3g.config import TrainConfig
from a3g.experience.collector import Collector
from a3g.experience.episodes import EpisodeRecord
from a3g.experience.rollout import Rollout
from a3g.game.lane import GameOptions
from a3g.game.lane_vector import LaneVectorEnv
from a3g.game.stages import Stage
from a3g.networks.actor_critic import ActorCritic
from tests.learning import CPU, on_cpu, tensors_of

LANES, GAMMA = 3, 0.9
ONE_ONE = Stage(1, 1)
RUN_RIGHT = 3  # in the a3g action set: right and B
TIMEOUT_STEPS = 12  # 2 units of the game's clock, 24 frames each, in agent steps of 4 frames


@dataclass
class Step:
    """What the environment returned."""

    actions: np.ndarray
    observations: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    infos: dict[str, Any]


@dataclass
class Tape:
    """Everything that went into and came out of an environment."""

    first: np.ndarray | None = None
    steps: list[Step] = field(default_factory=list)


class RecordedEnv(LaneVectorEnv):
    """The real games, with a tape running."""

    def __init__(self, options: GameOptions, seed: int = 0) -> None:
        self.tape = Tape()
        super().__init__([ONE_ONE], LANES, options, "auto", seed, copy=False)

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        observations, infos = super().reset(**options)
        self.tape.first = observations.copy()
        return observations, infos

    def step(self, actions: Any) -> Any:
        result = super().step(actions)
        observations, rewards, terminated, truncated, infos = result
        self.tape.steps.append(
            Step(actions.copy(), observations.copy(), rewards.copy(), terminated.copy(), truncated.copy(), infos)
        )
        return result


def make_policy(num_steps: int, lstm: bool = True, preferred: int | None = None) -> A3C:
    """A small network; with `preferred`, one that nearly always takes that action."""
    torch.manual_seed(0)
    settings = {"network": "conv4", "hidden_size": 16, "lstm": lstm, "lanes": LANES, "num_steps": num_steps}
    policy = A3C(TrainConfig(**settings, precision="float32"), CPU)  # type: ignore[arg-type]
    if preferred is not None:
        with torch.no_grad():
            policy.model.actor.bias[preferred] = 8.0
    return policy


def collect(
    options: GameOptions, num_steps: int, rollouts: int, lstm: bool = True, preferred: int | None = None, seed: int = 0
) -> tuple[ActorCritic, Tape, list[Rollout]]:
    """Play; every rollout is copied, since the collector uses its tensors again."""
    policy = make_policy(num_steps, lstm, preferred)
    env = RecordedEnv(options)
    try:
        collector = Collector(policy, env, num_steps, GAMMA, seed)
        return policy.model, env.tape, [on_cpu(collector.collect()) for _ in range(rollouts)]
    finally:
        env.close()


def joined(rollouts: list[Rollout], name: str) -> Tensor:
    return torch.cat([tensors_of(rollout)[name] for rollout in rollouts])


TIMEOUTS = GameOptions(time_per_stage=2, noop_max=4)
TRUNCATIONS = GameOptions(max_episode_length=7, noop_max=4)


@pytest.fixture(scope="module", params=[TIMEOUTS, TRUNCATIONS], ids=["timeouts", "truncations"])
def played(request: pytest.FixtureRequest) -> tuple[ActorCritic, Tape, list[Rollout]]:
    """Five rollouts of 6 steps in which episodes end in the middle, at the end and at the start of a rollout."""
    return collect(request.param, num_steps=6, rollouts=5, preferred=RUN_RIGHT)


Played = tuple[ActorCritic, Tape, list[Rollout]]


def test_actions_are_chosen_from_the_observations_stored_with_them(played: Played) -> None:
    _, tape, rollouts = played
    assert tape.first is not None
    seen = [tape.first, *(step.observations for step in tape.steps[:-1])]
    assert torch.equal(joined(rollouts, "observations"), torch.from_numpy(np.stack(seen)))
    assert torch.equal(joined(rollouts, "actions"), torch.from_numpy(np.stack([step.actions for step in tape.steps])))


def test_rewards_and_ends_are_the_environments(played: Played) -> None:
    """Regression of the original A3G, which stored a reward that was always 0."""
    _, tape, rollouts = played
    rewards = torch.from_numpy(np.stack([step.rewards for step in tape.steps]))
    truncated = torch.from_numpy(np.stack([step.truncated for step in tape.steps]))
    terminated = torch.from_numpy(np.stack([step.terminated for step in tape.steps]))
    stored = joined(rollouts, "rewards")
    assert torch.equal(stored[~truncated], rewards[~truncated])
    assert torch.equal(joined(rollouts, "dones"), truncated | terminated)
    assert int((rewards > 0).sum()) > 5 * LANES  # running right pays
    assert int((truncated | terminated).sum()) >= 2 * LANES


def test_the_first_step_of_every_episode_is_marked(played: Played) -> None:
    _, _, rollouts = played
    starts, dones = joined(rollouts, "episode_starts"), joined(rollouts, "dones")
    assert bool(starts[0].all())
    assert torch.equal(starts[1:], dones[:-1])  # across the borders of rollouts too


def test_a_rollouts_values_and_policy_come_out_again_when_it_is_learnt_from(played: Played) -> None:
    """From the stored state, observations and episode starts: so the recurrent state is stored and reset as it was used."""
    model, _, rollouts = played
    for rollout in rollouts:
        with torch.no_grad():
            logits, values, _ = model(rollout.observations, rollout.initial_state, rollout.episode_starts)
        torch.testing.assert_close(values, rollout.columns["values"])
        log_probs = logits.log_softmax(-1).gather(-1, rollout.actions.unsqueeze(-1)).squeeze(-1)
        torch.testing.assert_close(log_probs, rollout.columns["log_probs"], rtol=1e-4, atol=1e-5)


def test_the_recurrent_state_goes_on_from_rollout_to_rollout(played: Played) -> None:
    model, _, rollouts = played
    assert not rollouts[0].initial_state.any()
    for before, after in pairwise(rollouts):
        with torch.no_grad():
            _, _, state = model(before.observations, before.initial_state, before.episode_starts)
        torch.testing.assert_close(after.initial_state, state)
        assert bool(after.initial_state.any())


def test_the_last_value_is_that_of_the_state_after_the_rollout(played: Played) -> None:
    _, _, rollouts = played
    for before, after in pairwise(rollouts):
        torch.testing.assert_close(before.next_values, after.columns["values"][0])  # same weights, same state, same observation


def test_a_truncated_episode_gets_the_value_of_its_last_state_and_no_other_does() -> None:
    model, tape, rollouts = collect(TRUNCATIONS, num_steps=6, rollouts=5, preferred=RUN_RIGHT)
    observations, starts = joined(rollouts, "observations"), joined(rollouts, "episode_starts")
    state = model.initial_state(LANES)
    checked = 0
    for t, step in enumerate(tape.steps):
        with torch.no_grad():
            _, _, state = model(observations[t : t + 1], state, starts[t : t + 1])
        for lane in np.flatnonzero(step.truncated):
            last = torch.from_numpy(step.infos["final_obs"][lane])
            assert not torch.equal(last, torch.from_numpy(step.observations[lane]))  # that one is the next episode's first
            with torch.no_grad():
                value = model(last[None, None], state[:, lane : lane + 1], torch.zeros(1, 1, dtype=torch.bool))[1]
            expected = float(step.rewards[lane]) + GAMMA * float(value)
            assert float(joined(rollouts, "rewards")[t, lane]) == pytest.approx(expected, abs=1e-5)
            checked += 1
    assert checked == LANES * (30 // 7)


def test_episodes_are_recorded_once_each(played: Played) -> None:
    _, tape, rollouts = played
    expected: list[EpisodeRecord] = []
    returns, lengths = np.zeros(LANES), np.zeros(LANES, int)
    for step in tape.steps:
        returns += step.rewards
        lengths += 1
        for lane in np.flatnonzero(step.terminated | step.truncated):
            final = step.infos["final_info"]
            outcome = "timeout" if step.terminated[lane] else "truncated"
            record = EpisodeRecord("1-1", outcome, float(returns[lane]), int(lengths[lane]), int(final["progress"][lane]))
            expected.append(record)
            returns[lane] = lengths[lane] = 0
    recorded = [record for rollout in rollouts for record in rollout.episodes]
    assert recorded == expected
    assert all(record.progress > 10 for record in recorded)


def test_timeouts_come_when_the_budget_is_used_up() -> None:
    _, _, rollouts = collect(TIMEOUTS, num_steps=6, rollouts=5, preferred=RUN_RIGHT)
    lengths = {record.agent_steps for rollout in rollouts for record in rollout.episodes}
    assert lengths <= set(range(TIMEOUT_STEPS - 6, TIMEOUT_STEPS + 1))


def test_the_same_seed_plays_the_same_and_another_does_not() -> None:
    first, second, third = (collect(TRUNCATIONS, num_steps=10, rollouts=1, seed=seed)[2][0] for seed in (4, 4, 5))
    for name in ("observations", "actions", "rewards", "dones", "values", "log_probs"):
        assert torch.equal(tensors_of(first)[name], tensors_of(second)[name]), name
    assert not torch.equal(first.actions, third.actions)


def test_actions_are_drawn_from_the_policy() -> None:
    """Frequencies of a policy with known probabilities."""
    options = GameOptions(noop_max=0)
    env = RecordedEnv(options)
    try:
        policy = make_policy(200, lstm=False)
        probabilities = torch.tensor([0.4, 0.3, 0.2, 0.1, 0, 0, 0, 0, 0, 0])
        with torch.no_grad():
            policy.model.actor.weight.zero_()
            policy.model.actor.bias.copy_(probabilities.clamp(min=1e-30).log())
        rollout = Collector(policy, env, 200, GAMMA, 1).collect()
    finally:
        env.close()
    shares = torch.bincount(rollout.actions.flatten(), minlength=10) / rollout.actions.numel()
    torch.testing.assert_close(shares, probabilities, rtol=0, atol=0.08)  # four standard deviations of 600 draws
    torch.testing.assert_close(rollout.columns["log_probs"].exp(), probabilities[rollout.actions])


def test_without_an_lstm_the_state_is_empty() -> None:
    _, _, (rollout,) = collect(TRUNCATIONS, num_steps=3, rollouts=1, lstm=False)
    assert rollout.initial_state.shape == (2, LANES, 0)
