"""Collecting `(T, lanes)` of experience from a vector environment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from a3g.game.vector import MarioVectorEnv
from a3g.learning.model import ActorCritic
from a3g.learning.precision import uncached_casts
from a3g.reporting.phases import Phase, PhaseClock


@dataclass(frozen=True, slots=True)
class EpisodeRecord:
    """One finished episode, for reports."""

    stage: str
    outcome: str
    episode_return: float
    agent_steps: int
    progress: int

    @classmethod
    def of_lane(cls, infos: dict[str, Any], lane: int, episode_return: float) -> EpisodeRecord:
        """The episode that has just ended in a lane, from the vector environment's `infos`."""
        final = {key: values[lane] for key, values in infos["final_info"].items()}
        return cls(
            stage=final["attempt"],
            outcome=final["outcome"] or "truncated",
            episode_return=episode_return,
            agent_steps=final["attempt_steps"],
            progress=final["progress"],
        )


@dataclass(slots=True)
class Rollout:
    """`T` agent steps in every lane; the tensors are reused by the next rollout."""

    observations: Tensor
    """uint8 (T, lanes, stack, height, width), what each action was chosen from."""
    actions: Tensor
    """int64 (T, lanes)"""
    log_probs: Tensor
    """float32 (T, lanes), of the actions under the policy that chose them."""
    rewards: Tensor
    """float32 (T, lanes); for a truncated episode the discounted value of its last state is added."""
    dones: Tensor
    """bool (T, lanes), whether the episode ended with the step."""
    resets: Tensor
    """bool (T, lanes), whether the step is the first of its episode."""
    values: Tensor
    """float32 (T + 1, lanes), the last row that of the state after the rollout."""
    initial_state: Tensor
    """float32 (2, lanes, hidden), the recurrent state before the first step."""
    episodes: list[EpisodeRecord]
    features: Tensor | None = None
    """What the model's encoder made of the observations, (T, lanes, features), with its graph, if `collect` was to keep it."""

    @classmethod
    def empty(cls, num_steps: int, lanes: int, observation_shape: tuple[int, ...], device: torch.device) -> Rollout:
        """Room for so many agent steps; whoever collects them sets the initial state."""
        size = num_steps, lanes
        return cls(
            observations=torch.zeros(*size, *observation_shape, dtype=torch.uint8, device=device),
            actions=torch.zeros(size, dtype=torch.int64, device=device),
            log_probs=torch.zeros(size, device=device),
            rewards=torch.zeros(size, device=device),
            dones=torch.zeros(size, dtype=torch.bool, device=device),
            resets=torch.zeros(size, dtype=torch.bool, device=device),
            values=torch.zeros(num_steps + 1, lanes, device=device),
            initial_state=torch.zeros(0),
            episodes=[],
        )


class Collector:
    """Plays a vector environment with a model, keeping observations and recurrent state from rollout to rollout."""

    def __init__(
        self,
        env: MarioVectorEnv,
        num_steps: int,
        gamma: float,
        device: torch.device,
        seed: int,
        clock: PhaseClock | None = None,
        on_step: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            env: the games; its observations are copied before the next step.
            num_steps: T.
            gamma: discount factor, for the value of truncated episodes.
            device: where the model is and the rollout's tensors shall be.
            seed: of the choice of actions and the first reset.
            clock: told what is emulator and what is acting.
            on_step: called after every step, as a sign of life.
        """
        self._env, self._gamma, self._device, self._on_step = env, gamma, device, on_step
        self._clock = clock or PhaseClock()
        lanes = env.num_envs
        self._random = torch.Generator(device).manual_seed(seed)
        self._observations = torch.from_numpy(env.reset(seed=seed)[0])
        self._state: Tensor | None = None
        self._returns = np.zeros(lanes)
        steps = np.zeros((num_steps, lanes), np.float32)
        self._rewards, self._dones = steps.copy(), steps.astype(np.bool_)
        self._rollout = Rollout.empty(num_steps, lanes, env.options.observation_shape, device)
        self._first_steps = torch.ones(lanes, dtype=torch.bool, device=device)

    def state(self) -> dict[str, Tensor]:
        """Everything that the next rollout depends on but the model, as copies."""
        state = {f"env.{name}": torch.from_numpy(array.copy()) for name, array in self._env.state_dict().items()}
        if self._state is not None:
            state["recurrent"] = self._state.clone()
        return {
            **state,
            "random": self._random.get_state(),
            "observations": self._observations.clone(),
            "returns": torch.from_numpy(self._returns.copy()),
            "first_steps": self._first_steps.clone(),
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state` gave, of a collector of the same games; raises as `MarioVectorEnv.load_state_dict`."""
        self._env.load_state_dict({name[4:]: tensor.numpy() for name, tensor in state.items() if name.startswith("env.")})
        self._random.set_state(state["random"])
        self._observations.copy_(state["observations"])
        self._state = state["recurrent"].to(self._device) if "recurrent" in state else None
        self._returns[:] = state["returns"].numpy()
        self._first_steps = state["first_steps"].to(self._device)

    @torch.no_grad()
    def collect(self, model: ActorCritic, keep_graph: bool = False) -> Rollout:
        """Play T agent steps in every lane.

        Args:
            keep_graph: whether the rollout shall hold the encoder's features with all that a backward pass needs; the
                weights must not change before it.
        """
        rollout = self._rollout
        rollout.features = None  # frees the memory of the last graph before the next grows
        if self._state is None:
            self._state = model.initial_state(self._env.num_envs)
        rollout.initial_state = self._state
        rollout.episodes = []
        kept: list[Tensor] = []
        for t in range(len(rollout.actions)):
            rollout.observations[t].copy_(self._observations)
            rollout.resets[t] = self._first_steps
            with torch.set_grad_enabled(keep_graph), uncached_casts(keep_graph):
                features = model.encode(rollout.observations[t : t + 1])
            if keep_graph:
                kept.append(features)
            logits, values, self._state = model.decide(features, self._state, rollout.resets[t : t + 1])
            log_probs = torch.log_softmax(logits[0], dim=-1)
            actions = torch.multinomial(log_probs.exp(), 1, generator=self._random)
            rollout.actions[t] = actions.squeeze(1)
            rollout.log_probs[t] = log_probs.gather(1, actions).squeeze(1)
            rollout.values[t] = values[0]
            self._step(t, rollout.actions[t].cpu().numpy(), model, rollout.episodes)
            self._first_steps = torch.from_numpy(self._dones[t]).to(self._device)
        if keep_graph:
            with torch.enable_grad():
                rollout.features = torch.cat(kept)
        observation = self._observations.to(self._device).unsqueeze(0)
        rollout.values[-1] = model(observation, self._state, self._first_steps.unsqueeze(0))[1][0]
        rollout.rewards.copy_(torch.from_numpy(self._rewards))
        rollout.dones.copy_(torch.from_numpy(self._dones))
        return rollout

    def _step(self, t: int, actions: NDArray[np.int64], model: ActorCritic, episodes: list[EpisodeRecord]) -> None:
        """Step the games; notes finished episodes and bootstraps truncated ones."""
        self._clock.lap(Phase.ACTING)
        observations, rewards, terminated, truncated, infos = self._env.step(actions)
        self._clock.lap(Phase.EMULATOR)
        self._on_step()
        self._observations = torch.from_numpy(observations)
        self._rewards[t] = rewards
        self._dones[t] = terminated | truncated
        self._returns += rewards
        for lane in np.flatnonzero(self._dones[t]):
            if truncated[lane]:
                assert self._state is not None
                last = torch.from_numpy(infos["final_obs"][lane]).to(self._device)[None, None]
                no_reset = torch.zeros(1, 1, dtype=torch.bool, device=self._device)
                value = model(last, self._state[:, lane : lane + 1], no_reset)[1]
                self._rewards[t, lane] += self._gamma * float(value)
            episodes.append(EpisodeRecord.of_lane(infos, lane, float(self._returns[lane])))
            self._returns[lane] = 0.0
