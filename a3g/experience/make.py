"""Which collector a worker plays with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from a3g.config import TrainConfig
from a3g.experience.collector import Collector
from a3g.experience.double_buffered_collector import DoubleBufferedCollector
from a3g.experience.rollout import Policy, Rollout
from a3g.game.emulators import emulator_class, resolve_emulator
from a3g.game.make import vector_env_parts
from a3g.reporting.phases import PhaseClock


class AnyCollector(Protocol):
    """What plays a worker's lanes."""

    def collect(self) -> Rollout:
        """Play `num_steps` agent steps in every lane."""

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that the next rollout depends on but the network, as copies on the CPU."""

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state_dict` gave."""

    def close(self) -> None:
        """End the games."""


def lane_groups(config: TrainConfig, device: torch.device) -> int:
    """In how many groups a worker's lanes shall play: two on a GPU, if they can be halved."""
    # Each half is an environment with an emulator of its own.
    can_halve = config.lanes % 2 == 0 and not emulator_class(resolve_emulator(config.emulator)).one_per_process
    return 2 if device.type == "cuda" and config.gpu_overlap and can_halve else 1


def make_collector(
    config: TrainConfig, worker: int, policy: Policy, seed: int, clock: PhaseClock, on_step: Callable[[], None]
) -> AnyCollector:
    """The games of a worker, and what plays them with a policy on the policy's device."""
    envs = vector_env_parts(
        config.worker_stages(worker),
        config.lanes,
        lane_groups(config, policy.device),
        config.game_options(),
        config.emulator,
        seed,
        copy=False,
    )
    if policy.device.type == "cpu":
        return Collector(policy, envs[0], config.num_steps, config.gamma, seed, clock, on_step)
    return DoubleBufferedCollector(
        policy, envs, config.num_steps, config.gamma, seed, config.gpu_graphs, config.gpu_pinned, clock, on_step
    )
