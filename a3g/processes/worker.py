"""The training loop: one process, one core, its own copy of the model, gradients to the shared one without locks."""

from __future__ import annotations

import math
import signal
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from a3g.config import TrainConfig
from a3g.errors import UserError
from a3g.learning.flat import FlatModel
from a3g.learning.group_collector import lane_groups, make_collector
from a3g.learning.learner import Learner
from a3g.learning.losses import LossParts
from a3g.learning.model import ActorCritic
from a3g.learning.precision import autocast, prepare_gpu_arithmetic, resolve_precision
from a3g.learning.rollout import Rollout
from a3g.processes.checkpoint import checkpoint_path, leaving_path, worker_path
from a3g.processes.crossing import Crossing
from a3g.processes.process import EXIT_DAMAGED_WEIGHTS, gpu_bytes, prepare_process, resident_bytes
from a3g.processes.shared import (
    MOVING_AVERAGE_WEIGHT,
    Count,
    Gauge,
    SharedCounters,
    SharedModel,
    make_optimizer,
    note_episode,
)
from a3g.processes.snapshot import weights_are_sound
from a3g.processes.worker_state import load_worker_state, save_worker_state, worker_state
from a3g.reporting.phases import Phase, PhaseClock
from a3g.reporting.say import say
from environment import vector_env_parts


def run_worker(
    number: int,
    config: TrainConfig,
    shared: SharedModel,
    counters: SharedCounters,
    restart: int = 0,
    folder: Path | None = None,
    resumed_from: Path | None = None,
) -> None:
    """Entry point of a worker process.

    Args:
        folder: the run's folder, for the worker's part of the checkpoints.
        resumed_from: checkpoint to go on from.
    """
    device = prepare_process(f"a3g train {number}", config.gpu_ids[number % len(config.gpu_ids)])
    worker = Worker(number, config, shared, counters, device, restart, folder)
    signal.signal(signal.SIGTERM, lambda *_: worker.leave())
    if resumed_from is not None:
        try:
            load_worker_state(worker_path(resumed_from, number), worker)
        except UserError as error:
            say(f"a3g train {number}: begins new games: {error}")
    try:
        worker.run()
    except RuntimeError:
        if weights_are_sound(worker.flat.values):
            raise
        sys.exit(EXIT_DAMAGED_WEIGHTS)  # nobody can act with them; the launcher restores the shared ones
    if worker.leaves:  # told by a signal of its own, not by the launcher
        sys.exit(128 + signal.SIGTERM)


class Worker:
    """One worker's loop and what it owns."""

    def __init__(
        self,
        worker: int,
        config: TrainConfig,
        shared: SharedModel,
        counters: SharedCounters,
        device: torch.device,
        restart: int = 0,
        folder: Path | None = None,
    ) -> None:
        """
        Args:
            worker: number of this worker, from 0.
            restart: how often the run was resumed or this worker restarted; a new start gets new randomness.
            folder: where the worker's part of each checkpoint goes; None: nowhere.
        """
        self.config, self.shared, self.counters, self.device = config, shared, counters, device
        self.number, self.folder = worker, folder
        self.leaves = False
        self._checkpoint = counters.gate.number  # the newest that has this worker's part
        seed = config.seed + 1_000_003 * worker + 7_919 * restart
        torch.manual_seed(seed)
        self.model = ActorCritic(shared.spec).to(device)
        self.flat = FlatModel(self.model)
        self.precision = resolve_precision(config.precision, device)
        prepare_gpu_arithmetic(config.precision, fixed_shapes=True)
        self.envs = vector_env_parts(
            config.worker_stages(worker),
            config.lanes,
            lane_groups(config, device),
            config.game_options(),
            config.emulator,
            seed,
            copy=False,
        )
        self.learner = Learner(self.model, self.flat, config, self.precision)
        self.clock = PhaseClock()
        self.collector = make_collector(self.envs, self.model, config, device, seed, self.precision, self.clock, self._beat)
        # The optimizer works on the shared weights; by -so False its state is this worker's own.
        self.optimizer = shared.optimizer or make_optimizer(shared.weights, config)
        # Torch imports a large part of itself at the first step, for a second or more; without gradients nothing else happens.
        shared.weights.grad = None
        self.optimizer.step()
        self.updates_read = 0
        """Updates of all workers when this one last read the weights."""
        self.crossing = Crossing(self.flat, shared.weights, device, config.gpu_pinned)
        if self.crossing.error:
            say(f"a3g train {worker}: {self.crossing.error}; weights come over more slowly.")

    def run(self) -> None:
        """Train until told to stop or `total_steps` are done."""
        if not self.counters.started[self.number]:  # a restarted worker's time counts from its first start
            self.counters.started[self.number] = time.monotonic()
        self.shared.read_into(self.flat)
        self.updates_read = self.counters.total(Count.UPDATES)
        while not self._finished():
            self._begin_rollout()

            # Play num_steps in every lane.
            with autocast(self.device, self.precision):
                rollout = self.collector.collect(self.model, self.learner.wants_graph)
            if not self.config.load_rms_stats:
                with self.counters.gate.update(self.number):
                    self.shared.observe(rollout.observations)

            # Learn from it: one update (A3G's loss), or several on parts of it (clipped objective). Each goes to the
            # shared model at once, and the newest weights come back, other workers' updates included.
            self.clock.lap(Phase.ACTING)
            for loss, gradient_norm in self.learner.learn(rollout):
                self.clock.lap(Phase.LEARNING)
                with self.shared.turn:
                    self._apply_gradients(gradient_norm)
                    self.shared.read_into(self.flat)
                self._note_update(loss, gradient_norm)
                self.clock.lap(Phase.SYNCHRONISING)
            self._note_rollout(rollout)
            self.counters.gate.leave_rollout(self.number)
        if self.folder is not None:
            self._save(leaving_path(self.folder, self.number), worker_state(self))
        for env in self.envs:
            env.close()
        self.crossing.close()

    def leave(self) -> None:
        """End after the rollout under way."""
        self.leaves = True

    def _beat(self) -> None:
        self.counters.heartbeats.beat(self.number)

    def _finished(self) -> bool:
        limit = self.config.total_steps
        return self.leaves or bool(self.counters.stop) or (limit > 0 and self.counters.agent_steps >= limit)

    def _begin_rollout(self) -> None:
        """Between two rollouts: give this worker's part to a checkpoint that is being taken, see `a3g.processes.gate`."""
        gate, state, entered = self.counters.gate, None, False
        while not entered:
            if self.folder is not None and gate.number != self._checkpoint:
                self._checkpoint, state = gate.number, worker_state(self)
            entered = gate.enter_rollout(self.number)
        if self.folder is not None and state is not None:
            self._save(worker_path(checkpoint_path(self.folder, self._checkpoint), self.number), state)

    def _save(self, path: Path, state: dict[str, Tensor]) -> None:
        try:
            save_worker_state(path, self, state)
        except OSError as error:
            say(f"a3g train {self.number}: could not save its games: {error}")

    def _apply_gradients(self, norm: float) -> None:
        """One step of the shared optimizer with this worker's gradients; none that are not finite ever arrive."""
        if not math.isfinite(norm):
            self.counters.counts[self.number, Count.SKIPPED_UPDATES] += 1
            return
        self.shared.weights.grad = self.crossing.gradients()
        with self.counters.gate.update(self.number):
            self.optimizer.step()
        self.counters.counts[self.number, Count.UPDATES] += 1

    def _note_update(self, loss: LossParts, norm: float) -> None:
        gauges, updates = self.counters.gauges[self.number], self.counters.total(Count.UPDATES)
        others = max(updates - self.updates_read - 1, 0)  # not this worker's own
        gauges[Gauge.STALENESS] += MOVING_AVERAGE_WEIGHT * (others - float(gauges[Gauge.STALENESS]))
        self.updates_read = updates
        gauges[Gauge.POLICY_LOSS] = loss.policy
        gauges[Gauge.VALUE_LOSS] = loss.value
        gauges[Gauge.ENTROPY] = loss.entropy
        gauges[Gauge.GRADIENT_NORM] = norm
        self._beat()

    def _note_rollout(self, rollout: Rollout) -> None:
        counts, gauges = self.counters.counts[self.number], self.counters.gauges[self.number]
        for episode in rollout.episodes:
            weight = MOVING_AVERAGE_WEIGHT if counts[Count.EPISODES] else 1.0
            gauges[Gauge.MEAN_RETURN] += weight * (episode.episode_return - float(gauges[Gauge.MEAN_RETURN]))
            gauges[Gauge.MEAN_LENGTH] += weight * (episode.agent_steps - float(gauges[Gauge.MEAN_LENGTH]))
            counts[Count.EPISODES] += 1
            note_episode(self.counters.stages[self.number], episode.stage, episode.outcome, episode.progress)
        gauges[Gauge.RESIDENT_BYTES] = resident_bytes()
        self.counters.seconds[self.number] = torch.tensor(self.clock.seconds)
        gauges[Gauge.GPU_BYTES] = gpu_bytes(self.device)
        counts[Count.AGENT_STEPS] += rollout.actions.numel()
