"""Processes beside the training that report on it: curves, films, experiment trackers.

They only read what the run writes into its folder, at a low priority. None of them can end or stall the run: one that
dies is started again a few times, and one that takes too long at the end is ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any

from a3g.config import TrainConfig
from a3g.errors import UserError
from a3g.processes.fork_server import start_process
from a3g.processes.process import prepare_process
from a3g.runs.paths import CONFIG_NAME, SUMMARY_NAME
from a3g.runs.recordings import VIDEOS

START_SECONDS = 5.0
"""After the launcher's first look: workers start first."""
RETRY_SECONDS = 60.0
MAX_STARTS = 4
CURVES_SECONDS = 60.0
"""At least; long curves take longer to draw."""
CURVES_SHARE = 0.02
"""Of a core, for drawing."""
FILMS_SECONDS = 2.0
TRACK_SECONDS = 10.0
# How long a run that has reached its goal waits for its last reports, and one that was told to stop.
END_SECONDS = 60.0
STOPPED_SECONDS = 2.0
_QUIET_SECONDS = 2.0
# Of nice(2): where workers keep every core busy, a reporter gets a tenth of one.
_LOW_PRIORITY = 10


class LauncherConnection:
    """A reporter's line to the launcher: hears when the run has ended, and says things to people."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._failing = False

    def run_has_ended(self, seconds: float) -> bool:
        """Wait for the run's end, at most so many seconds; everything is written then."""
        return self._connection.poll(seconds)

    def say(self, message: str) -> None:
        """Print a line."""
        with contextlib.suppress(OSError):
            self._connection.send_bytes(message.encode())

    def say_failure(self, message: str) -> None:
        """Print a line about something that fails again and again, once until `worked`."""
        if not self._failing:
            self.say(message)
        self._failing = True

    def worked(self) -> None:
        """It does not fail any more."""
        self._failing = False


@dataclass
class _Reporter:
    """A process and how to start it."""

    title: str
    target: Callable[..., None]
    """Called with `arguments` and its end of the connection."""
    arguments: tuple[Any, ...]
    process: BaseProcess | None = None
    connection: Connection | None = None
    """Carries what it has to say, and to it that the run has ended and everything is written."""
    due_at: float | None = None
    starts: int = 0


class Reporters:
    """The launcher's side; use as a context manager around the run."""

    def __init__(
        self, config: TrainConfig, folder: Path, context: Any, say: Callable[[str], None], signals: Sequence[int]
    ) -> None:
        """
        Args:
            folder: the run's folder.
            context: of `multiprocessing`, which starts processes.
            say: prints a line.
            signals: those that told the run to stop; grows.
        """
        self._context, self._say, self._signals = context, say, signals
        self._reporters: list[_Reporter] = []
        if config.curves:
            self._reporters.append(_Reporter("a3g curves", run_curves, (folder,)))
        if config.record:
            self._reporters.append(_Reporter("a3g films", run_films, (folder,)))
        self._reporters += [_Reporter(f"a3g track {name}", run_tracking, (name, folder)) for name in config.track]

    def check(self, now: float) -> None:
        """Start what is due, pass on what was said; cheap to call often.

        Args:
            now: a monotonic clock, in seconds.
        """
        for each in self._reporters:
            self._pass_on(each)
            if each.process is not None and not each.process.is_alive():
                self._note_end(each, now)
            if each.process is None:
                each.due_at = now + START_SECONDS if each.due_at is None else each.due_at
                if now >= each.due_at and each.starts < MAX_STARTS:
                    self._start(each, now)

    def __enter__(self) -> Reporters:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Let every reporter make its last report, and end those that take too long."""
        began, heard = time.monotonic(), len(self._signals)
        patience = STOPPED_SECONDS if self._signals or error is not None else END_SECONDS
        for each in self._reporters:
            if not each.starts and patience == END_SECONDS:  # a short run: all that there is to report is its end
                self._start(each, began)
            if each.connection is not None:
                self._end_of_run(each.connection)
        said = False
        while any(self._is_alive(each) for each in self._reporters):
            waited = time.monotonic() - began
            if waited >= patience or len(self._signals) > heard:
                break
            if waited >= _QUIET_SECONDS and not said and not self._signals:
                said = True
                waiting = ", ".join(each.title.removeprefix("a3g ") for each in self._reporters if self._is_alive(each))
                self._say(f"all is saved; waits for the last of: {waiting} (Ctrl-C ends that)")
            time.sleep(0.02)
        for each in self._reporters:
            self._pass_on(each)
            if each.process is not None and each.process.is_alive():
                each.process.kill()
                self._say(f"{each.title} was not ready in time and was ended; what it wrote is kept")
                each.process.join(1.0)

    def _is_alive(self, each: _Reporter) -> bool:
        self._pass_on(each)
        return each.process is not None and each.process.is_alive()

    def _start(self, each: _Reporter, now: float) -> None:
        each.starts += 1
        try:
            mine, theirs = self._context.Pipe()
            with theirs:
                process = self._context.Process(
                    target=each.target, args=(*each.arguments, theirs), name=each.title, daemon=True
                )
                start_process(process)
        except OSError as error:  # no memory or no descriptors left for it at present, say
            each.due_at = now + RETRY_SECONDS
            self._say(f"{each.title} could not be started: {error}")
        else:
            each.process, each.connection = process, mine

    def _note_end(self, each: _Reporter, now: float) -> None:
        assert each.process is not None
        code, each.process = each.process.exitcode, None
        if each.connection is not None:
            each.connection.close()
            each.connection = None
        again = f"started again in {RETRY_SECONDS:.0f} s" if each.starts < MAX_STARTS else "not started again"
        self._say(f"{each.title} ended by exit code {code}; the run goes on, {each.title} is {again}")
        each.due_at = now + RETRY_SECONDS

    def _pass_on(self, each: _Reporter) -> None:
        """Print what a reporter had to say."""
        try:
            while each.connection is not None and each.connection.poll():
                self._say(f"{each.title.removeprefix('a3g ')}: {each.connection.recv_bytes().decode(errors='replace')}")
        except (EOFError, OSError):  # it has ended
            return

    @staticmethod
    def _end_of_run(connection: Connection) -> None:
        with contextlib.suppress(OSError):
            connection.send_bytes(b"")


def prepare_reporter(title: str, connection: Connection) -> LauncherConnection:
    """Set a reporter's process up."""
    prepare_process(title)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # sent to a whole group: the last report is still to come
    with contextlib.suppress(OSError):
        os.nice(_LOW_PRIORITY)
    return LauncherConnection(connection)


def run_curves(folder: Path, connection: Connection) -> None:
    """Entry point of the process that draws curves.png."""
    launcher = prepare_reporter("a3g curves", connection)
    from a3g.reporting.curves import CURVES_NAME, draw_run
    from a3g.reporting.metrics_reader import Curves

    curves = Curves(folder)
    ended, seconds = False, CURVES_SECONDS
    while not ended:
        ended = launcher.run_has_ended(seconds)
        began = time.process_time()
        try:
            if curves.update():
                draw_run(curves, folder.name, folder / CURVES_NAME)
                seconds = max(CURVES_SECONDS, (time.process_time() - began) / CURVES_SHARE)
            launcher.worked()
        except OSError as error:
            launcher.say_failure(f"could not draw {folder / CURVES_NAME}: {error.strerror or error}")


def run_films(folder: Path, connection: Connection) -> None:
    """Entry point of the process that films the tests."""
    launcher = prepare_reporter("a3g films", connection)
    from a3g.processes.films import film_waiting

    ended, seconds = False, FILMS_SECONDS
    while not ended:
        ended, seconds = launcher.run_has_ended(seconds), FILMS_SECONDS
        try:
            for path in film_waiting(folder):
                launcher.say(f"filmed {path}")
            launcher.worked()
        except (OSError, UserError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            launcher.say_failure(f"could not film into {folder / VIDEOS}, the run goes on: {reason}")
            seconds = RETRY_SECONDS


def run_tracking(name: str, folder: Path, connection: Connection) -> None:
    """Entry point of the process that sends the run's curves to the tracker `name`."""
    launcher = prepare_reporter(f"a3g track {name}", connection)
    from a3g.reporting.tracking import Tracking

    tracking = Tracking(name, folder, CONFIG_NAME, SUMMARY_NAME)
    ended, seconds = False, TRACK_SECONDS
    while not ended:
        ended, seconds = launcher.run_has_ended(seconds), TRACK_SECONDS
        try:
            begun = tracking.update()
            if begun:
                launcher.say(begun)
            if ended:
                tracking.finish()
            launcher.worked()
        except Exception as error:  # of a library or of the network: the run is worth more
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            launcher.say_failure(f"can't send the curves, tries again and again; the run goes on: {reason}")
            seconds = RETRY_SECONDS
