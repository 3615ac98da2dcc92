"""Reads a run's metrics.csv while it grows, for pictures and trackers: each time only what is new."""

from __future__ import annotations

import csv
import io
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from a3g.reporting.metrics import CSV_NAME

_COLUMNS = 4


@dataclass(frozen=True, slots=True)
class MetricsPoint:
    """All scalars of one moment."""

    agent_steps: int
    seconds: float
    """Since the run's first step."""
    scalars: dict[str, float]
    """By the names of docs/metrics.md."""


class MetricsReader:
    """Where a reader of a run's metrics.csv stands."""

    def __init__(self, folder: Path, position: int = 0) -> None:
        """
        Args:
            folder: the run's folder; the file need not be there yet.
            position: bytes that were read before.
        """
        self._path = folder / CSV_NAME
        self.position = position
        """Bytes read so far."""

    def read(self) -> list[MetricsPoint]:
        """The points that were added since the last call; a line that is being written waits for the next one.

        Raises:
            OSError: if there is a file and it can't be read.
        """
        try:
            with self._path.open("rb") as file:
                file.seek(self.position)
                data = file.read()
        except FileNotFoundError:
            return []
        data = data[: data.rfind(b"\n") + 1]
        self.position += len(data)
        return list(_points(data.decode(errors="replace")))


def _points(text: str) -> Iterator[MetricsPoint]:
    """Rows of the same moment, which stand together, as one point; rows that are none are left out."""
    point: MetricsPoint | None = None
    for row in csv.reader(io.StringIO(text, newline="")):
        try:
            agent_steps, seconds, name, value = int(row[0]), float(row[1]), row[2], float(row[3])
        except (ValueError, IndexError):  # the heading, or what a full disk left
            continue
        if len(row) != _COLUMNS:
            continue
        if point is None or (agent_steps, seconds) != (point.agent_steps, point.seconds):
            if point is not None:
                yield point
            point = MetricsPoint(agent_steps, seconds, {})
        point.scalars[name] = value
    if point is not None:
        yield point


@dataclass
class Curve:
    """One scalar over a run, in the order of its agent steps."""

    agent_steps: array[int] = field(default_factory=lambda: array("q"))
    seconds: array[float] = field(default_factory=lambda: array("d"))
    values: array[float] = field(default_factory=lambda: array("d"))

    def add(self, agent_steps: int, seconds: float, value: float) -> None:
        """Append a point. A run that went on from an earlier checkpoint repeats steps: what was played then does not count."""
        while self.agent_steps and self.agent_steps[-1] >= agent_steps:
            for column in (self.agent_steps, self.seconds, self.values):
                column.pop()
        self.agent_steps.append(agent_steps)
        self.seconds.append(seconds)
        self.values.append(value)


class Curves:
    """All curves of a run, by the names of docs/metrics.md."""

    def __init__(self, folder: Path) -> None:
        self._reader = MetricsReader(folder)
        self.by_name: dict[str, Curve] = {}

    def update(self) -> bool:
        """Read what is new; returns whether there was something.

        Raises:
            OSError: as `MetricsReader.read`.
        """
        points = self._reader.read()
        for point in points:
            for name, value in point.scalars.items():
                self.by_name.setdefault(name, Curve()).add(point.agent_steps, point.seconds, value)
        return bool(points)

    def mean_over_stages(self, kind: str) -> Curve:
        """The mean of the curves `kind`/STAGE, over the stages that have a value at each moment.

        Args:
            kind: such as ``train_clear_rate``.
        """
        sums: dict[int, tuple[float, float, int]] = {}
        for curve in self.of_stages(kind).values():
            for agent_steps, seconds, value in zip(curve.agent_steps, curve.seconds, curve.values, strict=True):
                _, total, count = sums.get(agent_steps, (0.0, 0.0, 0))
                sums[agent_steps] = (seconds, total + value, count + 1)
        mean = Curve()
        for agent_steps in sorted(sums):
            seconds, total, count = sums[agent_steps]
            mean.add(agent_steps, seconds, total / count)
        return mean

    def of_stages(self, kind: str) -> dict[str, Curve]:
        """The curves `kind`/STAGE by stage, in the game's order."""
        found = {name.partition("/")[2]: curve for name, curve in self.by_name.items() if name.startswith(f"{kind}/")}
        return dict(sorted(found.items()))
