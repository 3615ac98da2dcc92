"""Collecting `(T, lanes)` of experience from demonstrations instead of from the policy's own play."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from a3g.experience.rollout import Policy, Rollout
from a3g.exploration.demonstrations import Demonstration
from a3g.exploration.replay import DemonstrationPlayer
from a3g.game.options import GameOptions
from a3g.reporting.phases import Phase, PhaseClock


class DemonstrationCollector:
    """Lanes play demonstrations, each stage as often as the others; the policy only values the states they end in."""

    def __init__(
        self,
        policy: Policy,
        demonstrations: Sequence[Demonstration],
        lanes: int,
        num_steps: int,
        options: GameOptions,
        seed: int,
        clock: PhaseClock | None = None,
        on_step: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            policy: values states.
            demonstrations: what is played.
            lanes: games side by side.
            num_steps: T.
            options: the game; its sticky actions are off here.
            seed: of the choice of demonstrations.
            clock: told what is emulator and what is acting.
            on_step: called before every rollout, as a sign of life.
        """
        self._policy, self._clock, self._on_step = policy, clock or PhaseClock(), on_step
        self._player = DemonstrationPlayer(demonstrations, lanes, options, seed)
        self._rollout = Rollout.empty(num_steps, lanes, options.observation_shape, policy)
        self._observations = torch.zeros(num_steps, lanes, *options.observation_shape, dtype=torch.uint8)
        self._actions = torch.zeros(num_steps, lanes, dtype=torch.int64)
        self._rewards = torch.zeros(num_steps, lanes)
        self._dones = torch.zeros(num_steps, lanes, dtype=torch.bool)
        self._starts = torch.ones(lanes, dtype=torch.bool)
        """Whether each lane's next step is the first of a demonstration."""
        self._state = policy.initial_state(lanes)

    @torch.no_grad()
    def collect(self) -> Rollout:
        """Play T agent steps of demonstrations in every lane."""
        rollout, device = self._rollout, self._policy.device
        self._clock.lap(Phase.ACTING)
        for t in range(len(self._actions)):
            self._on_step()
            step = self._player.step(self._observations[t].numpy())
            self._actions[t] = torch.from_numpy(step.actions)
            self._rewards[t] = torch.from_numpy(step.rewards)
            self._dones[t] = torch.from_numpy(step.dones)
        self._clock.lap(Phase.EMULATOR)
        rollout.observations.copy_(self._observations)
        rollout.actions.copy_(self._actions)
        rollout.rewards.copy_(self._rewards)
        rollout.dones.copy_(self._dones)
        rollout.episode_starts[0] = self._starts.to(device)
        rollout.episode_starts[1:] = rollout.dones[:-1]
        self._starts = self._dones[-1].clone()
        rollout.initial_state = self._state
        with self._policy.computing():
            after = torch.from_numpy(self._player.observations).to(device)
            rollout.next_values = self._policy.bootstrap(after, self._state, self._starts.to(device))
        return rollout

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that the next rollout depends on but the network and the demonstrations, as copies on the CPU."""
        state = {name: torch.from_numpy(np.asarray(array).copy()) for name, array in self._player.state_dict().items()}
        return {**state, "first_steps": self._starts.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state_dict` gave, with the same demonstrations.

        Raises:
            KeyError, ValueError: if it does not fit.
        """
        self._starts = state["first_steps"].clone()
        self._player.load_state_dict({name: each.numpy() for name, each in state.items() if name != "first_steps"})

    def close(self) -> None:
        """End the games."""
        self._player.close()
