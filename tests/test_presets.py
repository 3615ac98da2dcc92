"""Every preset trains from its own command, says so in the run's settings, and what it trained can be played."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from a3g.command_line import parse_train
from a3g.commands import eval_command, train_command
from a3g.processes.shared_model import make_optimizer
from tests.running import summary_of

ENV = "SuperMarioBros-6-3-v0"  # has settings of its own
FEW = "--serial --workers 1 --lanes 4 --num-steps 8 --total-steps 32 --no-tensorboard-logger --precision float32"
# What a preset says of itself and these flags do not change.
EXPECTED = {
    "a3g": {"algorithm": "a3c", "network": "impala", "lstm": True, "reward": "a3g"},
    "a3c": {"algorithm": "a3c", "network": "nips", "lstm": True, "optimizer": "RMSprop", "gpu_ids": [-1]},
    "a2c": {
        "algorithm": "a2c",
        "network": "conv4",
        "fc": False,
        "lstm": True,
        "stack": 1,
        "actions": "complex",
        "reward": "gym-bonus",
        "lr": 7e-5,
        "initialisation": "torch",
        "max_grad_norm": 0.5,
    },
    "ppo": {"algorithm": "ppo", "network": "impala", "lstm": True, "hogwild": True, "shared_optimizer": True},
    "quick": {"algorithm": "ppo", "network": "nips", "lstm": False},
    "quick-a3c": {"algorithm": "a3c", "network": "nature", "lstm": False},
    "quick-expert": {"algorithm": "ppo", "network": "map", "observation": "map"},
    "quick-student": {"algorithm": "dagger", "network": "nips", "observation": "pictures"},
    "ddqn": {"algorithm": "dqn", "double": True, "actions": "walk-jump", "reward": "gym"},
    "dqn-per": {"algorithm": "dqn", "double": False, "actions": "simple", "reward": "gym-forward", "priority_alpha": 0.6},
}


@pytest.mark.parametrize("preset", EXPECTED)
def test_a_preset_trains_says_what_it_was_and_its_weights_play(preset: str, tmp_path: Path) -> None:
    folders = ["--log-dir", str(tmp_path), "--save-model-dir", str(tmp_path / "models")]
    command = ["--preset", preset, "--env", ENV, "--run-name", "run", *FEW.split(), *folders]
    assert train_command(command, "main.py") == 0
    folder = tmp_path / "run"
    assert summary_of(folder)["agent_steps"] == 32
    saved = json.loads((folder / "config.json").read_text())
    assert saved["preset"] == preset
    assert saved["num_steps"] == 8, "what stands beside a preset wins"
    assert {name: saved[name] for name in EXPECTED[preset]} == EXPECTED[preset]

    results = tmp_path / "results.json"
    played = ["--env", ENV, "--weights", str(folder), "--max-episode-length", "5", "--json", str(results)]
    assert eval_command(played, "gym_eval.py") == 0
    (episode,) = json.loads(results.read_text())["episodes"]
    assert (episode["stage"], episode["agent_steps"]) == ("6-3", 5)


@pytest.mark.parametrize(
    ("command", "kind", "settings"),
    [
        ("--preset a3c", torch.optim.RMSprop, {"lr": 5e-4, "eps": 1e-5, "alpha": 0.99}),
        ("--preset a3c --optimizer Adam", torch.optim.Adam, {"lr": 5e-4, "eps": 1e-5}),
        ("--preset a2c --env SuperMarioBros-6-3-v0", torch.optim.Adam, {"lr": 7e-5, "eps": 1e-8}),
        ("--preset ppo", torch.optim.Adam, {"lr": 2.5e-4, "eps": 1e-5}),
        ("--optimizer RMSprop", torch.optim.RMSprop, {"lr": 1e-4, "eps": 0.1}),
    ],
)
def test_the_optimizers_of_presets_are_torchs(
    command: str, kind: type[torch.optim.Optimizer], settings: dict[str, float]
) -> None:
    ours, theirs = nn.Parameter(torch.zeros(50)), nn.Parameter(torch.zeros(50))
    optimizers = make_optimizer(ours, parse_train(command.split())), kind([theirs], **settings)
    random = torch.Generator().manual_seed(1)
    for _ in range(5):
        ours.grad = torch.randn(50, generator=random) * 1e-3
        theirs.grad = ours.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    assert theirs.norm() > 0
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-9)
