"""`a3g compare`: several runs in one picture."""

from __future__ import annotations

from pathlib import Path

from a3g.compare_config import CompareConfig
from a3g.errors import UserError
from a3g.reporting.curves import draw_comparison
from a3g.reporting.metrics import CSV_NAME
from a3g.reporting.metrics_reader import Curves
from a3g.reporting.say import say


def compare(config: CompareConfig) -> int:
    """Draw the runs asked for; returns the exit code.

    Raises:
        UserError: if a run isn't there or has no curves, or the picture can't be written.
    """
    if not config.runs:
        raise UserError("Nothing to compare: name one run or more, such as `a3g compare RUN RUN`.")
    runs: dict[str, Curves] = {}
    for given in config.runs:
        label, separator, name = given.rpartition("=")
        if not separator or _folder_of(given, config.log_dir) is not None:
            label, name = "", given
        folder = _folder_of(name, config.log_dir)
        if folder is None:
            raise UserError(f"There is no run {name!r}: neither {config.log_dir / name} nor {name} is a folder.")
        label = label or folder.absolute().name
        if label in runs:
            raise UserError(f"Two runs are called {label!r}: give one of them another label, LABEL={name}.")
        runs[label] = _read(folder)
    picture = config.output or config.log_dir / "compare.png"
    try:
        draw_comparison(runs, picture)
    except OSError as error:
        raise UserError(f"Can't write the picture {picture}: {error.strerror or error}.") from error
    say(f"picture: {picture}")
    return 0


def _folder_of(name: str, log_dir: Path) -> Path | None:
    """A run's folder by its name or path; None if there is none."""
    try:
        return next((path for path in (log_dir / name, Path(name)) if name and path.is_dir()), None)
    except (OSError, ValueError):  # a name too long, or no name at all
        return None


def _read(folder: Path) -> Curves:
    curves = Curves(folder)
    try:
        curves.update()
    except OSError as error:
        raise UserError(f"Can't read the curves of the run {folder}: {error.strerror or error}.") from error
    if not curves.by_name:
        raise UserError(f"The run {folder} has no curves yet: its {CSV_NAME} is missing or empty.")
    return curves
