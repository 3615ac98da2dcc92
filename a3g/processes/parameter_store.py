"""All that a worker knows of the outside: where parameters come from, and where gradients and reports go."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor

from a3g.accelerator.transfer import GradientTransfer
from a3g.config import TrainConfig
from a3g.experience.episodes import EpisodeRecord
from a3g.networks.flat_parameters import FlatParameters
from a3g.processes.counters import MOVING_AVERAGE_WEIGHT, Count
from a3g.processes.shared_model import make_optimizer
from a3g.processes.shared_run import SharedRun
from a3g.reporting.say import say
from a3g.runs.paths import checkpoint_path, leaving_path, worker_path
from a3g.runs.worker_state import save_worker_state

StateDict = Callable[[], dict[str, Tensor]]


class ParameterStore(Protocol):
    """The shared model, wherever it is: in this machine's memory, or on a server."""

    def pull(self) -> None:
        """Overwrite the worker's parameters and input statistics with the newest ones."""

    def push(self, learning_rate: float | None = None) -> None:
        """Apply the worker's gradients.

        Args:
            learning_rate: of this and the following updates; None: as it is.
        """

    def agent_steps(self) -> int:
        """Of the whole run so far."""

    def observe(self, observations: Tensor) -> None:
        """Let pictures, uint8 of any shape, count for the input statistics."""

    def report(
        self,
        *,
        agent_steps: int = 0,
        skipped_updates: int = 0,
        episodes: Sequence[EpisodeRecord] = (),
        metrics: Mapping[str, float] | None = None,
        phase_seconds: Sequence[float] | None = None,
    ) -> None:
        """Count what the worker has done since its last report, and show its newest metrics."""

    def heartbeat(self) -> None:
        """Show that the worker lives."""

    def should_stop(self) -> bool:
        """Whether the run is over."""

    def begin_rollout(self, state_dict: StateDict) -> None:
        """Wait while a checkpoint is taken that the worker belongs to, and give it the worker's state."""

    def end_rollout(self) -> None:
        """The rollout has been learned from."""

    def close(self, state_dict: StateDict) -> None:
        """The worker ends; leave its state for the run's last checkpoint."""

    def state_dict(self) -> dict[str, Tensor]:
        """What the store keeps for this worker alone, as copies."""

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state_dict` gave; raises KeyError or RuntimeError if it does not fit."""


class SharedMemoryStore:
    """Hogwild on one machine (Niu et al. 2011): workers write to one model in shared memory without locks."""

    def __init__(
        self, worker: int, config: TrainConfig, shared: SharedRun, local: FlatParameters, folder: Path | None = None
    ) -> None:
        """
        Args:
            worker: its number, from 0.
            local: the worker's own parameters and gradients, on its device.
            folder: the run's folder, for the worker's part of the checkpoints; None: no parts.
        """
        self._worker, self._config, self._shared, self._local, self._folder = worker, config, shared, local, folder
        self._model, self._counters, self._control = shared.model, shared.counters, shared.control
        self._checkpoint = self._control.barrier.number  # the newest that has this worker's part
        # The optimizer works on the shared weights; by -so False its state is this worker's own.
        self.optimizer = self._model.optimizer or make_optimizer(self._model.weights, config)
        # Torch imports a large part of itself at the first step, for a second or more; without gradients nothing else happens.
        self._model.weights.grad = None
        self.optimizer.step()
        self._transfer = GradientTransfer(local.gradients, self._model.weights, config.gpu_pinned)
        if self._transfer.error:
            say(f"a3g train {worker}: {self._transfer.error}; weights are copied more slowly.")
        self._updates_at_pull = 0
        metrics = self._counters.metrics.read(worker)  # moving averages go on
        self._averages = {name: metrics.get(name, 0.0) for name in ("staleness", "mean_return", "mean_length")}

    def pull(self) -> None:
        self._model.copy_to(self._local)
        self._updates_at_pull = self._counters.total(Count.UPDATES)

    def push(self, learning_rate: float | None = None) -> None:
        if learning_rate is not None:
            for group in self.optimizer.param_groups:  # this process's own; only the state is shared
                group["lr"] = learning_rate
        self._model.weights.grad = self._transfer.to_cpu()
        with self._model.lock, self._control.barrier.update(self._worker):
            self.optimizer.step()
        self._counters.counts[self._worker, Count.UPDATES] += 1
        others = max(self._counters.total(Count.UPDATES) - self._updates_at_pull - 1, 0)  # not this worker's own
        self._averages["staleness"] += MOVING_AVERAGE_WEIGHT * (others - self._averages["staleness"])

    def agent_steps(self) -> int:
        return self._counters.agent_steps

    def observe(self, observations: Tensor) -> None:
        with self._control.barrier.update(self._worker):
            self._model.observe(observations)

    def report(
        self,
        *,
        agent_steps: int = 0,
        skipped_updates: int = 0,
        episodes: Sequence[EpisodeRecord] = (),
        metrics: Mapping[str, float] | None = None,
        phase_seconds: Sequence[float] | None = None,
    ) -> None:
        counts = self._counters.counts[self._worker]
        for episode in episodes:
            weight = MOVING_AVERAGE_WEIGHT if counts[Count.EPISODES] else 1.0
            self._averages["mean_return"] += weight * (episode.episode_return - self._averages["mean_return"])
            self._averages["mean_length"] += weight * (episode.agent_steps - self._averages["mean_length"])
            counts[Count.EPISODES] += 1
            self._counters.note_episode(self._worker, episode.stage, episode.outcome, episode.progress)
        if skipped_updates:
            counts[Count.SKIPPED_UPDATES] += skipped_updates
        if metrics is not None:
            self._counters.metrics.write(self._worker, {**metrics, **self._averages})
        if phase_seconds is not None:
            self._counters.set_phase_seconds(self._worker, phase_seconds)
        if agent_steps:
            counts[Count.AGENT_STEPS] += agent_steps
        self.heartbeat()

    def heartbeat(self) -> None:
        self._control.heartbeats.beat(self._worker)

    def should_stop(self) -> bool:
        limit = self._config.total_steps
        return bool(self._control.stop) or (limit > 0 and self._counters.agent_steps >= limit)

    def begin_rollout(self, state_dict: StateDict) -> None:
        """As in `ParameterStore`; see `a3g.runs.barrier`."""
        if not self._counters.started[self._worker]:  # a restarted worker's time counts from its first start
            self._counters.started[self._worker] = time.monotonic()
        barrier, state, entered = self._control.barrier, None, False
        while not entered:
            if self._folder is not None and barrier.number != self._checkpoint:
                self._checkpoint, state = barrier.number, state_dict()
            entered = barrier.enter_rollout(self._worker)
        if self._folder is not None and state is not None:
            self._save(worker_path(checkpoint_path(self._folder, self._checkpoint), self._worker), state)

    def end_rollout(self) -> None:
        self._control.barrier.leave_rollout(self._worker)

    def close(self, state_dict: StateDict) -> None:
        if self._folder is not None:
            self._save(leaving_path(self._folder, self._worker), state_dict())
        self._transfer.close()

    def state_dict(self) -> dict[str, Tensor]:
        """The optimizer's state, if this worker has one of its own."""
        if self._model.optimizer is not None:
            return {}
        return {name: tensor.clone() for name, tensor in self.optimizer.state[self._model.weights].items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if self._model.optimizer is None:
            for name, tensor in self.optimizer.state[self._model.weights].items():
                tensor.copy_(state[name])

    def _save(self, path: Path, state: dict[str, Tensor]) -> None:
        try:
            save_worker_state(path, state, self._config, self._worker, self._local.gradients.device)
        except OSError as error:
            say(f"a3g train {self._worker}: could not save its games: {error}")
