"""Everything that the processes of a run share, in shared memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from a3g.config import TrainConfig
from a3g.game.emulators import resolve_emulator
from a3g.game.stages import STAGES
from a3g.networks.pixel_network import PixelNetwork
from a3g.processes.counters import RunCounters, StageCount, shared_zeros
from a3g.processes.heartbeat import Heartbeats
from a3g.processes.shared_model import SharedModel
from a3g.processes.watch_channel import WatchChannel
from a3g.processes.weight_average import WeightAverage
from a3g.runs.barrier import CheckpointBarrier


@dataclass
class EvalResults:
    """What the tester tells the launcher."""

    stages: Tensor = field(default_factory=lambda: shared_zeros(len(STAGES), len(StageCount)))
    tests: Tensor = field(default_factory=lambda: shared_zeros(dtype=torch.int64))
    """Tests finished."""
    agent_steps: Tensor = field(default_factory=lambda: shared_zeros(dtype=torch.int64))
    """Age of the weights of the newest finished test, in agent steps of the run."""
    cleared_all: Tensor = field(default_factory=lambda: shared_zeros(dtype=torch.uint8))
    """Whether a test cleared every stage asked for."""
    best_cleared: Tensor = field(default_factory=lambda: shared_zeros(len(STAGES), dtype=torch.uint8))
    """The stages that the best weights cleared."""
    ever_cleared: Tensor = field(default_factory=lambda: shared_zeros(len(STAGES), dtype=torch.uint8))
    """The stages that any weights of the run cleared in a test."""

    def tensors(self) -> dict[str, Tensor]:
        """What belongs in a checkpoint, by its names there."""
        return {f"tester.{name}": tensor for name, tensor in vars(self).items()}


class RunControl:
    """How the launcher steers the other processes, and how they show that they live."""

    def __init__(self, workers: int) -> None:
        self.stop = shared_zeros(dtype=torch.uint8)
        """Set by the launcher: finish the rollout and leave."""
        self.heartbeats = Heartbeats(workers + 1)
        """The workers' and, as the last, the tester's."""
        self.barrier = CheckpointBarrier(workers)


def watch_channel(config: TrainConfig) -> WatchChannel:
    """Room for what a run shows: of a cluster's, only what this machine plays itself, its tests."""
    game = config.game_options()
    return WatchChannel(
        0 if config.cluster else config.workers, resolve_emulator(config.emulator), game.observation_shape, game.num_actions
    )


class SharedRun:
    """The shared model, the run's counters, the tester's results, and the launcher's control."""

    def __init__(self, model: PixelNetwork, config: TrainConfig) -> None:
        self.model = SharedModel(model, config)
        self.counters = RunCounters(config.workers)
        self.results = EvalResults()
        self.control = RunControl(config.workers)
        self.average = WeightAverage(self.model.weights.detach(), config.average_steps) if config.average_steps else None
        """What the tester tests instead of the newest weights; None if it tests those."""
        self.watch = watch_channel(config) if config.watch is not None else None
        """What the watch page shows; None without one."""

    def tensors_beside_model(self) -> dict[str, Tensor]:
        """What belongs in a checkpoint beside `SharedModel.tensors`."""
        counters = {f"counters.{name}": tensor for name, tensor in self.counters.tensors().items()}
        average = {} if self.average is None else self.average.tensors()
        return {**self.results.tensors(), **counters, **average}
