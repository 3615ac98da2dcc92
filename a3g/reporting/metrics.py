"""Curves of a run: TensorBoard scalars and a CSV file with the same columns."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from a3g.reporting.status import RunStatus

CSV_NAME = "metrics.csv"


class MetricsWriter:
    """Writes a run's scalars against agent steps into its folder."""

    def __init__(self, folder: Path, tensorboard: bool, text: str = "") -> None:
        """
        Args:
            folder: the run's folder; a CSV file there is continued.
            tensorboard: whether to write TensorBoard files too.
            text: the run's settings, shown by TensorBoard.
        """
        self._path = folder / CSV_NAME
        self._tensorboard: Any = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._tensorboard = SummaryWriter(str(folder))
            self._tensorboard.add_text("settings", text)

    def write(self, status: RunStatus, steps_per_second: float) -> None:
        """Add a point to every curve.

        Raises:
            OSError: if the folder can't be written into.
        """
        scalars = {**status.scalars(), "train/agent_steps_per_second": steps_per_second}
        if self._tensorboard is not None:
            for name, value in scalars.items():
                self._tensorboard.add_scalar(name, value, status.agent_steps)
            self._tensorboard.flush()
        # One row per value: stages turn up while a run goes on, and columns would have to.
        begin = not self._path.exists()
        with self._path.open("a", newline="") as file:
            writer = csv.writer(file)
            if begin:
                writer.writerow(("agent_steps", "seconds", "name", "value"))
            for name, value in scalars.items():
                writer.writerow((status.agent_steps, f"{status.seconds:.1f}", name, f"{value:.6g}"))

    def close(self) -> None:
        if self._tensorboard is not None:
            self._tensorboard.close()


def read_curve(folder: Path, name: str) -> list[tuple[int, float, float]]:
    """Points (agent steps, seconds, value) of one curve of a run."""
    with (folder / CSV_NAME).open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["name"] == name]
    return [(int(row["agent_steps"]), float(row["seconds"]), float(row["value"])) for row in rows]
