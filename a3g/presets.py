"""Named sets of values for the training options."""

from __future__ import annotations

from pathlib import Path
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
# What those for all stages have in common: all is practised that is not mastered, with sticky actions, and tested with them: a
# policy known by heart does not pass.
_ALL_STAGES = {
    **_QUICK,
    "gamma": 0.96,
    "starts": "demonstrations",
    "stage_sampling": "adaptive",
    "retry_share": 0.2,
    "sticky_actions_max": 0.2,
    "num_steps": 32,
    "lr": 5e-4,
    "test_episodes": 10,
    "test_sticky_actions": 0.1,
    "test_interval": 600.0,
    "average_steps": 1_000_000,
}
# What experts have in common: maps, and a folder of their own for the weights, which play nothing that shows pictures.
_EXPERT = {
    "observation": "map",
    "network": "map",
    "hidden_size": 256,
    "algorithm": "ppo",
    "epochs": 3,
    "save_model_dir": Path("trained_models/experts"),
}
# What the two deep Q-learners have in common: the originals' network and Adam. Batches are four times as large as theirs and
# much rarer: on a few cores learning takes nearly all of the time. Pictures are 80 x 80, cropped, as everywhere here
# (theirs: 84 x 84).
_DQN = {
    "lstm": False,
    "fc": True,
    "network": "nature",
    "hidden_size": 512,
    "lr": 5e-4,
    "adam_eps": 1.5e-4,
    "num_steps": 8,
    "n_step": 3,
    "batch_size": 128,
    "update_interval": 48,
    "replay_size": 100_000,
    "keep_checkpoints": 2,  # each holds all replays
}
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
            "lstm": True,
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
    "quick-expert": (
        "as quick, from a map instead of pictures: clears a stage in a fraction of the time, to teach quick-student",
        {
            **_QUICK,
            **_EXPERT,
            "entropy_coef": 0.006,
            "lanes": 64,
            "num_steps": 16,
            "lr": 7e-4,
            "retry_share": 0.2,
            "sticky_actions_max": 0.2,
            "test_sticky_actions": 0.1,
        },
    ),
    "quick-student": (
        "a single stage from pictures: learns to do as quick-expert does, which --expert names",
        {
            **_QUICK,
            "network": "nips",
            "hidden_size": 256,
            "algorithm": "dagger",
            "value_coef": 0.02,
            "num_steps": 16,
            "lanes": 64,
            "lr": 7e-4,
            "retry_share": 0.2,
            "sticky_actions_max": 0.2,
            "test_sticky_actions": 0.1,
            "average_steps": 50_000,
            "show_buttons": True,
        },
    ),
    "expert": (
        "for all 32 stages: sees a map instead of pictures and learns several times as fast, to teach others",
        {
            **_ALL_STAGES,
            **_EXPERT,
            "entropy_coef": 0.004,
            "lanes": 128,
            "lr": 3e-4,
        },
    ),
    "all-stages": (
        "one model for all 32 stages: learns from pictures to do as the expert does",
        {
            **_ALL_STAGES,
            "starts": "stage",  # the expert leads it to later parts; what it does from the start is what counts
            "network": "nips",
            "hidden_size": 512,
            "algorithm": "dagger",
            "lanes": 64,
            "value_coef": 0.02,
            "show_buttons": True,
        },
    ),
    "all-stages-ppo": (
        "for the same without an expert: PPO from pictures, a curriculum along demonstrations, retries before deaths",
        {**_ALL_STAGES, "network": "nips", "hidden_size": 512, "algorithm": "ppo", "learn_share": 0.4, "lanes": 32},
    ),
    "all-stages-imitation": (
        "for the same without an expert: imitates demonstrations, is shown a way on by search where it fails",
        {**_ALL_STAGES, "network": "nips", "hidden_size": 512, "algorithm": "imitation", "lanes": 32, "taught_steps": 16},
    ),
    # PyTorch's tutorial "Train a Mario-playing RL agent". There epsilon goes down to 0.1 within 9.2 million agent steps, the
    # target network is a copy after every 10,000, and learning begins after 10,000; here all that is sooner.
    "ddqn": (
        "double DQN as in PyTorch's tutorial on Mario: Nature network, uniform replay, two networks",
        {
            **_DQN,
            "algorithm": "dqn",
            "actions": "walk-jump",
            "reward": "gym",
            "reward_scale": 10.0,
            "gamma": 0.9,
            "learning_starts": 5_000,
            "target_interval": 128,
            "epsilon_end": 0.1,
            "epsilon_steps": 60_000,
            "epsilon_decay": "exponential",
        },
    ),
    # https://github.com/willierhart/super-mario-dqn. There the replay holds 10,000 steps, epsilon is at 0.01 after 4,600, the
    # learning rate is at a third after 100,000, and the importance weights' exponent stays.
    "dqn-per": (
        "DQN with prioritised replay as in willierhart/super-mario-dqn: importance weights, a falling learning rate",
        {
            **_DQN,
            "algorithm": "dqn",
            "double": False,
            "actions": "simple",
            "reward": "gym-forward",
            "gamma": 0.99,
            "learning_starts": 2_000,
            "target_interval": 160,
            "priority_alpha": 0.6,
            "priority_beta": 0.4,
            "epsilon_end": 0.01,
            "epsilon_steps": 60_000,
            "epsilon_decay": "exponential",
            "lr_decay": 0.99,
            "lr_decay_steps": 10_000,
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
