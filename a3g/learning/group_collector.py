"""Collecting `(T, lanes)` of experience on a GPU: it acts for one group of lanes while the CPU steps another's games."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from a3g.config import TrainConfig
from a3g.game.emulators import Image, resolve_emulator
from a3g.game.vector import MarioVectorEnv, lane_seeds
from a3g.learning.cuda_graph import Graphed
from a3g.learning.host_memory import host_zeros
from a3g.learning.model import ActorCritic
from a3g.learning.precision import fresh_autocast
from a3g.learning.rollout import Collector, EpisodeRecord, Rollout
from a3g.reporting.phases import Phase, PhaseClock


def lane_groups(config: TrainConfig, device: torch.device) -> int:
    """In how many groups a worker's lanes shall play: two on a GPU, if they can be halved."""
    # FCEUmm is one console a process, which two environments can't share.
    can_halve = config.lanes % 2 == 0 and resolve_emulator(config.emulator) != "fceumm"
    return 2 if device.type == "cuda" and config.gpu_overlap and can_halve else 1


def make_collector(
    envs: Sequence[MarioVectorEnv],
    model: ActorCritic,
    config: TrainConfig,
    device: torch.device,
    seed: int,
    precision: torch.dtype,
    clock: PhaseClock,
    on_step: Callable[[], None],
) -> Collector | GroupCollector:
    """What plays a worker's lanes, in as many environments as `lane_groups` says."""
    if device.type == "cpu":
        return Collector(envs[0], config.num_steps, config.gamma, device, seed, clock, on_step)
    return GroupCollector(
        model,
        envs,
        config.num_steps,
        config.gamma,
        device,
        seed,
        precision,
        config.gpu_graphs,
        config.gpu_pinned,
        clock,
        on_step,
    )


class GroupCollector:
    """Plays groups of lanes in turn; what it returns is what `Collector` returns, but for the random numbers.

    With two groups the GPU is a step ahead for one while the CPU steps the games of the other. With one group nothing
    overlaps. Everything is queued on one stream, in this order for each group and agent step: its observations go up,
    the network acts, the actions come down. Only then are its games stepped, which write new observations. So memory
    that the GPU reads or writes is never touched by the CPU meanwhile.

    Runs on a GPU do not repeat exactly: kernels add up in an order of their own, and what they compute decides the games.
    """

    def __init__(
        self,
        model: ActorCritic,
        envs: Sequence[MarioVectorEnv],
        num_steps: int,
        gamma: float,
        device: torch.device,
        seed: int,
        precision: torch.dtype = torch.float32,
        graphs: bool = False,
        pinned: bool = False,
        clock: PhaseClock | None = None,
        on_step: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            model: on `device`; its weights may change between rollouts, but not where they lie.
            envs: the groups, see `environment.vector_env_parts`.
            num_steps: T.
            gamma: discount factor, for the value of truncated episodes.
            device: where the rollout's tensors shall be.
            seed: of the choice of actions and the first reset.
            precision: what the network computes in.
            graphs: act by CUDA graphs.
            pinned: let what crosses to and from the GPU lie in page-locked memory.
            clock: told what is emulator and what is acting; waiting for the GPU is acting.
            on_step: called after every step of a group, as a sign of life.
        """
        self._model, self._clock, self._on_step = model, clock or PhaseClock(), on_step
        self._random = torch.Generator(device).manual_seed(seed)
        lanes = sum(env.num_envs for env in envs)
        self._rewards = host_zeros(num_steps, lanes, dtype=torch.float32, pinned=pinned)
        self._dones = host_zeros(num_steps, lanes, dtype=torch.bool, pinned=pinned)
        self._rollout = Rollout.empty(num_steps, lanes, envs[0].options.observation_shape, device)
        self._rollout.initial_state = model.initial_state(lanes)
        seeds = lane_seeds(seed, lanes)
        self._groups: list[_Group] = []
        for env in envs:
            first = sum(group.env.num_envs for group in self._groups)
            part = slice(first, first + env.num_envs)
            env.reset(seed=seeds[part])
            books = self._rewards.numpy()[:, part], self._dones.numpy()[:, part]
            self._groups.append(_Group(model, env, self._rollout, part, books, self._random, gamma, precision, graphs, pinned))

    def state(self) -> dict[str, Tensor]:
        """Everything that the next rollout depends on but the model, as copies on the CPU; call it between rollouts."""
        state = {"random": self._random.get_state()}
        for i, group in enumerate(self._groups):
            state |= {f"group{i}.{name}": tensor for name, tensor in group.state().items()}
        return state

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state` gave, of a collector of the same games; raises as `MarioVectorEnv.load_state_dict`."""
        self._random.set_state(state["random"])
        for i, group in enumerate(self._groups):
            prefix = f"group{i}."
            group.restore({name[len(prefix) :]: each for name, each in state.items() if name.startswith(prefix)})

    @torch.no_grad()
    def collect(self, model: ActorCritic, keep_graph: bool = False) -> Rollout:
        """Play T agent steps in every lane.

        Args:
            model: the one that the collector was made with.
            keep_graph: must be false; a `Collector` on the CPU can keep the encoder's graph.
        """
        assert model is self._model
        assert not keep_graph
        rollout = self._rollout
        rollout.episodes = []
        for group in self._groups:
            group.begin()
        last = len(rollout.actions) - 1
        for t in range(last + 1):
            for group in self._groups:
                group.await_actions()
                self._clock.lap(Phase.ACTING)
                group.step_games(t, rollout.episodes)
                self._clock.lap(Phase.EMULATOR)
                self._on_step()
                if t < last:
                    group.act(t + 1)
                else:
                    group.evaluate()
        # Read by the GPU before the next rollout's first actions come down, hence before the books are written again.
        rollout.rewards.copy_(self._rewards, non_blocking=True)
        rollout.dones.copy_(self._dones, non_blocking=True)
        return rollout


class _Group:
    """Some lanes: their games, and their columns of the rollout."""

    def __init__(
        self,
        model: ActorCritic,
        env: MarioVectorEnv,
        rollout: Rollout,
        lanes: slice,
        books: tuple[NDArray[np.float32], NDArray[np.bool_]],
        random: torch.Generator,
        gamma: float,
        precision: torch.dtype,
        graphs: bool,
        pinned: bool,
    ) -> None:
        """
        Args:
            lanes: the group's columns of the rollout.
            books: rewards float32 and dones bool, (T, lanes of the group) each, on the CPU.
        """
        self.env = env
        self._model, self._random, self._gamma, self._precision = model, random, gamma, precision
        self._rewards, self._dones = books
        self._returns = np.zeros(env.num_envs)
        device = rollout.actions.device
        self._device = device

        # What crosses to and from the GPU, on the CPU's side. The games write their observations there themselves.
        self._seen_there = host_zeros(env.num_envs, *env.options.observation_shape, dtype=torch.uint8, pinned=pinned)
        env.move_observations(self._seen_there.numpy())
        self._resets_there = host_zeros(env.num_envs, dtype=torch.bool, pinned=pinned)
        self._resets_there.fill_(True)
        self._actions_there = host_zeros(env.num_envs, dtype=torch.int64, pinned=pinned)
        self._actions_are_there = torch.cuda.Event() if device.type == "cuda" else None  # type: ignore[no-untyped-call]

        # The same on the GPU, and what stays there: at addresses that do not change, as the graphs need it.
        self._seen = torch.zeros_like(self._seen_there, device=device)
        self._resets = torch.ones(env.num_envs, dtype=torch.bool, device=device)
        self._actions = torch.zeros(env.num_envs, dtype=torch.int64, device=device)
        self._state = model.initial_state(env.num_envs)
        self._t = torch.zeros(1, dtype=torch.int64, device=device)
        self._initial_state = rollout.initial_state[:, lanes]
        self._columns = {name: getattr(rollout, name)[:, lanes] for name in _STORED}
        self._act: Callable[[], None] = self._choose_actions
        self._evaluate: Callable[[], None] = self._value_what_follows
        if graphs:
            self._act = Graphed(self._choose_actions, device, generators=[random], restored=[self._state])
            self._evaluate = Graphed(self._value_what_follows, device)

    def state(self) -> dict[str, Tensor]:
        state = {f"env.{name}": torch.from_numpy(array.copy()) for name, array in self.env.state_dict().items()}
        return {
            **state,
            "recurrent": self._state.cpu().clone(),
            "observations": self._seen_there.clone(),
            "first_steps": self._resets_there.clone(),
            "returns": torch.from_numpy(self._returns.copy()),
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        self.env.load_state_dict({name[4:]: tensor.numpy() for name, tensor in state.items() if name.startswith("env.")})
        self._state.copy_(state["recurrent"])
        self._seen_there.copy_(state["observations"])
        self._resets_there.copy_(state["first_steps"])
        self._returns[:] = state["returns"].numpy()

    def begin(self) -> None:
        """Begin a rollout with its first actions."""
        self._initial_state.copy_(self._state)
        self.act(0)

    def act(self, t: int) -> None:
        """Have the actions of step t chosen; returns at once."""
        self._show()
        self._t.fill_(t)
        self._act()
        self._actions_there.copy_(self._actions, non_blocking=True)
        if self._actions_are_there is not None:
            self._actions_are_there.record()

    def await_actions(self) -> None:
        """Wait until the actions have come down, and everything queued before them is done."""
        if self._actions_are_there is not None:
            self._actions_are_there.synchronize()

    def step_games(self, t: int, episodes: list[EpisodeRecord]) -> None:
        """Step the games; notes finished episodes and bootstraps truncated ones."""
        _, rewards, terminated, truncated, infos = self.env.step(self._actions_there.numpy())
        dones = terminated | truncated
        self._rewards[t], self._dones[t], self._resets_there.numpy()[:] = rewards, dones, dones
        self._returns += rewards
        for lane in np.flatnonzero(dones):
            if truncated[lane]:
                self._rewards[t, lane] += self._gamma * self._value(infos["final_obs"][lane], lane)
            episodes.append(EpisodeRecord.of_lane(infos, lane, float(self._returns[lane])))
            self._returns[lane] = 0.0

    def evaluate(self) -> None:
        """Have the state after the rollout valued; returns at once."""
        self._show()
        self._evaluate()

    def _show(self) -> None:
        """Send up what the games show."""
        self._seen.copy_(self._seen_there, non_blocking=True)
        self._resets.copy_(self._resets_there, non_blocking=True)

    @torch.no_grad()
    def _choose_actions(self) -> None:
        """One agent step of the network: act on what is shown and store all that the learner wants to know."""
        with fresh_autocast(self._device, self._precision):
            logits, values, state = self._model(self._seen[None], self._state, self._resets[None])
        log_probs = torch.log_softmax(logits[0], dim=-1)
        # Of events that happen at these rates, which comes first? torch.multinomial does the same, but asks the CPU
        # whether the probabilities are all right, which can't be recorded.
        waiting_times = torch.empty_like(log_probs).exponential_(generator=self._random)
        actions = (log_probs.exp() / waiting_times).argmax(dim=-1)
        stored = {
            "observations": self._seen,
            "resets": self._resets,
            "actions": actions,
            "log_probs": log_probs.gather(1, actions.unsqueeze(1)).squeeze(1),
            "values": values[0],
        }
        for name, row in stored.items():
            self._columns[name].index_copy_(0, self._t, row[None])
        self._actions.copy_(actions)
        self._state.copy_(state)

    @torch.no_grad()
    def _value_what_follows(self) -> None:
        with fresh_autocast(self._device, self._precision):
            values = self._model(self._seen[None], self._state, self._resets[None])[1]
        self._columns["values"][-1].copy_(values[0])

    def _value(self, observation: Image, lane: int) -> float:
        """Of the last state of an episode that was cut off; waits for the GPU."""
        last = torch.from_numpy(observation).to(self._device)[None, None]
        no_reset = torch.zeros(1, 1, dtype=torch.bool, device=self._device)
        with fresh_autocast(self._device, self._precision):
            return float(self._model(last, self._state[:, lane : lane + 1], no_reset)[1])


_STORED = ("observations", "resets", "actions", "log_probs", "values")
