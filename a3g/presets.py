"""Named sets of values for the training options."""

from __future__ import annotations

from typing import Any

from a3g.errors import UserError
from a3g.stage_settings import DEFAULT, settings_of_stage

# What the two presets for one stage on few cores have in common.
_QUICK = {
    "lstm": False,
    "adam_eps": 1e-5,
    "gamma": 0.9,
    "tau": 0.95,
    "max_grad_norm": 0.5,
}
# What those for all stages have in common: tests with sticky actions, which a policy known by heart does not pass.
_TESTS_OF_ALL_STAGES = {"test_episodes": 10, "test_sticky_actions": 0.1, "test_interval": 600.0}
PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "a3g": ("A3G with the network and settings of the original A3G, many lanes per worker", {}),
    "original-a3g": (
        "the original A3G (https://github.com/dgriff777/SuperMarioRL) as it is: one game per worker, float32, nes-py",
        {"lanes": 1, "precision": "float32", "emulator": "nes-py"},
    ),
    "a3c": (
        "A3C as published: no GPU, a small network with an LSTM, shared RMSprop (or --optimizer Adam, shared as well)",
        {
            "network": "nips",
            "hidden_size": 256,
            "optimizer": "RMSprop",
            "rmsprop_eps": 1e-5,
            "adam_eps": 1e-5,
            "lr": 5e-4,
            "gamma": 0.9,
            "num_steps": 5,
            "max_grad_norm": 0.5,
            "gpu_ids": (-1,),
        },
    ),
    "a2c": (
        "A2C of https://github.com/CVHvn/Mario_A2C_A3C: one synchronous learner with an LSTM; each stage has its settings",
        {
            "algorithm": "a2c",
            "workers": 1,
            "network": "conv4",
            "fc": False,
            "stack": 1,
            "actions": "complex",
            "reward": "gym-bonus",
            "max_grad_norm": 0.5,
            **DEFAULT.values(),
        },
    ),
    "ppo": (
        "PPO with the original A3G's network, LSTM included, its gradients applied without locks as in A3G",
        {
            "algorithm": "ppo",
            "num_steps": 64,
            "gamma": 0.9,
            "tau": 0.95,
            "lr": 2.5e-4,
            "adam_eps": 1e-5,
            "max_grad_norm": 0.5,
        },
    ),
    "quick": (
        "what clears a single stage soonest on few cores: small network, clipped objective",
        {**_QUICK, "network": "nips", "hidden_size": 256, "algorithm": "ppo", "num_steps": 64, "lr": 5e-4},
    ),
    "quick-a3c": (
        "as quick, with A3G's own loss: a larger network, many small updates",
        {**_QUICK, "network": "nature", "algorithm": "a3c", "num_steps": 5, "lr": 5e-4},
    ),
    "all-stages": (
        "one model for all 32 stages: imitates demonstrations, plays with sticky actions, is shown a way on where it fails",
        {
            **_QUICK,
            "network": "nips",
            "hidden_size": 512,
            "algorithm": "imitation",
            "lanes": 32,
            "num_steps": 32,
            "gamma": 0.95,
            "lr": 5e-4,
            "taught_steps": 16,
            "sticky_actions_max": 0.2,
            **_TESTS_OF_ALL_STAGES,
        },
    ),
    "all-stages-ppo": (
        "to go on from all-stages with PPO: a curriculum along demonstrations, sticky actions, retries before deaths",
        {
            **_QUICK,
            "network": "nips",
            "hidden_size": 512,
            "algorithm": "ppo",
            "lanes": 32,
            "num_steps": 32,
            "gamma": 0.95,
            "lr": 4e-4,
            "learn_share": 0.4,
            "train_stages": True,
            "starts": "demonstrations",
            "stage_sampling": "adaptive",
            "retry_share": 0.3,
            "sticky_actions_max": 0.25,
            **_TESTS_OF_ALL_STAGES,
        },
    ),
}

# Names that presets had before.
ALIASES = {"seed": "original-a3g"}


def preset_name(name: str) -> str:
    """The name that a preset has now.

    Raises:
        UserError: if there is no such preset.
    """
    name = ALIASES.get(name, name)
    if name not in PRESETS:
        raise UserError(f"Unknown preset {name!r}: choose one of {', '.join(PRESETS)}.")
    return name


def preset_values(name: str, env: str) -> dict[str, Any]:
    """The option values of a preset for what is played; those of `a2c` differ from stage to stage.

    Raises:
        UserError: if there is no such preset or environment.
    """
    values = PRESETS[preset_name(name)][1]
    return {**values, **settings_of_stage(env).values()} if name == "a2c" else values
