"""Collecting `(T, lanes)` of experience in which an expert, at every step, says what it would do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from a3g.experience.collector import Collector
from a3g.experience.episodes import EpisodeRecord
from a3g.experience.rollout import Policy, Step
from a3g.game.map_observation import write_maps
from a3g.game.native_vector import NativeVectorEnv
from a3g.game.options import MAP_SHAPE
from a3g.game.packing import pack_values, unpack_values
from a3g.reporting.phases import PhaseClock

Expert = Callable[[NDArray[np.uint8]], Tensor]
"""Log-probabilities of the actions, float32 (lanes, actions) on the CPU, for maps uint8 (lanes, *MAP_SHAPE)."""

# The expert plays the beginning of this share of episodes, for up to so many agent steps.
_LED_SHARE, _MOST_LED = 0.5, 240
# It also takes over for so many agent steps where the policy makes no new ground of some pixels for so many.
_STANDSTILL, _LEAST_GROUND, _HELP = 40, 4, 40


class ExpertCollector(Collector):
    """The policy plays, and the expert at times in its place, so that all parts of a stage are seen.

    Only episodes that the policy played alone are reported.
    """

    def __init__(
        self,
        policy: Policy,
        env: NativeVectorEnv,
        expert: Expert,
        num_steps: int,
        gamma: float,
        seed: int,
        clock: PhaseClock | None = None,
        on_step: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            env: shows pictures.
            expert: says what it would do.
            policy, num_steps, gamma, seed, clock, on_step: see `Collector`; the seed is also that of when the expert plays.
        """
        super().__init__(policy, env, num_steps, gamma, seed, clock, on_step)
        self._native, self._expert = env, expert
        lanes = env.num_envs
        self._rng = np.random.default_rng([seed, 1])
        self._maps = np.zeros((lanes, *MAP_SHAPE), np.uint8)
        for name in ("log_probs", "expert_log_probs"):
            size = num_steps, lanes, env.options.num_actions
            self._rollout.columns[name] = torch.zeros(size, device=policy.device)
        self._led, self._was_led = np.zeros(lanes, np.int64), np.zeros(lanes, np.int64)
        """Agent steps that the expert is still to play, and 1 if it has played in the episode."""
        self._furthest, self._standing = np.zeros(lanes, np.int64), np.zeros(lanes, np.int64)
        self._begin(np.ones(lanes, np.bool_))

    def _begin(self, lanes: NDArray[np.bool_]) -> None:
        """Decide how the episodes that begin in some lanes are to be played."""
        number = len(lanes)
        led = np.where(self._rng.random(number) < _LED_SHARE, self._rng.integers(1, _MOST_LED + 1, number), 0)
        self._led = np.where(lanes, led, self._led)
        self._was_led = np.where(lanes, led > 0, self._was_led)
        self._furthest[lanes] = self._standing[lanes] = 0

    def _decide(self, observations: Tensor, episode_starts: Tensor, t: int) -> Step:
        step = super()._decide(observations, episode_starts, t)
        write_maps(self._native.ram, self._maps)
        log_probs = self._expert(self._maps)
        self._rollout.columns["expert_log_probs"][t] = log_probs.to(self._policy.device)
        if not self._led.any():
            return step
        random = torch.from_numpy(self._rng.random((len(log_probs), 1), np.float32))
        drawn = (log_probs.exp().cumsum(-1) <= random).sum(-1).clamp_max(log_probs.shape[1] - 1)
        led = torch.from_numpy(self._led > 0).to(self._policy.device)
        self._led = np.maximum(self._led - 1, 0)
        return step._replace(actions=torch.where(led, drawn.to(self._policy.device), step.actions))

    def _after_step(self, ended: list[EpisodeRecord], t: int, infos: dict[str, Any]) -> list[EpisodeRecord]:
        dones = self._dones[t]
        alone = [record for record, lane in zip(ended, np.flatnonzero(dones), strict=True) if not self._was_led[lane]]
        progress = infos["progress"]
        onward = progress > self._furthest + _LEAST_GROUND
        self._furthest = np.where(onward, progress, self._furthest)
        self._standing = np.where(onward | (self._led > 0), 0, self._standing + 1)
        stuck = (self._standing > _STANDSTILL) & ~dones
        self._led[stuck], self._was_led[stuck], self._standing[stuck] = _HELP, 1, 0
        self._begin(dones)
        return alone

    def state_dict(self) -> dict[str, Tensor]:
        arrays = {**pack_values("led_random", self._rng.bit_generator.state), "led": np.stack(self._counts())}
        return {**super().state_dict(), **{name: torch.from_numpy(array.copy()) for name, array in arrays.items()}}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        super().load_state_dict(state)
        self._rng.bit_generator.state = unpack_values("led_random", {"led_random": state["led_random"].numpy()})
        for array, loaded in zip(self._counts(), state["led"].numpy(), strict=True):
            array[:] = loaded

    def _counts(self) -> list[NDArray[np.int64]]:
        return [self._led, self._was_led, self._furthest, self._standing]
