"""What the processes share: the model's weights as one vector, the optimizer's state, and counters. No locks."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from enum import IntEnum, auto

import torch
from torch import Tensor, nn

from a3g.config import TrainConfig
from a3g.game.rules import Outcome
from a3g.game.stages import STAGES
from a3g.learning.flat import FlatModel
from a3g.learning.model import ActorCritic
from a3g.processes.gate import Gate
from a3g.processes.heartbeat import Heartbeats
from a3g.processes.process_lock import ProcessLock
from a3g.reporting.phases import Phase
from shared_optim import SharedAdam, SharedRMSprop, to_shared_memory


class Count(IntEnum):
    """Columns of the workers' counters; they only ever grow."""

    AGENT_STEPS = 0
    UPDATES = auto()
    EPISODES = auto()
    SKIPPED_UPDATES = auto()


class Gauge(IntEnum):
    """Columns of the workers' newest readings."""

    POLICY_LOSS = 0
    VALUE_LOSS = auto()
    ENTROPY = auto()
    GRADIENT_NORM = auto()
    MEAN_RETURN = auto()
    """Moving average of the episodes' returns."""
    MEAN_LENGTH = auto()
    """Moving average of the episodes' agent steps."""
    RESIDENT_BYTES = auto()
    STALENESS = auto()
    """Moving average over updates: how many updates of other workers came between reading the weights and applying
    gradients to them."""
    GPU_BYTES = auto()


class StageCount(IntEnum):
    """Columns of the workers' and the tester's books on each stage."""

    EPISODES = 0
    CLEARED = auto()
    FURTHEST = auto()
    """Most pixels of new ground in one episode."""
    MEAN_PROGRESS = auto()
    """Tester: of its newest test."""
    CLEAR_RATE = auto()
    """Tester: of its newest test. Workers: moving average."""


STAGE_INDEX = {str(stage): i for i, stage in enumerate(STAGES)}
# A moving average forgets with this weight for each new episode: about the last 20 count.
MOVING_AVERAGE_WEIGHT = 0.05


def shared_zeros(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return to_shared_memory(torch.zeros(shape, dtype=dtype))


@dataclass
class SharedCounters:
    """One row per worker, written by that worker alone and read by all."""

    workers: int
    counts: Tensor = field(init=False)
    gauges: Tensor = field(init=False)
    stages: Tensor = field(init=False)
    seconds: Tensor = field(init=False)
    """float64 (workers, len(Phase)), where each worker's time went."""
    stop: Tensor = field(init=False)
    """uint8 scalar, set by the launcher: finish the rollout and leave."""
    started: Tensor = field(init=False)
    """float64 (workers,), time.monotonic() of each worker's first step, else 0; one clock for all processes of a machine."""
    earlier_steps: Tensor = field(init=False)
    """int64 scalar: agent steps of the run that are in none of the rows of `counts`."""
    heartbeats: Heartbeats = field(init=False)
    """The workers' and, as the last, the tester's."""
    gate: Gate = field(init=False)

    def __post_init__(self) -> None:
        self.counts = shared_zeros(self.workers, len(Count), dtype=torch.int64)
        self.gauges = shared_zeros(self.workers, len(Gauge))
        self.stages = shared_zeros(self.workers, len(STAGES), len(StageCount))
        self.seconds = shared_zeros(self.workers, len(Phase))
        self.stop = shared_zeros(dtype=torch.uint8)
        self.started = shared_zeros(self.workers)
        self.earlier_steps = shared_zeros(dtype=torch.int64)
        self.heartbeats = Heartbeats(self.workers + 1)
        self.gate = Gate(self.workers)

    def total(self, count: Count) -> int:
        """A counter summed over the workers' rows."""
        return int(self.counts[:, count].sum())

    @property
    def agent_steps(self) -> int:
        """Agent steps of the whole run, those before it was resumed included."""
        return int(self.earlier_steps) + self.total(Count.AGENT_STEPS)


@dataclass
class TestBoard:
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


class SharedModel:
    """The model that all workers train: one vector of weights, an optimizer on it, and the input statistics."""

    def __init__(self, model: ActorCritic, config: TrainConfig) -> None:
        self.spec = model.spec
        flat = FlatModel(model)
        self.weights = nn.Parameter(to_shared_memory(flat.values.clone()))
        self.optimizer = make_optimizer(self.weights, config) if config.shared_optimizer else None
        self.turn: AbstractContextManager[object] = nullcontext()
        """Held while weights are changed and read: by default nobody waits for anybody (Hogwild)."""
        if not config.hogwild:
            self.turn = ProcessLock()
        statistics = torch.stack((model.input_mean, model.input_variance, torch.tensor(1.0))).double()
        self.input_statistics = to_shared_memory(statistics)
        """float64 (3,): mean, variance and weight (in pictures) of the input normalisation."""

    def read_into(self, local: FlatModel) -> None:
        """Copy the newest weights into a process's own model; other workers may be writing meanwhile."""
        # A GPU may read them later, ahead of all that it does with them, unless it is to read in its turn.
        local.values.copy_(self.weights.detach(), non_blocking=isinstance(self.turn, nullcontext))
        model = local.model
        assert isinstance(model, ActorCritic)
        mean, variance, _ = self.input_statistics.tolist()
        model.input_mean.fill_(mean)
        model.input_variance.fill_(variance)

    def observe(self, pictures: Tensor) -> None:
        """Let pictures, uint8 of any shape, count for the input statistics (Chan et al. 1979, parallel variance)."""
        values = pictures.float()
        mean, variance, weight = self.input_statistics.tolist()
        batch_weight = float(pictures.shape[0] * pictures.shape[1])
        batch_mean, batch_variance = float(values.mean()), float(values.var())
        total = weight + batch_weight
        delta = batch_mean - mean
        new_mean = mean + delta * batch_weight / total
        moments = variance * weight + batch_variance * batch_weight + delta**2 * weight * batch_weight / total
        self.input_statistics.copy_(torch.tensor([new_mean, moments / total, total], dtype=torch.float64))


def make_optimizer(weights: nn.Parameter, config: TrainConfig) -> SharedAdam | SharedRMSprop:
    if config.optimizer == "RMSprop":
        return SharedRMSprop([weights], lr=config.lr)
    return SharedAdam([weights], lr=config.lr, eps=config.adam_eps, amsgrad=config.amsgrad)


def note_episode(stages: Tensor, stage: str, outcome: str, progress: int) -> None:
    """Enter a finished training episode into a worker's book, (32, len(StageCount))."""
    row = stages[STAGE_INDEX[stage]]
    cleared = outcome == Outcome.CLEARED
    weight = MOVING_AVERAGE_WEIGHT if row[StageCount.EPISODES] else 1.0
    row[StageCount.EPISODES] += 1
    row[StageCount.CLEARED] += cleared
    row[StageCount.FURTHEST] = max(float(row[StageCount.FURTHEST]), progress)
    row[StageCount.MEAN_PROGRESS] += weight * (progress - float(row[StageCount.MEAN_PROGRESS]))
    row[StageCount.CLEAR_RATE] += weight * (cleared - float(row[StageCount.CLEAR_RATE]))
