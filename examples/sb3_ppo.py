"""Stable-Baselines3's PPO on the fast vector environment: `python examples/sb3_ppo.py --help`.

Needs `pip install "a3g[examples]"`. `MarioVecEnv` is the adapter; it works for every algorithm of Stable-Baselines3.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import tyro
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv

import a3g  # registers the environments with Gymnasium


class MarioVecEnv(VecEnv):
    """`gymnasium.make_vec` as a VecEnv of Stable-Baselines3, in this process.

    Observations uint8 (lanes, stack, height, width) are channels first, as `CnnPolicy` takes them without a wrapper.
    They are copied once a step, which is needed: Stable-Baselines3 stores the last ones after the next step. At an episode's
    end the info has `terminal_observation`, `TimeLimit.truncated` and `episode` (return, length and seconds), so that no
    VecMonitor is needed.
    """

    def __init__(self, env_id: str = "a3g/SuperMarioBros-1-1-v0", num_envs: int = 16, **options: Any) -> None:
        """
        Args:
            env_id: a name in Gymnasium's registry.
            num_envs: lanes.
            options: further ones of `gymnasium.make_vec`, such as `emulator`, `actions` and `stages`.
        """
        self.envs = gymnasium.make_vec(env_id, num_envs=num_envs, autoreset_mode="SameStep", **options)
        self.render_mode = self.envs.render_mode
        super().__init__(num_envs, self.envs.single_observation_space, self.envs.single_action_space)
        self._actions = np.zeros(num_envs, np.int64)
        self._returns = np.zeros(num_envs)
        self._lengths = np.zeros(num_envs, np.int64)
        self._began = time.time()

    def reset(self) -> np.ndarray:
        # VecEnv.seed() gives the seeds for the next reset, None for lanes that keep their randomness.
        observations, infos = self.envs.reset(seed=list(self._seeds))
        self._reset_seeds()
        self._reset_options()
        self._returns[:] = self._lengths[:] = 0
        self.reset_infos = self._rows(infos)
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        observations, rewards, terminated, truncated, infos = self.envs.step(self._actions)
        self._returns += rewards
        self._lengths += 1
        dones = terminated | truncated
        # The plain keys of a lane whose episode has ended are the new episode's.
        final_observations, final_infos = infos.pop("final_obs", None), infos.pop("final_info", None)
        rows = self._rows(infos)
        for lane in np.flatnonzero(dones).tolist():
            rows[lane] = {
                **{name: values[lane] for name, values in final_infos.items() if name[0] != "_"},
                "terminal_observation": final_observations[lane],
                "TimeLimit.truncated": bool(truncated[lane] and not terminated[lane]),
                "episode": {
                    "r": float(self._returns[lane]),
                    "l": int(self._lengths[lane]),
                    "t": round(time.time() - self._began, 6),
                },
            }
        self._returns[dones] = self._lengths[dones] = 0
        return observations, rewards, dones, rows

    @staticmethod
    def _rows(infos: dict[str, Any]) -> list[dict[str, Any]]:
        """Gymnasium's arrays of infos as a dict for each lane; whole columns at once, which is quicker than lane by lane."""
        names = [name for name in infos if name[0] != "_"]
        return [dict(zip(names, row, strict=True)) for row in zip(*(infos[name].tolist() for name in names), strict=True)]

    def close(self) -> None:
        self.envs.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        pictures: Any = self.envs.render()
        return pictures or [None] * self.num_envs

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        value = getattr(self.envs, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise NotImplementedError("The games share one environment: give options to MarioVecEnv instead.")

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        raise NotImplementedError("The games share one environment: call methods of MarioVecEnv.envs instead.")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        # Returns and lengths of episodes are in the infos, as the Monitor wrapper puts them there.
        is_monitor = wrapper_class.__name__ == "Monitor"
        return [is_monitor for _ in self._get_indices(indices)]


@dataclass(frozen=True)
class Options:
    """Train PPO of Stable-Baselines3 on one stage."""

    env_id: str = "a3g/SuperMarioBros-1-1-v0"
    num_envs: int = 16
    total_steps: int = 1_000_000
    """Agent steps, summed over the games."""
    seed: int = 1
    save: str = ""
    """File for the model; empty: it is not saved."""


def train(options: Options) -> PPO:
    """Train, say the mean return of the last hundred episodes, and hand over the model."""
    envs = MarioVecEnv(options.env_id, options.num_envs)
    model = PPO(
        "CnnPolicy",
        envs,
        n_steps=128,
        batch_size=256,
        n_epochs=4,
        learning_rate=2.5e-4,
        gamma=0.9,
        gae_lambda=0.95,
        ent_coef=0.01,
        clip_range=0.2,
        seed=options.seed,
        verbose=1,
    )
    model.learn(options.total_steps)
    if options.save:
        model.save(options.save)
    envs.close()
    return model


if __name__ == "__main__":
    print(f"a3g {a3g.__version__}")
    train(tyro.cli(Options))
