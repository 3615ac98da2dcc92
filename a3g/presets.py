"""Named sets of values for the training options."""

from __future__ import annotations

from typing import Any

from a3g.errors import UserError

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
# What the two deep Q-learners have in common: the originals' network and Adam. Batches are four times as large as theirs and
# as much rarer, which takes half the time for as many samples. Pictures are 80 x 80, cropped, as everywhere here (theirs: 84 x
# 84).
_DQN = {
    "lstm": False,
    "network": "nature",
    "hidden_size": 512,
    "lr": 2.5e-4,
    "adam_eps": 1e-8,
    "num_steps": 8,
    "batch_size": 128,
    "replay_size": 100_000,
    "keep_checkpoints": 2,  # each holds all replays
}
PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "a3g": ("A3G with the network and settings of the original A3G, many lanes per worker", {}),
    "original-a3g": (
        "the original A3G (https://github.com/dgriff777/SuperMarioRL) as it is: one game per worker, float32, nes-py",
        {"lanes": 1, "precision": "float32", "emulator": "nes-py"},
    ),
    "quick": (
        "what clears a single stage soonest on few cores: small network, clipped objective",
        {**_QUICK, "network": "nips", "hidden_size": 256, "algorithm": "ppo", "num_steps": 64, "lr": 5e-4},
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
    # PyTorch's tutorial "Train a Mario-playing RL agent". There epsilon goes down to 0.1 within 9.2 million agent steps, the
    # target network is a copy after every 10,000, and learning begins after 10,000; here all that is sooner.
    "ddqn": (
        "double DQN as in PyTorch's tutorial on Mario: Nature network, uniform replay, two networks",
        {
            **_DQN,
            "algorithm": "dqn",
            "actions": "right",
            "reward": "gym",
            "gamma": 0.9,
            "update_interval": 12,
            "learning_starts": 5_000,
            "target_interval": 250,
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
            "gamma": 0.99,
            "update_interval": 16,
            "learning_starts": 2_000,
            "target_interval": 500,
            "priority_alpha": 0.6,
            "priority_beta": 0.4,
            "epsilon_end": 0.01,
            "epsilon_steps": 60_000,
            "epsilon_decay": "exponential",
            "lr_decay": 0.99,
            "lr_decay_steps": 10_000,
        },
    ),
    "quick-a3c": (
        "for the same, A3G's own loss: a larger network, many small updates",
        {**_QUICK, "network": "nature", "algorithm": "a3c", "num_steps": 5, "lr": 5e-4},
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
