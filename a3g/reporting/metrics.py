"""Curves of a run: TensorBoard scalars, and metrics.csv with the same values.

metrics.csv has the columns agent_steps (of the whole run), seconds (since the first step), name and value, one row per
value. docs/metrics.md lists the names with their units and how the values of several workers combine.
"""

from __future__ import annotations

import csv
import io
import os
import socket
import time
from pathlib import Path
from typing import Any

from a3g.files import append
from a3g.reporting.status import RunStatus

CSV_NAME = "metrics.csv"
_CSV_BEGIN = b"agent_steps,seconds,name,value\r\n"


class MetricsWriter:
    """Writes a run's scalars against agent steps into its folder.

    Every point is appended as a whole or not at all, and no file is kept open: a disk that was full, or a folder that
    was gone, leaves curves with a gap and nothing worse.
    """

    def __init__(self, folder: Path, tensorboard: bool, text: str = "") -> None:
        """
        Args:
            folder: the run's folder; a CSV file there is continued.
            tensorboard: whether to write TensorBoard files too.
            text: the run's settings, shown by TensorBoard.
        """
        self._csv = folder / CSV_NAME
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}"
        self._events = folder / name if tensorboard else None
        self._text = text

    def write(self, status: RunStatus, steps_per_second: float | None) -> None:
        """Add a point to every curve.

        Args:
            status: where the run stands.
            steps_per_second: agent steps per second; None if it is not known yet.

        Raises:
            OSError: if the folder can't be written into.
        """
        scalars = status.scalars()
        if steps_per_second is not None:
            scalars["train/agent_steps_per_second"] = steps_per_second
        # One row per value: stages turn up while a run goes on, and columns would have to.
        rows = io.StringIO(newline="")
        writer = csv.writer(rows)
        for name, value in scalars.items():
            writer.writerow((status.agent_steps, f"{status.seconds:.1f}", name, f"{value:.6g}"))
        append(self._csv, rows.getvalue().encode(), _CSV_BEGIN)
        if self._events is not None:
            append(self._events, _event_records(scalars, status.agent_steps), _first_records(self._text))


def read_curve(folder: Path, name: str) -> list[tuple[int, float, float]]:
    """Points (agent steps, seconds, value) of one curve of a run."""
    with (folder / CSV_NAME).open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["name"] == name]
    return [(int(row["agent_steps"]), float(row["seconds"]), float(row["value"])) for row in rows]


def _event_records(scalars: dict[str, float], step: int) -> bytes:
    """A point of every curve in TensorBoard's form."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
    return _records(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))


def _first_records(text: str) -> bytes:
    """What a TensorBoard file begins with, and the run's settings."""
    from tensorboard.compat.proto.event_pb2 import Event
    from torch.utils.tensorboard.summary import text as text_summary

    now = time.time()
    settings = text_summary("settings", text)  # type: ignore[no-untyped-call]
    return _records(Event(wall_time=now, file_version="brain.Event:2"), Event(wall_time=now, summary=settings))


def _records(*events: Any) -> bytes:
    from tensorboard.summary.writer.record_writer import RecordWriter

    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    for event in events:
        writer.write(event.SerializeToString())
    return buffer.getvalue()
