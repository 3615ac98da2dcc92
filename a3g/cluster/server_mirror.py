"""The driver's copy of the parameter server, what is tested and saved, and what restores a server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from a3g.cluster.ray_cluster import load_ray
from a3g.cluster.rules import make_rule
from a3g.cluster.server import ParameterShard, RuleSettings, ShardState, ranges
from a3g.processes.run_statistics import Run

PULL_SECONDS = 1.0
STOP_SECONDS = 10.0
_PREFIX = "server.rule."


class ServerMirror:
    """Starts the shards, copies their state into the run's shared model again and again, and loads shards that are empty."""

    def __init__(self, run: Run, saved: Mapping[str, Tensor], messages: list[str]) -> None:
        """
        Args:
            run: the driver's.
            saved: what the checkpoint has of the server; may be of another rule, or nothing.
            messages: what happened is said here.
        """
        self._messages, self._ray = messages, load_ray()
        self._weights = run.shared.model.weights.detach()
        config = run.config
        self._settings = RuleSettings(config.cluster_rule, config.lr, config.adam_eps)
        self._ranges = ranges(len(self._weights), config.cluster_shards)
        made = make_rule(config.cluster_rule, len(self._weights), config.lr, config.adam_eps)
        self._rule = made.tensors()
        for name, tensor in self._rule.items():
            before = saved.get(f"{_PREFIX}{name}")
            if before is not None and before.shape == tensor.shape:
                tensor.copy_(before)
        self._merged = torch.zeros((), dtype=torch.int64)
        if "server.merged" in saved:
            self._merged.copy_(saved["server.merged"])
        self.shards: list[Any] = []
        """Handles, for the machines."""
        self.received_bytes = self.sent_bytes = 0
        self._pulling: list[Any] = []
        self._pulled_at = 0.0
        self._keys: tuple[str, ...] | None = None

    def tensors(self) -> dict[str, Tensor]:
        """What belongs in a checkpoint beside the weights: the same for every number of shards."""
        return {**{f"{_PREFIX}{name}": tensor for name, tensor in self._rule.items()}, "server.merged": self._merged}

    def start(self, here: Any) -> None:
        """Start the shards: one on this machine, several on as many machines as there are.

        Args:
            here: a scheduling strategy, this machine.
        """
        strategy = here if len(self._ranges) == 1 else "SPREAD"
        options = {"num_cpus": 0, "max_restarts": -1, "scheduling_strategy": strategy}
        self.shards = [self._ray.remote(ParameterShard).options(**options).remote(self._settings) for _ in self._ranges]
        for number in range(len(self.shards)):
            self._load(number)

    def set_machines(self, keys: tuple[str, ...]) -> None:
        """Tell the shards which machines train, if that has changed."""
        if keys != self._keys:
            self._keys = keys
            for shard in self.shards:
                shard.set_machines.remote(keys)

    def poll(self, now: float) -> None:
        """Copy the server's state when that is due; returns soon."""
        if not self._pulling and now - self._pulled_at >= PULL_SECONDS:
            self._pulling = [shard.state.remote() for shard in self.shards]
        if self._pulling and len(self._ray.wait(self._pulling, num_returns=len(self._pulling), timeout=0)[0]) == len(
            self.shards
        ):
            self._pulled_at = now
            self._take()

    def stop(self) -> None:
        """Copy the server's last state."""
        self._pulling = [shard.state.remote() for shard in self.shards]
        self._ray.wait(self._pulling, num_returns=len(self._pulling), timeout=STOP_SECONDS)
        self._take()

    def _take(self) -> None:
        pulling, self._pulling = self._pulling, []
        received = sent = 0
        for number, asked in enumerate(pulling):
            try:
                state: ShardState | None = self._ray.get(asked, timeout=0)
            except (self._ray.exceptions.RayError, TimeoutError):
                continue  # it is being started again
            if state is None:
                self._load(number)
                self._messages.append(f"shard {number} of the parameter server was lost; restored from the driver's copy")
                continue
            self._copy(self._ranges[number], state)
            received, sent = received + state.received_bytes, sent + state.sent_bytes
        self.received_bytes, self.sent_bytes = received, sent

    def _copy(self, part: slice, state: ShardState) -> None:
        parameters = torch.tensor(state.parameters)
        if not bool(parameters.sum().isfinite()):
            return
        self._weights[part] = parameters
        for name, tensor in self._rule.items():
            piece = torch.tensor(state.rule[name])
            (tensor[part] if tensor.dim() else tensor).copy_(piece)
        self._merged.fill_(max(int(self._merged), state.merged))

    def _load(self, number: int) -> None:
        part = self._ranges[number]
        rule = {name: (tensor[part] if tensor.dim() else tensor).clone().numpy() for name, tensor in self._rule.items()}
        self.shards[number].load.remote(self._weights[part].clone().numpy(), rule, int(self._merged))
        if self._keys is not None:
            self.shards[number].set_machines.remote(self._keys)
