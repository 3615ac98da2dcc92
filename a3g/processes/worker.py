"""The training loop: one process, one core, its own copy of the network, gradients to the shared model without locks."""

from __future__ import annotations

import math
import signal
import sys
from pathlib import Path

import torch
from torch import Tensor

from a3g.accelerator.precision import prepare_gpu_arithmetic
from a3g.algorithms import make_algorithm
from a3g.algorithms.base import Algorithm
from a3g.config import TrainConfig
from a3g.errors import UserError
from a3g.experience.make import make_collector
from a3g.processes.parameter_store import ParameterStore, SharedMemoryStore
from a3g.processes.process import EXIT_DAMAGED_WEIGHTS, gpu_bytes, prepare_process, resident_bytes
from a3g.processes.shared_run import SharedRun
from a3g.processes.watch_views import WorkerView
from a3g.reporting.phases import Phase, PhaseClock
from a3g.reporting.say import say
from a3g.runs.expert import load_expert
from a3g.runs.paths import worker_path
from a3g.runs.snapshot import weights_are_sound
from a3g.runs.worker_state import load_worker_state


def run_worker(
    number: int,
    config: TrainConfig,
    shared: SharedRun,
    restart: int = 0,
    folder: Path | None = None,
    resumed_from: Path | None = None,
) -> None:
    """Entry point of a worker process; the arguments are those of `make_worker`."""
    device = prepare_process(f"a3g train {number}", config.gpu_ids[number % len(config.gpu_ids)])
    worker = make_worker(number, config, shared, device, restart, folder, resumed_from)
    signal.signal(signal.SIGTERM, lambda *_: worker.leave())
    try:
        worker.run()
    except RuntimeError:
        if weights_are_sound(worker.algorithm.flat.parameters):
            raise
        sys.exit(EXIT_DAMAGED_WEIGHTS)  # nobody can act with them; the launcher restores the shared ones
    if worker.leaves:  # told by a signal of its own, not by the launcher
        sys.exit(128 + signal.SIGTERM)


def make_worker(
    number: int,
    config: TrainConfig,
    shared: SharedRun,
    device: torch.device,
    restart: int = 0,
    folder: Path | None = None,
    resumed_from: Path | None = None,
) -> Worker:
    """A worker on the shared model of this machine.

    Args:
        number: of this worker, from 0.
        restart: how often the run was resumed or this worker restarted; a new start gets new randomness.
        folder: the run's folder, for the worker's part of the checkpoints; None: no parts.
        resumed_from: checkpoint to go on from.
    """
    seed = config.seed + 1_000_003 * number + 7_919 * restart
    torch.manual_seed(seed)
    prepare_gpu_arithmetic(config.precision, fixed_shapes=True)
    algorithm = make_algorithm(config, device)
    store = SharedMemoryStore(number, config, shared, algorithm.flat, folder)
    view = None if shared.watch is None else WorkerView(shared.watch, number)
    worker = Worker(number, config, algorithm, store, seed, view)
    if resumed_from is not None:
        try:
            worker.resume(worker_path(resumed_from, number))
        except UserError as error:
            say(f"a3g train {number}: begins new games: {error}")
    return worker


class Worker:
    """One worker's loop and what it owns."""

    def __init__(
        self,
        number: int,
        config: TrainConfig,
        algorithm: Algorithm,
        store: ParameterStore,
        seed: int,
        view: WorkerView | None = None,
    ) -> None:
        """
        Args:
            number: of this worker, from 0.
            seed: of its games and the choice of its actions.
            view: shows its games on the watch page.
        """
        self.number, self.config, self.algorithm, self.store = number, config, algorithm, store
        self.leaves = False
        self.clock = PhaseClock()
        expert = load_expert(config) if algorithm.learns_from_expert else None
        self._view = view
        after_step = None if view is None else view.after_step
        self.collector = make_collector(config, number, algorithm, seed, self.clock, store.heartbeat, expert, after_step)

    def run(self) -> None:
        """Train until told to stop."""
        self.store.pull()
        while not (self.leaves or self.store.should_stop()):
            self.store.begin_rollout(self.state_dict)

            # Play num_steps in every lane.
            self.algorithm.begin_rollout(self.store.agent_steps())
            rollout = self.collector.collect()
            if self._view is not None:
                self._view.rollout_ended(rollout, self.algorithm)
            if not self.config.load_rms_stats:
                self.store.observe(rollout.observations)

            # Learn from it. Each update goes to the shared model at once, unless it is not finite, and the newest
            # weights come back, other workers' updates included.
            self.clock.lap(Phase.ACTING)
            for metrics in self.algorithm.updates(rollout):
                self.clock.lap(Phase.LEARNING)
                is_finite = math.isfinite(metrics["gradient_norm"])
                if is_finite:
                    self.store.push(self.algorithm.learning_rate)
                self.store.pull()
                self.store.report(metrics=metrics, skipped_updates=not is_finite)
                self.clock.lap(Phase.SYNCHRONISING)

            memory: dict[str, float] = {"resident_bytes": resident_bytes()}
            if self.algorithm.device.type == "cuda":
                memory["gpu_bytes"] = gpu_bytes(self.algorithm.device)
            self.store.report(
                agent_steps=rollout.actions.numel(),
                episodes=rollout.episodes,
                metrics=memory,
                phase_seconds=self.clock.seconds,
            )
            self.store.end_rollout()
        self.store.close(self.state_dict)
        self.collector.close()

    def leave(self) -> None:
        """End after the rollout under way."""
        self.leaves = True

    def state_dict(self) -> dict[str, Tensor]:
        """All that the worker's next rollouts and updates depend on beside what is shared; valid until the next rollout."""
        state = {f"collector.{name}": tensor for name, tensor in self.collector.state_dict().items()}
        state |= {f"algorithm.{name}": tensor for name, tensor in self.algorithm.state_dict().items()}
        state |= {f"optimizer.{name}": tensor for name, tensor in self.store.state_dict().items()}
        state["random"] = torch.get_rng_state()
        if self.algorithm.device.type == "cuda":
            state["cuda_random"] = torch.cuda.get_rng_state(self.algorithm.device)
        return state

    def resume(self, path: Path) -> None:
        """Go on where a worker was, in an earlier start of the run; what does not fit today's settings begins anew.

        Raises:
            UserError: if the file is missing or damaged, or holds other games.
        """
        state, same_games, same_optimizer = load_worker_state(
            path, self.config, self.number, self.algorithm.device, self._memory
        )
        try:
            if same_optimizer:
                self.store.load_state_dict(_part(state, "optimizer."))
            elif not self.config.shared_optimizer:
                say(f"a3g train {self.number}: begins with a new optimizer state: network or optimizer have changed.")
            if not same_games:
                raise UserError(f"The games in {path} are not those of the settings now.")
            self.collector.load_state_dict(_part(state, "collector."))
            self.algorithm.load_state_dict(_part(state, "algorithm."))
            torch.set_rng_state(state["random"])
            if self.algorithm.device.type == "cuda":
                torch.cuda.set_rng_state(state["cuda_random"], self.algorithm.device)
        except (KeyError, ValueError, TypeError, RuntimeError, StopIteration) as error:
            raise UserError(f"The worker's state file {path} does not fit ({error!r}).") from error

    def _memory(self, name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor | None:
        """Where a tensor of the worker's file is to be read to."""
        own = name.removeprefix("algorithm.")
        return self.algorithm.memory(own, dtype, shape) if own != name else None


def _part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
