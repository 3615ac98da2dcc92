"""What the exploration command leaves beside the demonstrations: a table, on the terminal and as JSON."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from a3g.errors import UserError
from a3g.exploration.demonstrations import FRAME_SKIP
from a3g.exploration.tasks import StageTasks
from a3g.exploration.verification import engines_here
from a3g.explore_config import ExploreConfig
from a3g.files import looking_into, write_output
from a3g.game.stages import Stage
from a3g.reporting.exploration_display import print_table
from a3g.reporting.say import say
from a3g.runs.folder_lock import FolderInUseError, FolderLock

_HEADINGS = ("stage", "seconds", "explored", "first way", "shortest", "frames", "ways")
_COLUMNS = ("seconds", "agent_steps_explored", "first_agent_steps", "agent_steps", "frames", "demonstrations")


@dataclass
class StageStatistics:
    """How the first way through a stage was found; None if it was there before."""

    seconds: float | None = None
    """In the process that found it, since it began with the stage."""
    processor_seconds: float | None = None
    """The same as processor time, which does not grow when other programs use the processor too."""
    seconds_since_start: float | None = None
    """Since the exploration began."""
    agent_steps: int | None = None
    """Played until then, in all lanes."""
    first_length: int | None = None
    """Agent steps of that way."""


def check_output(config: ExploreConfig) -> None:
    """Make the folders that will be written into; now, not after minutes of exploring.

    Raises:
        UserError: if one of them can't be written into.
    """
    _make_writable(config.demos_dir)
    if config.json is not None:
        _make_writable(config.json.parent)
        with looking_into(config.json.parent):
            if config.json.is_dir():
                raise UserError(f"Can't write the table to {config.json}: it is a folder.")


@contextlib.contextmanager
def folder_for_us_alone(folder: Path) -> Iterator[None]:
    """Let no second exploration write into a folder meanwhile, on this machine or on another one that shares it.

    Raises:
        UserError: if there is one already.
    """
    try:
        lock = FolderLock(folder, lambda text: say(f"a3g: {text}"))
    except FolderInUseError as error:
        raise UserError(f"Another exploration writes into {folder}: wait for it, or choose another --demos-dir.") from error
    except OSError as error:
        raise UserError(f"Can't lock the folder {folder}: {error.strerror or error}.") from error
    try:
        yield
    finally:
        lock.release(leave_no_trace=True)


def report(
    config: ExploreConfig,
    stages: Sequence[StageTasks],
    statistics: Mapping[Stage, StageStatistics],
    seconds: float,
    processor_seconds: float,
) -> None:
    """Print the table of stages, and write it if asked for.

    Args:
        seconds: since the exploration began.
        processor_seconds: of all processes together, for all tasks.

    Raises:
        UserError: if it can't be written.
    """
    rows = {str(tasks.stage): _row(tasks, statistics.get(tasks.stage, StageStatistics())) for tasks in stages}
    print_table(_HEADINGS, [(name, *(_shown(row[column]) for column in _COLUMNS)) for name, row in rows.items()])
    say("a3g: seconds and agent steps explored until a first way was found; ways and their lengths in agent steps")
    cleared = sum(row["agent_steps"] is not None for row in rows.values())
    found = sum(row["demonstrations"] for row in rows.values())
    say(f"a3g: {cleared} of {len(rows)} stages cleared, {found} demonstrations, in {seconds:.0f} s")
    if config.json is None:
        return
    times = [row["seconds_since_start"] for row in rows.values() if row["seconds_since_start"] is not None]
    content = {
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "workers": config.workers,
        "seed": config.seed,
        "engines": list(engines_here()),
        "seconds": seconds,
        "processor_seconds": processor_seconds,
        "seconds_until_last_first_way": max(times, default=None),
        "stages": rows,
    }
    try:
        write_output(config.json, (json.dumps(content, indent=1) + "\n").encode())
    except OSError as error:
        raise UserError(f"Can't write the table to {config.json}: {error.strerror or error}.") from error


def _row(tasks: StageTasks, statistics: StageStatistics) -> dict[str, Any]:
    """A stage in the table."""
    length = None if tasks.first is None else len(tasks.first.actions)
    return {
        "seconds": statistics.seconds,
        "processor_seconds": statistics.processor_seconds,
        "seconds_since_start": statistics.seconds_since_start,
        "agent_steps_explored": statistics.agent_steps,
        "first_agent_steps": statistics.first_length,
        "agent_steps": length,
        "frames": None if length is None else FRAME_SKIP * length,
        "demonstrations": len(tasks.demonstrations()),
        "with_sticky_actions": sum(each.sticky_actions > 0.0 for each in tasks.demonstrations()),
    }


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise UserError(f"Can't write into the folder {folder}: {error.strerror or error}.") from error
