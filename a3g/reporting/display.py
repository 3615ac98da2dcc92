"""Shows a run while it goes on: a live table or plain lines, and its curves and its log on disk."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from a3g.config import TrainConfig
from a3g.config_json import to_json
from a3g.reporting.live_table import LiveTable, clock
from a3g.reporting.metrics import MetricsWriter
from a3g.reporting.run_log import LOG_NAME, RunLog
from a3g.reporting.say import say
from a3g.reporting.status import RunStatus
from a3g.reporting.status_line import make_line
from a3g.reporting.step_rate import StepRate

TABLE_SECONDS = 1.0
LINE_SECONDS = 15.0
METRICS_SECONDS = 10.0
LOG_SECONDS = 5.0


class RunDisplay:
    """Use as a context manager around the run; `update` is cheap to call often.

    Nothing here ends a run: what can't be drawn is said in plain lines, what can't be written is said once.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: Path,
        seconds_before: float = 0.0,
        agent_steps_before: int = 0,
        console: Console | None = None,
    ) -> None:
        """
        Args:
            folder: the run's folder, for its curves.
            seconds_before: of the run before this start of it.
            agent_steps_before: likewise.
            console: where to draw; by default stdout.
        """
        self._console = console or Console()
        self._config, self._seconds_before = config, seconds_before
        self._title = _title(config, folder)
        draws = self._console.is_terminal and not self._console.is_dumb_terminal
        # Drawn by this thread alone, so that an error in drawing arrives here.
        self._live = Live(console=self._console, auto_refresh=False) if draws else None
        self._metrics = MetricsWriter(folder, config.tensorboard_logger, json.dumps(to_json(config), indent=1))
        self._metrics_failed = False
        self._log, self._log_failed = RunLog(folder, self._title), False
        self._rate = StepRate(seconds_before, agent_steps_before)
        self._unwritten: tuple[RunStatus, float | None] | None = None
        self._shown_at = self._written_at = self._logged_at = time.monotonic() - LINE_SECONDS

    def __enter__(self) -> RunDisplay:
        if self._live is None:
            self._print(self._title)
        else:
            try:
                self._live.start()
            except Exception as error:
                self._stop_drawing(error)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            try:
                self._live.stop()
            except Exception as drawing_error:
                self._stop_drawing(drawing_error)
            self._live = None
        if self._unwritten is not None:  # the curves' last points
            self._write(*self._unwritten)
            self._unwritten = None

    def update(self, status: RunStatus) -> None:
        """Show and write what is due."""
        now = time.monotonic()
        rate = self._rate.update(status.seconds, status.agent_steps)
        if self._live is not None and now - self._shown_at >= TABLE_SECONDS:
            self._shown_at = now
            self._draw(status, rate)
        elif self._live is None and now - self._shown_at >= LINE_SECONDS and status.agent_steps:
            self._shown_at = now
            self._print(make_line(status, rate, self.seconds_left(status, rate)))
        if status.agent_steps and now - self._logged_at >= LOG_SECONDS:
            self._logged_at = now
            self._write_log(status, rate)
        self._unwritten = (status, rate) if status.agent_steps else None
        if self._unwritten is not None and now - self._written_at >= METRICS_SECONDS:
            self._written_at = now
            self._write(status, rate)
            self._unwritten = None

    def finish(self, status: RunStatus) -> None:
        """Show where the run stood at its end, and write it."""
        rate = self._rate.update(status.seconds, status.agent_steps)
        if self._live is not None:
            self._draw(status, rate)
        self._unwritten = (status, rate) if status.agent_steps else None
        if status.agent_steps:
            self._write_log(status, rate)

    def seconds_left(self, status: RunStatus, rate: float | None) -> float | None:
        """Until the first of the run's goals is reached; None if there is none, or it can't be told when."""
        config, left = self._config, []
        if config.total_steps and rate:
            left.append(max(config.total_steps - status.agent_steps, 0) / rate)
        if config.max_minutes:
            left.append(max(60 * config.max_minutes - (status.seconds - self._seconds_before), 0.0))
        return min(left, default=None)

    def say(self, message: str) -> None:
        """Print a line above the table, and note it in train.log."""
        self._print(f"a3g: {message}")
        with contextlib.suppress(OSError):  # said already, and at the next line of the table
            self._log.note(message)

    def say_end(self, status: RunStatus, reason: str) -> None:
        """Print how it ended."""
        rate = status.agent_steps / status.seconds if status.seconds else 0.0
        self.say(f"{reason}, after {status.agent_steps:,} agent steps in {clock(status.seconds)} ({rate:,.0f} agent steps/s)")

    def _draw(self, status: RunStatus, rate: float | None) -> None:
        assert self._live is not None
        try:
            table = LiveTable(status, rate, self._title, self.seconds_left(status, rate))
            self._live.update(table, refresh=True)
        except Exception as error:  # of a library, a terminal, an encoding: a run is worth more than its picture
            self._stop_drawing(error)

    def _stop_drawing(self, error: Exception) -> None:
        """Go on with plain lines."""
        live, self._live = self._live, None
        if live is not None:
            with contextlib.suppress(Exception):
                live.stop()  # may fail to draw again, but leaves the terminal as it was
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        self._print(f"a3g: the live table can't be drawn ({reason}); plain lines from here on")

    def _print(self, line: str) -> None:
        if self._live is not None:
            try:
                self._console.print(Text(line), highlight=False, soft_wrap=True)
            except Exception as error:
                self._stop_drawing(error)
            else:
                return
        try:
            say(line)
        except UnicodeEncodeError:
            say(line.encode("ascii", "backslashreplace").decode("ascii"))

    def _write_log(self, status: RunStatus, rate: float | None) -> None:
        try:
            self._log.add(status, rate)
            self._log_failed = False
        except OSError as error:
            if not self._log_failed:
                self._print(f"a3g: could not write {LOG_NAME}: {error.strerror or error}")
            self._log_failed = True

    def _write(self, status: RunStatus, rate: float | None) -> None:
        try:
            self._metrics.write(status, rate)
            self._metrics_failed = False
        except Exception as error:  # a full disk, or a library that does not fit
            if not self._metrics_failed:
                self.say(f"could not write the run's curves: {error}")
            self._metrics_failed = True


def _title(config: TrainConfig, folder: Path) -> str:
    env = "" if config.env in folder.name else f"{config.env}, "  # runs are named after their environment by default
    return f"{folder}: {env}{config.workers} workers x {config.lanes} lanes"
