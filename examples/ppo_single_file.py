"""PPO in one file, to be read from top to bottom and changed: `python examples/ppo_single_file.py --help`.

Proximal policy optimisation (Schulman et al. 2017, https://arxiv.org/abs/1707.06347) with the Nature network (Mnih et al.
2015) on `gymnasium.make_vec`. `main.py --algorithm ppo` is faster and has more; nothing of it is used here but the game.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

import gymnasium
import numpy as np
import torch
import tyro
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.nn import functional as F

import a3g  # registers the environments with Gymnasium


@dataclass(frozen=True)
class Options:
    """Train PPO on one stage."""

    env_id: str = "a3g/SuperMarioBros-1-1-v0"
    num_envs: int = 16
    total_steps: int = 1_000_000
    """Agent steps, summed over the games."""
    num_steps: int = 64
    """Agent steps per rollout in every game."""
    epochs: int = 4
    """Passes over a rollout."""
    minibatches: int = 4
    """Updates per pass."""
    lr: float = 2.5e-4
    """Learning rate of Adam."""
    gamma: float = 0.9
    """Discount factor."""
    gae_lambda: float = 0.95
    """Weight of longer returns in the advantages (Schulman et al. 2016, https://arxiv.org/abs/1506.02438)."""
    clip_range: float = 0.2
    """How far a probability ratio may move from 1 before it stops paying."""
    entropy_coef: float = 0.01
    value_coef: float = 0.5
    max_grad_norm: float = 0.5
    seed: int = 1
    device: str = "cuda" if torch.cuda.is_available() else "cpu"


def orthogonal(layer: nn.Linear | nn.Conv2d, gain: float = 2**0.5) -> nn.Module:
    nn.init.orthogonal_(layer.weight, gain)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


class Agent(nn.Module):
    """Policy and value function on one encoder; takes uint8 (batch, 4, 80, 80)."""

    def __init__(self, stack: int, num_actions: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            orthogonal(nn.Conv2d(stack, 32, 8, stride=4)),
            nn.ReLU(),
            orthogonal(nn.Conv2d(32, 64, 4, stride=2)),
            nn.ReLU(),
            orthogonal(nn.Conv2d(64, 64, 3)),
            nn.ReLU(),
            nn.Flatten(),
            orthogonal(nn.Linear(64 * 6 * 6, 512)),
            nn.ReLU(),
        )
        self.policy = orthogonal(nn.Linear(512, num_actions), 0.01)
        self.value = orthogonal(nn.Linear(512, 1), 1.0)

    def forward(self, observations: Tensor) -> tuple[Categorical, Tensor]:
        features = self.encoder(observations.float() / 255.0)
        return Categorical(logits=self.policy(features)), self.value(features).squeeze(-1)


def train(options: Options) -> list[float]:
    """Train; returns the mean episode return after each update, as far as episodes have ended."""
    torch.manual_seed(options.seed)
    device = torch.device(options.device)
    envs = gymnasium.make_vec(options.env_id, num_envs=options.num_envs)
    assert isinstance(envs.single_observation_space, gymnasium.spaces.Box)
    stack = envs.single_observation_space.shape[0]
    agent = Agent(stack, int(envs.single_action_space.n)).to(device)
    optimizer = torch.optim.Adam(agent.parameters(), lr=options.lr, eps=1e-5)

    # -- what a rollout holds; row t is before step t
    shape = (options.num_steps, options.num_envs)
    observations = torch.zeros((*shape, *envs.single_observation_space.shape), dtype=torch.uint8, device=device)
    actions = torch.zeros(shape, dtype=torch.int64, device=device)
    log_probs, values, rewards, next_values, ends = (torch.zeros(shape, device=device) for _ in range(5))

    returns, finished = np.zeros(options.num_envs), deque[float](maxlen=100)
    curve: list[float] = []
    began, agent_steps = time.perf_counter(), 0
    newest = torch.as_tensor(envs.reset(seed=options.seed)[0], device=device)
    while agent_steps < options.total_steps:
        # -- play
        for t in range(options.num_steps):
            observations[t] = newest
            with torch.no_grad():
                policy, values[t] = agent(newest)
                actions[t] = policy.sample()
                log_probs[t] = policy.log_prob(actions[t])
            played, reward, terminated, truncated, infos = envs.step(actions[t].cpu().numpy())
            rewards[t] = torch.as_tensor(reward, device=device)
            ends[t] = torch.as_tensor(terminated | truncated, device=device)
            newest = torch.as_tensor(played, device=device)
            # An episode that was cut off, not ended by the game, goes on being worth something: the value of its last picture.
            next_values[t] = 0.0
            for lane in np.flatnonzero(truncated & ~terminated).tolist():
                last = torch.as_tensor(infos["final_obs"][lane], device=device)
                with torch.no_grad():
                    next_values[t, lane] = agent(last[None])[1][0]
            returns += reward
            finished.extend(returns[terminated | truncated].tolist())
            returns[terminated | truncated] = 0.0
        agent_steps += options.num_steps * options.num_envs

        # -- advantages, backwards: A_t = delta_t + gamma * lambda * A_{t+1}, delta_t = r_t + gamma * V_{t+1} - V_t
        with torch.no_grad():
            following = agent(newest)[1]
        advantages, advantage = torch.zeros_like(rewards), torch.zeros(options.num_envs, device=device)
        for t in reversed(range(options.num_steps)):
            goes_on = 1.0 - ends[t]
            delta = rewards[t] + options.gamma * (goes_on * following + next_values[t]) - values[t]
            advantage = delta + options.gamma * options.gae_lambda * goes_on * advantage
            advantages[t], following = advantage, values[t]
        targets = advantages + values

        # -- learn
        batch = tuple(each.flatten(0, 1) for each in (observations, actions, log_probs, advantages, targets))
        for _ in range(options.epochs):
            for chosen in torch.randperm(len(batch[1]), device=device).chunk(options.minibatches):
                seen, action, old_log_prob, advantage, target = (each[chosen] for each in batch)
                policy, value = agent(seen)
                ratio = (policy.log_prob(action) - old_log_prob).exp()
                normalised = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                clipped = ratio.clamp(1 - options.clip_range, 1 + options.clip_range)
                policy_loss = -torch.min(ratio * normalised, clipped * normalised).mean()
                value_loss = F.mse_loss(value, target)
                loss = policy_loss + options.value_coef * value_loss - options.entropy_coef * policy.entropy().mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), options.max_grad_norm)
                optimizer.step()

        if finished:
            curve.append(float(np.mean(finished)))
            rate = agent_steps / (time.perf_counter() - began)
            print(f"{agent_steps:>9,} agent steps  {rate:6,.0f} agent steps/s  mean return {curve[-1]:7.2f}")
    envs.close()
    return curve


if __name__ == "__main__":
    print(f"a3g {a3g.__version__}")
    train(tyro.cli(Options))
