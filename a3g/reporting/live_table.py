"""A run as a screenful of text that fits the terminal, whatever its size."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from a3g.reporting.metrics_registry import METRICS, Metric, metric
from a3g.reporting.phases import PHASE_NAMES
from a3g.reporting.status import RunStatus, StageStatus

# A number with its label takes at least this many columns, so that two of them stand side by side in 50.
_CELL_WIDTH = 25
_GAP = 2
# A message from a library may be long; its beginning says what it is about.
_MESSAGE_LINES = 3
# Metrics that stand among the run's main numbers; the others are shown where there is room.
_MAIN_METRICS = ("mean_return", "mean_length")


@dataclass(frozen=True, slots=True)
class _Column:
    heading: str
    width: int
    value: Callable[[StageStatus], str]


_STAGE = _Column("stage", 5, lambda stage: stage.stage)
_EPISODES = _Column("episodes", 8, lambda stage: f"{stage.episodes:,}")
_MEAN_X = _Column("mean x", 6, lambda stage: f"{stage.mean_progress:,.0f}")
_FURTHEST_X = _Column("furthest x", 10, lambda stage: f"{stage.furthest:,}")
_CLEARS = _Column("clears", 6, lambda stage: f"{stage.clear_rate:.0%}")
_TEST_CLEARS = _Column("test clears", 11, lambda stage: f"{stage.test_clear_rate:.0%}" if stage.tested else "-")
_TEST_FURTHEST_X = _Column("test furthest x", 15, lambda stage: f"{stage.test_furthest:,}" if stage.tested else "-")
_BEST = _Column("best", 6, lambda stage: "clears" if stage.best_clears else "-")
_SHORT_X = _Column("x", 5, lambda stage: f"{stage.mean_progress:,.0f}")
_SHORT_TEST = _Column(
    "test", 5, lambda stage: (f"{stage.test_clear_rate:.0%}" if stage.tested else "-") + ("*" if stage.best_clears else " ")
)
# From the most to the least that is told of each stage, with the spaces between columns.
_LAYOUTS: tuple[tuple[int, tuple[_Column, ...]], ...] = (
    (1, (_STAGE, _EPISODES, _MEAN_X, _FURTHEST_X, _CLEARS, _TEST_CLEARS, _TEST_FURTHEST_X, _BEST)),
    (1, (_STAGE, _MEAN_X, _FURTHEST_X, _CLEARS, _TEST_CLEARS, _BEST)),
    (1, (_STAGE, _SHORT_X, _CLEARS, _SHORT_TEST)),
)
_LEGEND = "x: pixels of new ground; *: the best weights clear it"


class LiveTable:
    """What the terminal shows of a run: its numbers, tests, checkpoint and troubles first, then the stages."""

    def __init__(
        self, status: RunStatus, steps_per_second: float | None, title: str, seconds_left: float | None = None
    ) -> None:
        """
        Args:
            status: where the run stands.
            steps_per_second: agent steps per second; None if it is not known yet.
            title: the first line.
            seconds_left: until the run's goal is reached; None if it has none or that is not known.
        """
        self._status, self._rate, self._title, self._seconds_left = status, steps_per_second, title, seconds_left

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self.lines(options.max_width, options.size.height - 1)

    def lines(self, width: int, height: int) -> list[Text]:
        """At most `height` lines of at most `width` columns."""
        status = self._status
        safety, counted = _saving_lines(status), _trouble_lines(status)
        first = [
            *_wrap(self._title, width, "bold", most=2),
            *chain.from_iterable(_wrap(line, width, style) for line, style in safety if line.startswith("NOT SAVING")),
            *_grid(self._numbers(), width),
            *_wrap(_tests(status), width),
            *chain.from_iterable(_wrap(line, width, style) for line, style in safety if not line.startswith("NOT SAVING")),
            *chain.from_iterable(_wrap(line, width, "yellow") for line in counted),
        ]
        phases = _wrap(_phases(status), width, "dim") if any(status.phase_shares) else []
        details = [*_grid(self._details(), width), *phases]
        # The stages come before the details.
        room = height - len(first)
        wanted = 1 + _rows_of_shortest(len(status.stages), width) if status.stages else 0
        details = details[: max(room - wanted, 0)]
        stages = _stage_lines(status.stages, width, room - len(details))
        return [*first, *details, *stages][:height]

    def _numbers(self) -> Iterable[tuple[str, str]]:
        status = self._status
        yield "agent steps", f"{status.agent_steps:,}"
        yield "agent steps/s", "-" if self._rate is None else f"{self._rate:,.0f}"
        yield "time", clock(status.seconds)
        if self._seconds_left is not None:
            yield "time left", f"about {clock(self._seconds_left)}"
        yield "episodes", f"{status.episodes:,}"
        yield "updates", f"{status.updates:,}"
        for name in _MAIN_METRICS:
            known = name in status.metrics and status.episodes
            yield metric(name).heading, format_metric(metric(name), status.metrics[name]) if known else "-"

    def _details(self) -> Iterable[tuple[str, str]]:
        order = {name: i for i, name in enumerate(METRICS)}
        for name in sorted(self._status.metrics, key=lambda name: order.get(name, len(order))):
            if name not in _MAIN_METRICS:
                yield metric(name).heading, format_metric(metric(name), self._status.metrics[name])


def format_metric(metric: Metric, value: float) -> str:
    """A metric's value in few letters."""
    if metric.unit == "bytes":
        return f"{value / 1e6:,.0f} MB"
    if metric.unit == "bytes/s":
        return f"{value / 1e6:,.2f} MB/s"
    if metric.unit in ("agent steps", "machines") or 100 <= abs(value) < 1e7:
        return f"{value:,.0f}"
    if value == 0 or 1e-3 <= abs(value) < 100:
        return f"{value:.3f}"
    return f"{value:.2e}"


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _wrap(text: str, width: int, style: str = "", most: int = _MESSAGE_LINES) -> list[Text]:
    """Lines of at most `width` columns; what is more than `most` of them is left out."""
    console = Console(width=width, force_terminal=False)
    return list(Text(text, style).wrap(console, width))[:most]


def _grid(cells: Iterable[tuple[str, str]], width: int) -> list[Text]:
    """Labels and values in columns of equal width."""
    cells = list(cells)
    columns = max(1, width // _CELL_WIDTH)
    inner = width // columns - _GAP
    lines = []
    for begin in range(0, len(cells), columns):
        line = Text(no_wrap=True)
        for label, value in cells[begin : begin + columns]:
            space = max(inner - len(value) - 1, 0)
            line.append(f"{label[:space]:{space}} ", "dim").append(value).append(" " * _GAP)
        line.rstrip()
        lines.append(line)
    return lines


def _tests(status: RunStatus) -> str:
    if not status.tests:
        return "test: the first one is going on" if status.testing else "test: none yet"
    best = sum(stage.best_clears for stage in status.stages)
    tested = sum(stage.tested > 0 for stage in status.stages)
    newest = f"newest at {status.tested_agent_steps:,} agent steps"
    return f"tests: {status.tests}, {newest}; best weights clear {best} of {tested} stages"


def _saving_lines(status: RunStatus) -> list[tuple[str, str]]:
    """The newest checkpoint and why nothing can be saved, each with a style."""
    saving = status.saving
    age = f"{clock(max(time.time() - saving.saved_at, 0.0))} ago" if saving.saved_at else "none yet"
    lines = [(f"checkpoint: {age}" + (f", {saving.bytes / 1e6:,.1f} MB" if saving.bytes else ""), "")]
    if saving.trouble:
        lines.append((f"NOT SAVING: {saving.trouble}", "bold red"))
    return lines


def _trouble_lines(status: RunStatus) -> list[str]:
    """What went wrong so far."""
    counted = []
    if status.restarts:
        counted.append(f"{status.restarts} restarts")
    if status.skipped_updates:
        counted.append(f"{status.skipped_updates} updates skipped ({status.skipped_share:.2%})")
    if status.restored:
        counted.append(f"weights restored {status.restored} times")
    return [line for line in (", ".join(counted), status.last_trouble) if line]


def _phases(status: RunStatus) -> str:
    shares = ", ".join(f"{name} {share:.0%}" for name, share in zip(PHASE_NAMES, status.phase_shares, strict=True))
    return f"workers' time: {shares}"


def _layout_width(layout: tuple[int, tuple[_Column, ...]]) -> int:
    gap, columns = layout
    return sum(column.width for column in columns) + gap * (len(columns) - 1)


def _blocks(layout: tuple[int, tuple[_Column, ...]], width: int) -> int:
    """How many stages stand side by side."""
    return (width + _GAP) // (_layout_width(layout) + _GAP)


def _rows_of_shortest(stages: int, width: int) -> int:
    return -(-stages // max(_blocks(_LAYOUTS[-1], width), 1))


def _stage_lines(stages: tuple[StageStatus, ...], width: int, room: int) -> list[Text]:
    """The stages with as much of each as fits into `room` lines; those for which there is none are summed up."""
    if not stages or room < 1:
        return []
    for layout in _LAYOUTS:
        blocks = _blocks(layout, width)
        if blocks and 1 + -(-len(stages) // blocks) <= room:
            lines = _table(stages, layout, blocks)
            legend = [Text(_LEGEND, "dim")] if _SHORT_TEST in layout[1] and len(lines) < room and len(_LEGEND) <= width else []
            return [*lines, *legend]
    layout, blocks = _LAYOUTS[-1], max(_blocks(_LAYOUTS[-1], width), 1)
    shown = stages[: max(room - 2, 0) * blocks]
    rest = stages[len(shown) :]
    summary = f"+{len(rest)} more stages" if shown else f"{len(rest)} stages"
    mean_rate = sum(stage.clear_rate for stage in rest) / len(rest)
    line = Text(f"{summary}: cleared {mean_rate:.0%}, best weights clear {sum(stage.best_clears for stage in rest)}")
    line.truncate(width, overflow="crop")
    return [*(_table(shown, layout, blocks) if shown else []), line]


def _table(stages: tuple[StageStatus, ...], layout: tuple[int, tuple[_Column, ...]], blocks: int) -> list[Text]:
    """A heading, and the stages in columns that are read from top to bottom."""
    gap, columns = layout
    rows = -(-len(stages) // blocks)
    used = -(-len(stages) // rows)
    between = " " * _GAP
    heading = (" " * gap).join(f"{column.heading:>{column.width}}" for column in columns)
    lines = [Text(between.join([heading] * used), "bold", no_wrap=True)]
    for row in range(rows):
        line = Text(no_wrap=True)
        for stage in stages[row::rows]:
            values = (" " * gap).join(f"{column.value(stage):>{column.width}}" for column in columns)
            line.append(values, "green" if stage.best_clears else "").append(between)
        line.rstrip()
        lines.append(line)
    return lines
