"""What the pieces of a worker's loop take when each is run alone: the speed that the loop is measured against.

    python -m benchmarks.pieces --network nature --no-lstm --workers 2   # and any other flag of main.py

Prints milliseconds per agent step for the games (with pictures, rules and rewards), for choosing actions and for learning, with
the real environment and algorithm; and the agent steps/s that these three alone would allow. As many processes as
`--workers` says do so at once, nothing else between them: what cores share (memory, caches) is no cost of the loop.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Sequence

import numpy as np
import torch

from a3g.algorithms import make_algorithm
from a3g.command_line import parse_train
from a3g.config import TrainConfig
from a3g.experience.collector import Collector
from a3g.processes.process import compute_on_one_core
from environment import vector_env

SECONDS = 8.0


class Pieces:
    """A worker's pieces, each of which can be run alone."""

    def __init__(self, config: TrainConfig) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.env = vector_env(config.worker_stages(0), config.lanes, config.game_options(), config.emulator, 0, copy=False)
        self.algorithm = make_algorithm(config, torch.device("cpu"))
        self.rollout = Collector(self.algorithm, self.env, config.num_steps, config.gamma, 0).collect()
        self._random = torch.Generator().manual_seed(0)
        self._actions = np.random.default_rng(0).integers(
            config.game_options().num_actions, size=(config.num_steps, config.lanes)
        )

    def emulate(self) -> None:
        for actions in self._actions:
            self.env.step(actions)

    @torch.no_grad()
    def act(self) -> None:
        """Choose the actions of a whole rollout from pictures that are there already."""
        state = self.rollout.initial_state
        with self.algorithm.computing():
            for observations, episode_starts in zip(self.rollout.observations, self.rollout.episode_starts, strict=True):
                state = self.algorithm.act(observations, state, episode_starts, self._random).state

    def learn(self) -> None:
        for _ in self.algorithm.updates(self.rollout):
            pass


def measure(flags: Sequence[str]) -> dict[str, float]:
    """Milliseconds per agent step of each piece, medians over some seconds."""
    compute_on_one_core()
    config = parse_train(["--env", "SuperMarioBros-1-1-v0", "--workers", "1", *flags])
    pieces, samples = Pieces(config), config.num_steps * config.lanes
    milliseconds: dict[str, list[float]] = {"emulate": [], "act": [], "learn": []}
    begun = time.perf_counter()
    while time.perf_counter() - begun < SECONDS or len(milliseconds["learn"]) < 4:
        for name, taken in milliseconds.items():
            begin = time.perf_counter()
            getattr(pieces, name)()
            taken.append((time.perf_counter() - begin) * 1000 / samples)
    pieces.env.close()
    return {name: statistics.median(taken[1:]) for name, taken in milliseconds.items()}


def main() -> None:
    flags = sys.argv[1:]
    processes = parse_train(flags).workers
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        results = pool.map(measure, [flags] * processes, chunksize=1)
    means = {name: statistics.mean(result[name] for result in results) for name in results[0]}
    allowed = sum(1000 / sum(result.values()) for result in results)
    print(json.dumps({"milliseconds_per_agent_step": means, "agent_steps_per_second": allowed}))


if __name__ == "__main__":
    main()
