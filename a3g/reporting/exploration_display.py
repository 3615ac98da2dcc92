"""Shows an exploration while it goes on: bars and what each process does, or plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from a3g.reporting.say import say

LINE_SECONDS = 15.0


class ExplorationDisplay:
    """Use as a context manager around the exploration."""

    def __init__(self, stages: int, demonstrations: int, console: Console | None = None) -> None:
        """
        Args:
            stages: how many are explored.
            demonstrations: how many are wanted altogether.
            console: where to draw; by default stdout.
        """
        self._console = console or Console()
        self._draws = self._console.is_terminal and not self._console.is_dumb_terminal
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._draws,
        )
        self._totals = {"stages cleared": stages, "demonstrations": demonstrations}
        self._bars = {name: self._progress.add_task(name, total=total) for name, total in self._totals.items()}
        self._workers: dict[int, TaskID] = {}
        self._said_at = time.monotonic()

    def __enter__(self) -> ExplorationDisplay:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()

    def update(self, stages: int, demonstrations: int, workers: Mapping[int, str]) -> None:
        """Show where it stands.

        Args:
            stages: cleared.
            demonstrations: found.
            workers: what each process does, by its number.
        """
        for name, value in zip(self._bars, (stages, demonstrations), strict=True):
            self._progress.update(self._bars[name], completed=value)
        for number, doing in sorted(workers.items()):
            if number not in self._workers:
                self._workers[number] = self._progress.add_task("", total=None)
            self._progress.update(self._workers[number], description=f"process {number}: {doing}")
        now = time.monotonic()
        if not self._draws and now - self._said_at >= LINE_SECONDS:
            self._said_at = now
            done = zip((stages, demonstrations), self._totals.items(), strict=True)
            say("a3g: " + ", ".join(f"{value} of {total} {name}" for value, (name, total) in done))

    def say(self, message: str) -> None:
        """Print a line above the bars."""
        if self._draws:
            self._console.print(Text(f"a3g: {message}"), highlight=False, soft_wrap=True)
        else:
            say(f"a3g: {message}")


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], console: Console | None = None) -> None:
    """Print what was found, a row for each stage."""
    table = Table()
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*row)
    (console or Console()).print(table)
