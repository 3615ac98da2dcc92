"""The game in TorchRL, a single one and many as a batch: `python examples/torchrl_rollout.py`."""

from __future__ import annotations

from tensordict import TensorDictBase
from torchrl.envs import GymEnv, SerialEnv, StepCounter, TransformedEnv

import a3g  # registers the environments with Gymnasium


def one_game(agent_steps: int) -> TensorDictBase:
    """A rollout of random actions, with TorchRL's own transforms."""
    env = TransformedEnv(GymEnv("a3g/SuperMarioBros-1-1-v0"), StepCounter())
    env.set_seed(1)
    rollout = env.rollout(agent_steps)
    env.close()
    return rollout


def many_games(agent_steps: int, num_envs: int) -> TensorDictBase:
    """The same in many games in this process, as one batched environment; `ParallelEnv` gives each game a process."""
    env = SerialEnv(num_envs, lambda: GymEnv("a3g/SuperMarioBros-1-1-v0"))
    rollout = env.rollout(agent_steps, break_when_any_done=False)
    env.close()
    return rollout


if __name__ == "__main__":
    print(f"a3g {a3g.__version__}")
    print(one_game(agent_steps=50))
    print(many_games(agent_steps=50, num_envs=8))
