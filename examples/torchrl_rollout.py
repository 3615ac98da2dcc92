"""The game in TorchRL: single games by GymEnv, many by GymWrapper: `python examples/torchrl_rollout.py`."""

from __future__ import annotations

import gymnasium
from tensordict import TensorDictBase
from torchrl.envs import GymEnv, GymWrapper, StepCounter, TransformedEnv

import a3g  # registers the environments with Gymnasium


def one_game(agent_steps: int) -> TensorDictBase:
    """A rollout of random actions, with TorchRL's own transforms."""
    env = TransformedEnv(GymEnv("a3g/SuperMarioBros-1-1-v0"), StepCounter())
    env.set_seed(1)
    rollout = env.rollout(agent_steps)
    env.close()
    return rollout


def many_games(agent_steps: int, num_envs: int) -> TensorDictBase:
    """The same in all lanes of the vector environment, which the wrapper takes as one batched environment."""
    env = GymWrapper(gymnasium.make_vec("a3g/SuperMarioBros-1-1-v0", num_envs=num_envs))
    rollout = env.rollout(agent_steps, break_when_any_done=False)
    env.close()
    return rollout


if __name__ == "__main__":
    print(f"a3g {a3g.__version__}")
    print(one_game(agent_steps=50))
    print(many_games(agent_steps=50, num_envs=8))
