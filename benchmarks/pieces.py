"""What the pieces of a worker's loop take when each is run alone: the speed that the loop is measured against.

    python benchmarks/pieces.py --network nature --no-lstm   # and any other flag of main.py

Prints milliseconds per agent step for the games (with pictures, rules and rewards), for choosing actions and for learning, with
the real environment, model and learner, on one core; and the agent steps/s that these three alone would allow.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from a3g.config import TrainConfig, parse_train
from a3g.learning.flat import FlatModel
from a3g.learning.learner import Learner
from a3g.learning.model import ActorCritic
from a3g.learning.precision import autocast, resolve_precision
from a3g.learning.rollout import Collector
from environment import vector_env

ROUNDS = 7


class Pieces:
    """A worker's pieces, each of which can be run alone."""

    def __init__(self, config: TrainConfig) -> None:
        torch.manual_seed(config.seed)
        self.config, self.device = config, torch.device("cpu")
        self.precision = resolve_precision(config.precision, self.device)
        self.env = vector_env(config.worker_stages(0), config.lanes, config.game_options(), config.emulator, 0, copy=False)
        self.model = ActorCritic(config.network_spec())
        flat = FlatModel(self.model)
        self.learner = Learner(self.model, flat, config, self.precision)
        self.collector = Collector(self.env, config.num_steps, config.gamma, self.device, 0)
        with autocast(self.device, self.precision):
            self.rollout = self.collector.collect(self.model)
        self._actions = np.random.default_rng(0).integers(
            config.game_options().num_actions, size=(config.num_steps, config.lanes)
        )

    def emulate(self) -> None:
        for actions in self._actions:
            self.env.step(actions)

    def act(self) -> None:
        """Choose the actions of a whole rollout from pictures that are there already."""
        outputs, state = [], self.rollout.initial_state
        self.rollout.outputs = None
        with autocast(self.device, self.precision), torch.set_grad_enabled(self.learner.wants_graph):
            for t in range(self.config.num_steps):
                part = slice(t, t + 1)
                logits, values, state = self.model(self.rollout.observations[part], state, self.rollout.resets[part])
                torch.multinomial(logits[0].detach().softmax(-1), 1)
                outputs.append((logits, values))
        if self.learner.wants_graph:
            self.rollout.outputs = torch.cat([each[0] for each in outputs]), torch.cat([each[1] for each in outputs])

    def learn(self) -> None:
        for _ in self.learner.learn(self.rollout):
            pass


def measure(config: TrainConfig) -> dict[str, float]:
    """Milliseconds per agent step of each piece, medians over ROUNDS."""
    torch.set_num_threads(1)
    pieces, samples = Pieces(config), config.num_steps * config.lanes
    milliseconds: dict[str, list[float]] = {"emulate": [], "act": [], "learn": []}
    for _ in range(ROUNDS + 1):
        for name, taken in milliseconds.items():
            begin = time.perf_counter()
            getattr(pieces, name)()
            taken.append((time.perf_counter() - begin) * 1000 / samples)
    pieces.env.close()
    return {name: statistics.median(taken[1:]) for name, taken in milliseconds.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    flags = list(sys.argv[1:] if arguments is None else arguments)
    result = measure(parse_train(["--env", "SuperMarioBros-1-1-v0", "--workers", "1", *flags]))
    print(json.dumps({**result, "agent_steps_per_second_per_core": 1000 / sum(result.values())}))


if __name__ == "__main__":
    main()
