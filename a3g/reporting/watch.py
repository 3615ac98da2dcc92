"""Shows a run while it goes on: a live table or plain lines, and its curves on disk."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.live import Live

from a3g.command_line import to_json
from a3g.config import TrainConfig
from a3g.reporting.metrics import MetricsWriter
from a3g.reporting.progress import clock, make_line, make_table
from a3g.reporting.status import RunStatus

TABLE_SECONDS = 1.0
LINE_SECONDS = 15.0
METRICS_SECONDS = 10.0
# Agent steps per second are shown over this long.
RATE_WINDOW_SECONDS = 30.0


class Watcher:
    """Use as a context manager around the run; `update` is cheap to call often."""

    def __init__(self, config: TrainConfig, folder: Path) -> None:
        self._console = Console()
        self._title = f"{config.env}, {config.workers} workers × {config.lanes} lanes, {folder}"
        self._live = Live(console=self._console, refresh_per_second=4, transient=False) if self._console.is_terminal else None
        settings = json.dumps(to_json(config), indent=1)
        self._metrics = MetricsWriter(folder, config.tensorboard_logger, settings)
        self._metrics_failed = False
        self._history: list[tuple[float, int]] = []
        self._unwritten: tuple[RunStatus, float] | None = None
        self._shown_at = self._written_at = time.monotonic() - LINE_SECONDS

    def __enter__(self) -> Watcher:
        if self._live is not None:
            self._live.start()
        else:
            self._print(self._title)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()
        if self._unwritten is not None:  # the curves' last points
            self._write(*self._unwritten)

    def update(self, status: RunStatus) -> None:
        """Show and write what is due."""
        now = time.monotonic()
        rate = self._rate(status, now)
        if self._live is not None and now - self._shown_at >= TABLE_SECONDS:
            self._shown_at = now
            self._live.update(make_table(status, rate, self._title))
        elif self._live is None and now - self._shown_at >= LINE_SECONDS and status.agent_steps:
            self._shown_at = now
            self._print(make_line(status, rate))
        self._unwritten = (status, rate) if status.agent_steps else None
        if self._unwritten is not None and now - self._written_at >= METRICS_SECONDS:
            self._written_at = now
            self._write(status, rate)
            self._unwritten = None

    def say(self, message: str) -> None:
        """Print a line above the table."""
        self._print(f"a3g: {message}")

    def say_end(self, status: RunStatus, reason: str) -> None:
        """Print how it ended."""
        rate = status.agent_steps / status.seconds if status.seconds else 0.0
        self.say(f"{reason}, after {status.agent_steps:,} agent steps in {clock(status.seconds)} ({rate:,.0f} agent steps/s)")

    def _print(self, line: str) -> None:
        with contextlib.suppress(OSError):  # a log on a full disk, a pipe that nobody reads any more
            self._console.print(line, highlight=False, soft_wrap=True, markup=False)

    def _write(self, status: RunStatus, rate: float) -> None:
        try:
            self._metrics.write(status, rate)
            self._metrics_failed = False
        except OSError as error:
            if not self._metrics_failed:
                self.say(f"could not write the run's curves: {error}")
            self._metrics_failed = True

    def _rate(self, status: RunStatus, now: float) -> float:
        """Agent steps per second over the last RATE_WINDOW_SECONDS."""
        if self._history and status.agent_steps == self._history[0][1]:
            self._history.clear()  # nothing has been played yet: the window begins now
        self._history.append((now, status.agent_steps))
        while self._history[0][0] < now - RATE_WINDOW_SECONDS:
            self._history.pop(0)
        then, steps = self._history[0]
        return (status.agent_steps - steps) / (now - then) if now > then else 0.0
