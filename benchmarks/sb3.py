"""Stable-Baselines3's A2C, PPO and DQN on gym-super-mario-bros, the way their users run them; for comparison only.

Needs `pip install -r benchmarks/requirements.txt`. Eight games in processes of their own on nes-py, the usual wrappers (an
action held for four frames and the last two shown as their maximum, 84 x 84 grey, stack of four), CnnPolicy. A2C's settings
are the library's defaults for Atari (5 steps per rollout, RMSprop), PPO's and DQN's those of RL Baselines3 Zoo for Atari. The
reward is the game package's own.

    python -m benchmarks.sb3 --algorithm a2c --seconds 60

With `--compare` it says how many times faster Stable-Baselines3 becomes on our vector environment (the adapter of
examples/sb3_ppo.py): the same algorithm, settings, actions, rewards and picture size on our games, on theirs in processes of
their own, and on theirs in one process, by turns in one run.

    python -m benchmarks.sb3 --algorithm ppo --compare --seconds 60 --rounds 3
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import statistics
import time
import warnings
from dataclasses import dataclass, replace
from typing import Any, Literal

import cv2
import gymnasium
import numpy as np
import tyro

GAMES = 8
SKIP = 4
MAX_NOOPS = 30
TIMEOUT_AGENT_STEPS = 2000
SETTINGS: dict[str, dict[str, Any]] = {
    "a2c": {"ent_coef": 0.01, "vf_coef": 0.25},
    "ppo": {
        "n_steps": 128,
        "n_epochs": 4,
        "batch_size": 256,
        "learning_rate": 2.5e-4,
        "clip_range": 0.1,
        "vf_coef": 0.5,
        "ent_coef": 0.01,
    },
    # RL Baselines3 Zoo's for Atari: an update for every four agent steps, which are two for a step of eight games.
    "dqn": {
        "learning_rate": 1e-4,
        "buffer_size": 100_000,
        "learning_starts": 1_000,
        "batch_size": 32,
        "train_freq": 1,
        "gradient_steps": 2,
        "target_update_interval": 1_000,
        "exploration_fraction": 0.1,
    },
}


class MarioForSb3(gymnasium.Env[np.ndarray, int]):
    """One stage of gym-super-mario-bros 7 (which speaks old Gym) with the usual wrappers' work done in one class."""

    def __init__(self, world: int, stage: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from gym_super_mario_bros import SuperMarioBrosEnv
            from gym_super_mario_bros.actions import SIMPLE_MOVEMENT
            from nes_py.wrappers import JoypadSpace

            self._game = JoypadSpace(SuperMarioBrosEnv(target=(world, stage)), SIMPLE_MOVEMENT)
        self.observation_space = gymnasium.spaces.Box(0, 255, (84, 84, 1), np.uint8)
        self.action_space = gymnasium.spaces.Discrete(len(SIMPLE_MOVEMENT))
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        screen = self._game.reset()
        for _ in range(int(self.np_random.integers(MAX_NOOPS + 1))):
            screen, *_ = self._game.step(0)
        self._steps = 0
        return self._shrunk(screen), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        total, done, info = 0.0, False, {}
        screens: list[np.ndarray] = []
        for _ in range(SKIP):
            screen, reward, done, info = self._game.step(int(action))
            total += reward
            screens = [*screens[-1:], screen.copy()]
            if done:
                break
        self._steps += 1
        return self._shrunk(np.maximum(*screens) if len(screens) > 1 else screens[0]), total, done, self._out_of_time(), info

    def close(self) -> None:
        self._game.close()

    def _out_of_time(self) -> bool:
        return self._steps >= TIMEOUT_AGENT_STEPS

    def _shrunk(self, screen: np.ndarray) -> np.ndarray:
        grey = cv2.cvtColor(screen, cv2.COLOR_RGB2GRAY)
        return cv2.resize(grey, (84, 84), interpolation=cv2.INTER_AREA)[:, :, None]


def reason_against() -> str:
    """Why Stable-Baselines3 can't be measured here; empty if it can."""
    if importlib.util.find_spec("stable_baselines3") is None:
        return "it is not installed; see benchmarks/requirements.txt"
    game = importlib.metadata.version("gym-super-mario-bros")
    return "" if int(game.partition(".")[0]) < 9 else f"written for gym-super-mario-bros 7, and {game} is installed"


def make_games(games: str, stage: str, seed: int) -> Any:
    """Eight games as a VecEnv: pictures of 84 x 84, the last four of them."""
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecFrameStack

    if games == "a3g":
        from examples.sb3_ppo import MarioVecEnv

        size = {"height": 84, "width": 84, "two_frame_max": True, "noop_max": MAX_NOOPS, "skip_rate": SKIP}
        played = {"actions": "simple", "reward": "gym", "max_episode_length": TIMEOUT_AGENT_STEPS}
        return MarioVecEnv(f"a3g/SuperMarioBros-{stage}-v0", GAMES, **size, **played)
    world, number = map(int, stage.split("-"))
    kind = {"subprocess": SubprocVecEnv, "one-process": DummyVecEnv}[games]
    kwargs = {"world": world, "stage": number}
    return VecFrameStack(make_vec_env(MarioForSb3, GAMES, seed, env_kwargs=kwargs, vec_env_cls=kind), 4)


def make_model(algorithm: str, stage: str, seed: int, games: str = "subprocess") -> Any:
    """A Stable-Baselines3 model on eight games."""
    from stable_baselines3 import A2C, DQN, PPO

    kind = {"a2c": A2C, "ppo": PPO, "dqn": DQN}[algorithm]
    return kind("CnnPolicy", make_games(games, stage, seed), seed=seed, device="auto", **SETTINGS[algorithm])


def clear_rate(model: Any, stage: str, episodes: int, seed: int) -> float:
    """Share of episodes from random starts that the greedy policy clears."""
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecFrameStack

    world, number = map(int, stage.split("-"))
    game = VecFrameStack(make_vec_env(MarioForSb3, 1, seed, env_kwargs={"world": world, "stage": number}), 4)
    cleared, observation = 0, game.reset()
    for _ in range(episodes):
        done = False
        while not done:
            observation, _, dones, infos = game.step(model.predict(observation, deterministic=True)[0])
            done = bool(dones[0])
        cleared += bool(infos[0].get("flag_get"))
    game.close()
    return cleared / episodes


@dataclass(frozen=True)
class Options:
    """Measure how fast Stable-Baselines3 trains."""

    algorithm: Literal["a2c", "ppo", "dqn"] = "a2c"
    stage: str = "1-1"
    seconds: float = 60.0
    """How long, learning included."""
    seed: int = 1
    games: Literal["subprocess", "one-process", "a3g"] = "subprocess"
    """gym-super-mario-bros in processes of their own or in one, or our vector environment."""
    compare: bool = False
    """Measure all three by turns and print how many times faster ours makes it."""
    rounds: int = 3
    """With --compare: how often each is measured."""


def measure(options: Options) -> float:
    """Agent steps per second, from the end of the first rollout and update on, learning included."""
    from stable_baselines3.common.callbacks import BaseCallback

    class Stopwatch(BaseCallback):
        """Begins to count after the first update, stops when the time is up."""

        def __init__(self) -> None:
            super().__init__()
            self.rollouts, self.began, self.first_steps, self.rate = 0, 0.0, 0, 0.0

        def _on_rollout_start(self) -> None:
            if self.num_timesteps < SETTINGS[options.algorithm].get("learning_starts", 0):
                return
            self.rollouts += 1
            if self.rollouts == 2:
                self.began, self.first_steps = time.perf_counter(), self.num_timesteps
            elif self.rollouts > 2:
                self.rate = (self.num_timesteps - self.first_steps) / (time.perf_counter() - self.began)

        def _on_step(self) -> bool:
            return self.rollouts < 3 or time.perf_counter() - self.began < options.seconds

    model, stopwatch = make_model(options.algorithm, options.stage, options.seed, options.games), Stopwatch()
    model.learn(10**9, callback=stopwatch)
    model.get_env().close()
    return stopwatch.rate


def compare(options: Options) -> dict[str, Any]:
    """How many times faster Stable-Baselines3 trains on our games than on theirs: the median over the rounds."""
    ratios: dict[str, list[float]] = {"subprocess": [], "one-process": []}
    for _ in range(options.rounds):
        ours = measure(replace(options, games="a3g"))
        for games, found in ratios.items():
            found.append(ours / measure(replace(options, games=games)))
    return {
        "algorithm": options.algorithm,
        "times_faster_than": {games: round(statistics.median(found), 2) for games, found in ratios.items()},
        "rounds": {games: [round(ratio, 2) for ratio in found] for games, found in ratios.items()},
    }


if __name__ == "__main__":
    chosen = tyro.cli(Options)
    if reason := reason_against():
        raise SystemExit(f"Stable-Baselines3 can't be measured here: {reason}.")
    if chosen.compare:
        print(json.dumps(compare(chosen)))
        raise SystemExit(0)
    print(json.dumps({"algorithm": chosen.algorithm, "agent_steps_per_second": measure(chosen)}))
