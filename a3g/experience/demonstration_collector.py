"""Collecting `(T, lanes)` of experience from demonstrations, given ones and those that a teacher makes of the policy's play."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from a3g.experience.episodes import EpisodeRecord
from a3g.experience.rollout import Policy, Rollout
from a3g.exploration.demonstrations import Demonstration
from a3g.exploration.replay import DemonstrationPlayer
from a3g.exploration.teacher import Teacher
from a3g.game.emulators import Image
from a3g.game.options import GameOptions
from a3g.reporting.phases import Phase, PhaseClock


class DemonstrationCollector:
    """Lanes play demonstrations, each stage as often as the others.

    With a teacher the policy plays too, in lanes of its own, greedily. What comes of that, the teacher's help included, is
    added to the demonstrations; the policy's own episodes, up to where it was helped, are those reported.
    """

    def __init__(
        self,
        policy: Policy,
        demonstrations: Sequence[Demonstration],
        lanes: int,
        num_steps: int,
        options: GameOptions,
        seed: int,
        teacher: Teacher | None = None,
        taught_steps: int = 0,
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
            teacher: lets the policy play.
            taught_steps: agent steps that it plays in every lane of the teacher before each rollout.
            clock: told what is emulator and what is acting.
            on_step: called before every rollout, as a sign of life.
        """
        self._policy, self._clock, self._on_step = policy, clock or PhaseClock(), on_step
        self._teacher, self._taught_steps = teacher, taught_steps
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
        rollout.episodes = self._learn_from_teacher()
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

    def _learn_from_teacher(self) -> list[EpisodeRecord]:
        """Let the policy play; returns its episodes."""
        if self._teacher is None:
            return []
        with self._policy.computing():
            found, lessons = self._teacher.play(self._taught_steps, self._choose)
        for demonstration in found:
            self._player.add(demonstration)
        return [
            EpisodeRecord(str(each.stage), str(each.outcome), each.episode_return, each.agent_steps, each.progress)
            for each in lessons
        ]

    def _choose(self, observations: Image) -> NDArray[np.int64]:
        self._on_step()
        return self._policy.greedy(torch.from_numpy(observations).to(self._policy.device)).cpu().numpy()

    def state_dict(self) -> dict[str, Tensor]:
        """What the next rollout depends on beside the network and the demonstrations given, as copies on the CPU.

        The games with a teacher are not among it: they begin anew.
        """
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
