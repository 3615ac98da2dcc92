"""Collecting `(T, lanes)` of experience from a vector environment, one agent step after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from a3g.experience.episodes import EpisodeRecord, EpisodeTracker
from a3g.experience.rollout import Policy, Rollout, Step
from a3g.game.emulators import Image
from a3g.game.vector import MarioVectorEnv
from a3g.reporting.phases import Phase, PhaseClock


class Collector:
    """Plays a vector environment with a policy, keeping observations and recurrent state from rollout to rollout."""

    def __init__(
        self,
        policy: Policy,
        env: MarioVectorEnv,
        num_steps: int,
        gamma: float,
        seed: int,
        clock: PhaseClock | None = None,
        on_step: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            policy: chooses the actions.
            env: the games; its observations are copied before the next step.
            num_steps: T.
            gamma: discount factor, for the value of truncated episodes.
            seed: of the choice of actions and the first reset.
            clock: told what is emulator and what is acting.
            on_step: called after every step, as a sign of life.
        """
        self._policy, self._env, self._on_step = policy, env, on_step
        self._clock = clock or PhaseClock()
        self._random = torch.Generator(policy.device).manual_seed(seed)
        self._observations = torch.from_numpy(env.reset(seed=seed)[0])
        self._state = policy.initial_state(env.num_envs)
        self._tracker = EpisodeTracker(env.num_envs, gamma)
        steps = np.zeros((num_steps, env.num_envs), np.float32)
        self._rewards, self._dones = steps.copy(), steps.astype(np.bool_)
        self._rollout = Rollout.empty(num_steps, env.num_envs, env.options.observation_shape, policy)
        self._episode_starts = torch.ones(env.num_envs, dtype=torch.bool, device=policy.device)

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that the next rollout depends on but the network, as copies."""
        games = {f"env.{name}": torch.from_numpy(array.copy()) for name, array in self._env.state_dict().items()}
        return {
            **games,
            "recurrent": self._state.clone(),
            "random": self._random.get_state(),
            "observations": self._observations.clone(),
            "returns": torch.from_numpy(self._tracker.returns.copy()),
            "first_steps": self._episode_starts.clone(),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state_dict` gave, of a collector of the same games; raises as `MarioVectorEnv.load_state_dict`."""
        self._env.load_state_dict({name[4:]: tensor.numpy() for name, tensor in state.items() if name.startswith("env.")})
        self._random.set_state(state["random"])
        self._observations.copy_(state["observations"])
        # A checkpoint of the first version that was made before the first rollout has none.
        recurrent = state.get("recurrent", self._policy.initial_state(self._env.num_envs))
        self._state = recurrent.to(self._policy.device)
        self._tracker.returns[:] = state["returns"].numpy()
        self._episode_starts = state["first_steps"].to(self._policy.device)

    @torch.no_grad()
    def collect(self) -> Rollout:
        """Play T agent steps in every lane."""
        rollout, policy = self._rollout, self._policy
        rollout.initial_state, rollout.episodes = self._state, []
        with policy.computing():
            for t in range(len(rollout.actions)):
                rollout.observations[t].copy_(self._observations)
                rollout.episode_starts[t] = self._episode_starts
                step = self._decide(rollout.observations[t], rollout.episode_starts[t], t)
                rollout.actions[t] = step.actions
                for name, column in step.columns.items():
                    rollout.columns[name][t] = column
                self._state = step.state
                self._step_games(t, rollout)
            observations = self._observations.to(policy.device)
            rollout.next_values = policy.bootstrap(observations, self._state, self._episode_starts)
        rollout.rewards.copy_(torch.from_numpy(self._rewards))
        rollout.dones.copy_(torch.from_numpy(self._dones))
        return rollout

    def close(self) -> None:
        """End the games."""
        self._env.close()

    def _decide(self, observations: Tensor, episode_starts: Tensor, t: int) -> Step:
        """Choose the actions of step `t`."""
        return self._policy.act(observations, self._state, episode_starts, self._random)

    def _step_games(self, t: int, rollout: Rollout) -> None:
        self._clock.lap(Phase.ACTING)
        observations, rewards, terminated, truncated, infos = self._env.step(rollout.actions[t].cpu().numpy())
        self._clock.lap(Phase.EMULATOR)
        self._on_step()
        self._observations = torch.from_numpy(observations)
        self._rewards[t], self._dones[t] = rewards, terminated | truncated
        ended = self._tracker.step(self._rewards[t], terminated, truncated, infos, self._value_of)
        rollout.episodes += self._after_step(ended, t, infos)
        self._episode_starts = torch.from_numpy(self._dones[t]).to(self._policy.device)

    def _after_step(self, ended: list[EpisodeRecord], t: int, infos: dict[str, Any]) -> list[EpisodeRecord]:
        """Take note of step `t` and the episodes that ended with it, in the order of their lanes; returns those to report."""
        return ended

    def _value_of(self, observation: Image, lane: int) -> float:
        """Of the last state of an episode that was truncated."""
        last = torch.from_numpy(observation).to(self._policy.device)[None]
        not_first = torch.zeros(1, dtype=torch.bool, device=self._policy.device)
        return float(self._policy.bootstrap(last, self._state[:, lane : lane + 1], not_first))
