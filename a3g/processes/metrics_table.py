"""Metrics by name, in shared memory: each worker writes its own, everybody reads them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from a3g.networks.shared_optim import to_shared_memory

MAX_METRICS = 64
MAX_NAME_BYTES = 48


class MetricsTable:
    """Numbers by name for every worker. A name gets its column when it is first written, and keeps it.

    A column's name is complete before its first value is there, so that readers need no lock.
    """

    def __init__(self, workers: int) -> None:
        self.values = to_shared_memory(torch.full((workers, MAX_METRICS), float("nan"), dtype=torch.float64))
        """float64 (workers, MAX_METRICS), not a number where nothing was written."""
        self.names = to_shared_memory(torch.zeros(workers, MAX_METRICS, MAX_NAME_BYTES, dtype=torch.uint8))
        """UTF-8, padded with zeros."""
        self._columns: dict[int, dict[str, int]] = {}

    def write(self, worker: int, metrics: Mapping[str, float]) -> None:
        """Set a worker's metrics.

        Raises:
            ValueError: if there are more names than MAX_METRICS, or one is too long.
        """
        columns = self._columns.setdefault(worker, self._read_names(worker))
        row = self.values[worker]
        for name, value in metrics.items():
            if name not in columns:
                columns[name] = self._add_name(worker, name, len(columns))
            row[columns[name]] = value

    def read(self, worker: int) -> dict[str, float]:
        """A worker's metrics."""
        values = self.values[worker].tolist()
        return {name: values[i] for name, i in self._read_names(worker).items() if values[i] == values[i]}

    def by_name(self) -> dict[str, list[float]]:
        """The values of all workers that have written a metric."""
        together: dict[str, list[float]] = {}
        for worker in range(len(self.values)):
            for name, value in self.read(worker).items():
                together.setdefault(name, []).append(value)
        return together

    def tensors(self) -> dict[str, Tensor]:
        """The memory itself, for checkpoints."""
        return {"metric_values": self.values, "metric_names": self.names}

    def _read_names(self, worker: int) -> dict[str, int]:
        names = {}
        for i in range(MAX_METRICS):
            name = self.names[worker, i]
            if not name[0]:
                break
            names[bytes(name.tolist()).rstrip(b"\0").decode(errors="replace")] = i
        return names

    def _add_name(self, worker: int, name: str, column: int) -> int:
        encoded = name.encode()
        if column >= MAX_METRICS:
            raise ValueError(f"there is no room for the metric {name}: {MAX_METRICS} are the most")
        if not 0 < len(encoded) <= MAX_NAME_BYTES:
            raise ValueError(f"a metric's name must have 1 to {MAX_NAME_BYTES} bytes, not {name!r}")
        self.names[worker, column, : len(encoded)] = torch.tensor(list(encoded), dtype=torch.uint8)
        return column
