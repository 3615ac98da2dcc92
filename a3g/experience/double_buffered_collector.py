"""Collecting `(T, lanes)` of experience on a GPU: it acts for one group of lanes while the CPU steps another group's games."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from a3g.accelerator.cuda_graph import Graphed
from a3g.accelerator.pinned_memory import host_zeros
from a3g.experience.episodes import EpisodeRecord, EpisodeTracker
from a3g.experience.rollout import Policy, Rollout
from a3g.game.emulators import Image
from a3g.game.vector import MarioVectorEnv, lane_seeds
from a3g.reporting.phases import Phase, PhaseClock


class DoubleBufferedCollector:
    """Plays groups of lanes in turn; what it returns is what `Collector` returns, but for the random numbers.

    With two groups the GPU is a step ahead for one while the CPU steps the games of the other (double-buffered sampling,
    Petrenko et al. 2020, section 3.2). With one group nothing overlaps. Everything is queued on one stream, in this order
    for each group and agent step: its observations are copied to the GPU, the network acts, the actions are copied back.
    Only then are its games stepped, which write new observations. So the CPU never touches memory that the GPU is
    reading or writing.

    Runs on a GPU do not repeat exactly: kernels add up in an order of their own, and what they compute decides the games.
    """

    def __init__(
        self,
        policy: Policy,
        envs: Sequence[MarioVectorEnv],
        num_steps: int,
        gamma: float,
        seed: int,
        graphs: bool = False,
        pinned: bool = False,
        clock: PhaseClock | None = None,
        on_step: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            policy: chooses the actions; its weights may change between rollouts, but not where they lie.
            envs: the groups, see `a3g.game.make.vector_env_parts`.
            num_steps: T.
            gamma: discount factor, for the value of truncated episodes.
            seed: of the choice of actions and the first reset.
            graphs: act by CUDA graphs.
            pinned: let what is copied to and from the GPU lie in page-locked memory.
            clock: told what is emulator and what is acting; waiting for the GPU is acting.
            on_step: called after every step of a group, as a sign of life.
        """
        self._clock, self._on_step = clock or PhaseClock(), on_step
        self._random = torch.Generator(policy.device).manual_seed(seed)
        lanes = sum(env.num_envs for env in envs)
        self._rewards = host_zeros(num_steps, lanes, dtype=torch.float32, pinned=pinned)
        self._dones = host_zeros(num_steps, lanes, dtype=torch.bool, pinned=pinned)
        self._rollout = Rollout.empty(num_steps, lanes, envs[0].options.observation_shape, policy)
        seeds = lane_seeds(seed, lanes)
        self._groups: list[_Group] = []
        for env in envs:
            first = sum(group.env.num_envs for group in self._groups)
            part = slice(first, first + env.num_envs)
            env.reset(seed=seeds[part])
            on_cpu = self._rewards.numpy()[:, part], self._dones.numpy()[:, part]
            self._groups.append(_Group(policy, env, self._rollout, part, on_cpu, self._random, gamma, graphs, pinned))

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that the next rollout depends on but the network, as copies on the CPU; call it between rollouts."""
        state = {"random": self._random.get_state()}
        for i, group in enumerate(self._groups):
            state |= {f"group{i}.{name}": tensor for name, tensor in group.state_dict().items()}
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state_dict` gave, of a collector of the same games; raises as `MarioVectorEnv.load_state_dict`."""
        self._random.set_state(state["random"])
        for i, group in enumerate(self._groups):
            prefix = f"group{i}."
            group.load_state_dict({name[len(prefix) :]: each for name, each in state.items() if name.startswith(prefix)})

    @torch.no_grad()
    def collect(self) -> Rollout:
        """Play T agent steps in every lane."""
        rollout = self._rollout
        rollout.episodes = []
        for group in self._groups:
            group.begin()
        last = len(rollout.actions) - 1
        for t in range(last + 1):
            for group in self._groups:
                group.await_actions()
                self._clock.lap(Phase.ACTING)
                rollout.episodes += group.step_games(t)
                self._clock.lap(Phase.EMULATOR)
                self._on_step()
                if t < last:
                    group.act(t + 1)
                else:
                    group.bootstrap()
        # The GPU reads these before the next rollout's first actions arrive, hence before the CPU writes them again.
        rollout.rewards.copy_(self._rewards, non_blocking=True)
        rollout.dones.copy_(self._dones, non_blocking=True)
        return rollout

    def close(self) -> None:
        """End the games."""
        for group in self._groups:
            group.env.close()


class _Group:
    """Some lanes: their games, and their columns of the rollout."""

    def __init__(
        self,
        policy: Policy,
        env: MarioVectorEnv,
        rollout: Rollout,
        lanes: slice,
        on_cpu: tuple[NDArray[np.float32], NDArray[np.bool_]],
        random: torch.Generator,
        gamma: float,
        graphs: bool,
        pinned: bool,
    ) -> None:
        """
        Args:
            lanes: the group's columns of the rollout.
            on_cpu: rewards float32 and dones bool, (T, lanes of the group) each.
        """
        self.env = env
        self._policy, self._random = policy, random
        self._rewards, self._dones = on_cpu
        self._tracker = EpisodeTracker(env.num_envs, gamma)
        device = policy.device

        # What is copied to and from the GPU, on the CPU's side. The games write their observations there themselves.
        self._cpu_observations = host_zeros(env.num_envs, *env.options.observation_shape, dtype=torch.uint8, pinned=pinned)
        env.move_observations(self._cpu_observations.numpy())
        self._cpu_episode_starts = host_zeros(env.num_envs, dtype=torch.bool, pinned=pinned)
        self._cpu_episode_starts.fill_(True)
        self._cpu_actions = host_zeros(env.num_envs, dtype=torch.int64, pinned=pinned)
        self._actions_copied = torch.cuda.Event() if device.type == "cuda" else None  # type: ignore[no-untyped-call]

        # The same on the GPU, and what stays there: at addresses that do not change, as CUDA graphs need it.
        self._observations = torch.zeros_like(self._cpu_observations, device=device)
        self._episode_starts = torch.ones(env.num_envs, dtype=torch.bool, device=device)
        self._actions = torch.zeros(env.num_envs, dtype=torch.int64, device=device)
        self._state = policy.initial_state(env.num_envs)
        self._t = torch.zeros(1, dtype=torch.int64, device=device)
        self._initial_state = rollout.initial_state[:, lanes]
        self._next_values = rollout.next_values[lanes]
        self._columns = {
            "observations": rollout.observations[:, lanes],
            "episode_starts": rollout.episode_starts[:, lanes],
            "actions": rollout.actions[:, lanes],
            **{name: column[:, lanes] for name, column in rollout.columns.items()},
        }
        self._act: Callable[[], None] = self._choose_actions
        self._bootstrap: Callable[[], None] = self._value_next_states
        if graphs:
            self._act = Graphed(self._choose_actions, device, generators=[random], restored=[self._state])
            self._bootstrap = Graphed(self._value_next_states, device)

    def state_dict(self) -> dict[str, Tensor]:
        games = {f"env.{name}": torch.from_numpy(array.copy()) for name, array in self.env.state_dict().items()}
        return {
            **games,
            "recurrent": self._state.cpu().clone(),
            "observations": self._cpu_observations.clone(),
            "first_steps": self._cpu_episode_starts.clone(),
            "returns": torch.from_numpy(self._tracker.returns.copy()),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.env.load_state_dict({name[4:]: tensor.numpy() for name, tensor in state.items() if name.startswith("env.")})
        self._state.copy_(state["recurrent"])
        self._cpu_observations.copy_(state["observations"])
        self._cpu_episode_starts.copy_(state["first_steps"])
        self._tracker.returns[:] = state["returns"].numpy()

    def begin(self) -> None:
        """Begin a rollout with its first actions."""
        self._initial_state.copy_(self._state)
        self.act(0)

    def act(self, t: int) -> None:
        """Have the actions of step t chosen; returns at once."""
        self._copy_to_device()
        self._t.fill_(t)
        self._act()
        self._cpu_actions.copy_(self._actions, non_blocking=True)
        if self._actions_copied is not None:
            self._actions_copied.record()

    def await_actions(self) -> None:
        """Wait until the actions are on the CPU, and everything queued before them is done."""
        if self._actions_copied is not None:
            self._actions_copied.synchronize()

    def step_games(self, t: int) -> list[EpisodeRecord]:
        """Step the games; returns the episodes that ended."""
        _, rewards, terminated, truncated, infos = self.env.step(self._cpu_actions.numpy())
        dones = terminated | truncated
        self._rewards[t], self._dones[t], self._cpu_episode_starts.numpy()[:] = rewards, dones, dones
        return self._tracker.step(self._rewards[t], terminated, truncated, infos, self._value_of)

    def bootstrap(self) -> None:
        """Have the states after the rollout valued; returns at once."""
        self._copy_to_device()
        self._bootstrap()

    def _copy_to_device(self) -> None:
        """Send what the games show to the GPU."""
        self._observations.copy_(self._cpu_observations, non_blocking=True)
        self._episode_starts.copy_(self._cpu_episode_starts, non_blocking=True)

    @torch.no_grad()
    def _choose_actions(self) -> None:
        """One agent step of the policy, with all that experience keeps of it."""
        with self._policy.computing():
            step = self._policy.act(self._observations, self._state, self._episode_starts, self._random)
        stored = {
            "observations": self._observations,
            "episode_starts": self._episode_starts,
            "actions": step.actions,
            **step.columns,
        }
        for name, row in stored.items():
            self._columns[name].index_copy_(0, self._t, row[None])
        self._actions.copy_(step.actions)
        self._state.copy_(step.state)

    @torch.no_grad()
    def _value_next_states(self) -> None:
        with self._policy.computing():
            self._next_values.copy_(self._policy.bootstrap(self._observations, self._state, self._episode_starts))

    def _value_of(self, observation: Image, lane: int) -> float:
        """Of the last state of an episode that was truncated; waits for the GPU."""
        last = torch.from_numpy(observation).to(self._policy.device)[None]
        not_first = torch.zeros(1, dtype=torch.bool, device=self._policy.device)
        with self._policy.computing():
            return float(self._policy.bootstrap(last, self._state[:, lane : lane + 1], not_first))
