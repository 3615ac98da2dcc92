"""Small algorithms and random experience, for the tests of what is collected and learned."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from a3g.algorithms import algorithm_class
from a3g.algorithms.actor_critic import ActorCriticAlgorithm
from a3g.config import TrainConfig
from a3g.experience.rollout import Rollout
from a3g.networks.actor_critic import ActorCritic
from a3g.networks.pixel_network import NetworkSpec

CPU = torch.device("cpu")
SHAPE, NUM_ACTIONS = (2, 20, 20), 5


def make_small(config: TrainConfig, device: torch.device = CPU) -> Any:
    """The algorithm of the settings with a network for small pictures; always with the same weights."""
    kind: type[Any] = algorithm_class(config.algorithm)

    class Small(kind):  # type: ignore[misc]
        @classmethod
        def build_model(cls, spec: NetworkSpec) -> ActorCritic:
            return ActorCritic(replace(spec, observation_shape=SHAPE, num_actions=NUM_ACTIONS))

    torch.manual_seed(1)
    return Small(config, device)


def make_rollout(algorithm: ActorCriticAlgorithm, seed: int = 0) -> Rollout:
    """Random experience that looks like what a collector hands over, for an algorithm of `make_small`."""
    random = torch.Generator().manual_seed(seed)
    steps, lanes, device = algorithm.config.num_steps, algorithm.config.lanes, algorithm.device
    dones = torch.rand(steps, lanes, generator=random) < 0.1
    tensors = {
        "observations": torch.randint(0, 256, (steps, lanes, *SHAPE), dtype=torch.uint8, generator=random),
        "actions": torch.randint(0, NUM_ACTIONS, (steps, lanes), generator=random),
        "rewards": torch.randn(steps, lanes, generator=random),
        "dones": dones,
        "episode_starts": torch.cat((torch.rand(1, lanes, generator=random) < 0.5, dones[:-1])),
        "next_values": torch.randn(lanes, generator=random),
        "initial_state": torch.randn(algorithm.initial_state(lanes).shape, generator=random),
    }
    columns = {
        "log_probs": -1.6 + 0.2 * torch.randn(steps, lanes, generator=random),
        "values": torch.randn(steps, lanes, generator=random),
    }
    return Rollout(
        **{name: tensor.to(device) for name, tensor in tensors.items()},
        columns={name: tensor.to(device) for name, tensor in columns.items()},
        episodes=[],
    )


def tensors_of(rollout: Rollout) -> dict[str, Tensor]:
    """All of a rollout's tensors by their names, columns too."""
    values = {name: getattr(rollout, name) for name in Rollout.__slots__}
    return {**{name: value for name, value in values.items() if isinstance(value, Tensor)}, **rollout.columns}


def on_cpu(rollout: Rollout) -> Rollout:
    """A copy on the CPU: collectors use their tensors again."""
    tensors = {name: tensor.to(CPU, copy=True) for name, tensor in tensors_of(rollout).items()}
    columns = {name: tensors.pop(name) for name in rollout.columns}
    return Rollout(**tensors, columns=columns, episodes=copy(rollout.episodes))
