"""A process that explores: it takes one task after the other, and verifies what it finds before it hands it over."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection

from a3g.exploration.search import Report, SearchOptions
from a3g.exploration.tasks import Task
from a3g.exploration.verification import Verifier
from a3g.processes.process import prepare_process

# Reports that only say how far a task is come this often at most.
REPORT_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Message:
    """What a process says about its task."""

    seconds: float
    """Since the task began."""
    processor_seconds: float
    """Of this process, since then."""
    report: Report | None = None
    """None when the task is over."""
    refused: str = ""
    """Why what was found, or known, is worth nothing."""


def title_of(number: int) -> str:
    """The title of the process with this number, from 0."""
    return f"a3g explore {number}"


def run_explore_worker(number: int, connection: Connection, options: SearchOptions) -> None:
    """Entry point of the process: tasks come over the connection, messages go back. Ends when it is closed."""
    prepare_process(title_of(number))
    # It may reach all processes of a job. Only the command decides what it means; it ends them by SIGKILL.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    verifier = Verifier()
    while True:
        try:
            task: Task = connection.recv()
        except EOFError:
            return
        for message in messages_of(task, options, verifier):
            connection.send(message)


def messages_of(task: Task, options: SearchOptions, verifier: Verifier) -> Iterator[Message]:
    """Do a task, and say what it finds and at last that it is over."""
    start = said = time.monotonic()
    start_of_processor = time.process_time()

    def message(report: Report | None = None, refused: str = "") -> Message:
        seconds, processor_seconds = time.monotonic() - start, time.process_time() - start_of_processor
        return Message(seconds, processor_seconds, report, refused)

    try:
        for report in task.run(options):
            if report.found is not None:
                good = verifier.clears(report.found)
                yield message(report, "" if good else "a way that does not clear the stage on every engine was left out")
            elif time.monotonic() - said >= REPORT_SECONDS:
                said = time.monotonic()
                yield message(report)
    except ValueError as error:
        yield message(refused=str(error))
    else:
        yield message()
