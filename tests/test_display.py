"""What people see of a run: it fits every terminal, says what matters first, and never ends the run."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from a3g.config import TrainConfig
from a3g.game.stages import STAGES
from a3g.reporting import display
from a3g.reporting.display import RunDisplay
from a3g.reporting.live_table import LiveTable
from a3g.reporting.metrics import read_curve
from a3g.reporting.phases import PHASE_NAMES
from a3g.reporting.status import RunStatus, SavingStatus, StageStatus
from a3g.reporting.status_line import make_line
from a3g.reporting.step_rate import SHORTEST_SECONDS, WINDOW_SECONDS, StepRate

TROUBLE = {
    "restarts": 3,
    "updates": 98,
    "skipped_updates": 2,
    "restored": 1,
    "last_trouble": "12:00:00 a3g train 1 died by SIGKILL; started again",
}
METRICS = {"mean_return": 12.5, "mean_length": 345.0, "entropy": 1.234, "gradient_norm": 0.5, "resident_bytes": 345e6}


def stages(number: int) -> tuple[StageStatus, ...]:
    return tuple(
        StageStatus(str(stage), 1_000 + i, 0.25, 3_161, 1_234.0, 5, 0.5, 3_000, best_clears=i % 2 == 0)
        for i, stage in enumerate(STAGES[:number])
    )


def status(**values: Any) -> RunStatus:
    numbers = {
        "agent_steps": 123_456_789,
        "frames": 0,
        "seconds": 98_765.0,
        "updates": 1_234_567,
        "episodes": 54_321,
        "skipped_updates": 0,
        "restarts": 0,
        "metrics": METRICS,
        "phase_shares": (0.25,) * len(PHASE_NAMES),
        "tests": 12,
        "tested_agent_steps": 123_000_000,
        "stages": (),
    }
    return RunStatus(**{**numbers, **values})


def screen(shown: RunStatus, width: int, height: int, seconds_left: float | None = None) -> str:
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=False)
    with console.capture() as captured:
        console.print(LiveTable(shown, 1_234.0, "logs/run: 2 workers x 4 lanes", seconds_left))
    return captured.get()


# -- the live table


@pytest.mark.parametrize("number", [0, 1, 5, 32])
@pytest.mark.parametrize("size", [(80, 24), (50, 20), (120, 40), (200, 60), (20, 6), (1, 1)])
def test_it_fits_the_terminal(size: tuple[int, int], number: int) -> None:
    width, height = size
    saving = SavingStatus(trouble="No space left on device " * 50)
    shown = status(stages=stages(number), saving=saving, **TROUBLE)
    lines = LiveTable(shown, 1_234.0, "a title " * 30, 4_321.0).lines(width, height - 1)
    assert len(lines) < height
    assert max((line.cell_len for line in lines), default=0) <= width


@pytest.mark.parametrize("size", [(80, 24), (50, 20), (120, 40)])
def test_nothing_that_matters_is_cut(size: tuple[int, int]) -> None:
    saving = SavingStatus(saved_at=time.time() - 61, bytes=15_000_000, trouble="No space left on device")
    text = screen(status(stages=stages(32), saving=saving, **TROUBLE), *size, seconds_left=4_321.0)
    words = " ".join(text.split())
    for expected in (
        "logs/run: 2 workers x 4 lanes",
        "NOT SAVING: No space left on device",
        "agent steps 123,456,789",
        "agent steps/s 1,234",
        "time 27:26:05",
        "time left about 1:12:01",
        "episodes 54,321",
        "return 12.5",
        "tests: 12, newest at 123,000,000 agent steps; best weights clear 16 of 32 stages",
        "checkpoint: 0:01:01 ago, 15.0 MB",
        "3 restarts, 2 updates skipped (2.00%), weights restored 1 times",
        "12:00:00 a3g train 1 died by SIGKILL; started again",
    ):
        assert expected in words, text
    assert text.index("NOT SAVING") < text.index("agent steps") < text.index("checkpoint") < text.index("stage ")
    assert text.isascii()


def test_stages_for_which_there_is_no_room_are_summed_up() -> None:
    text = screen(status(stages=stages(32)), 80, 24)
    assert all(f" {stage} " in text for stage in STAGES), text
    text = screen(status(stages=stages(32)), 50, 16)
    shown = sum(f" {stage} " in text for stage in STAGES)
    assert 0 < shown < 32
    assert f"+{32 - shown} more stages: cleared 25%" in text
    assert "furthest x" in screen(status(stages=stages(3)), 80, 24)  # with room for it, all that is known of a stage


def test_it_says_whether_the_first_test_goes_on() -> None:
    assert "test: none yet" in screen(status(tests=0), 80, 24)
    assert "test: the first one is going on" in screen(status(tests=0, testing=True), 80, 24)
    assert "first test going on" in make_line(status(tests=0, testing=True), None)


def test_what_is_not_known_yet_is_not_shown_as_nought() -> None:
    text = " ".join(screen(status(agent_steps=0, episodes=0, saving=SavingStatus()), 80, 24).split())
    assert "return -" in text
    assert "checkpoint: none yet" in text
    assert "NOT SAVING" not in text


def test_a_metric_that_nobody_declared_is_shown() -> None:
    assert "clipped share" in screen(status(metrics={**METRICS, "clipped_share": 0.125}), 80, 24)


def test_the_line_says_what_is_wrong_first() -> None:
    line = make_line(status(saving=SavingStatus(trouble="No space left on device")), 1_234.0, 61.0)
    assert line.startswith(
        "27:26:05  NOT SAVING: No space left on device  123,456,789 agent steps  1,234/s  about 0:01:01 left"
    )


# -- the rate


def test_the_first_rate_is_measured_from_the_first_step_on() -> None:
    """A rollout is counted at its end, all at once: divided by the time between two looks it is many times too much."""
    rate = StepRate()
    assert rate.update(0.0, 0) is None
    assert rate.update(SHORTEST_SECONDS - 0.1, 1_000) is None
    assert rate.update(10.0, 2_000) == 200.0
    assert rate.update(20.0, 4_000) == 200.0


def test_the_rate_is_that_of_the_last_half_minute() -> None:
    rate = StepRate(seconds=1_000.0, agent_steps=50_000)  # a resumed run
    for second in range(1, 101):
        value = rate.update(1_000.0 + second, 50_000 + (100 if second <= 50 else 300) * second)
    assert value == pytest.approx(300.0, rel=0.01)
    for second in range(101, 101 + int(WINDOW_SECONDS) // 2):
        value = rate.update(1_000.0 + second, 50_000 + 30_000)
    assert value == pytest.approx(150.0, rel=0.1)


# -- the display


def shown_by(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=80, height=24)


def options(**more: Any) -> TrainConfig:
    return TrainConfig(env="SuperMarioBros-1-1-v0", tensorboard_logger=False, **more)


@pytest.mark.parametrize("name", ["a[/b]", "[red]a", ":smile:", "ü×"])
def test_a_title_is_no_markup(tmp_path: Path, name: str) -> None:
    console = terminal()
    with RunDisplay(options(), tmp_path / name, console=console) as shown:
        shown.update(status(stages=stages(1), last_trouble="could not write [/x]"))
        shown.say("a message with [/b]")
    assert name in shown_by(console).replace("\n", "")
    assert "a message with [/b]" in shown_by(console)
    assert "can't be drawn" not in shown_by(console)


def test_a_terminal_that_can_not_encode_a_name_gets_plain_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    with RunDisplay(options(), tmp_path / "ü", console=Console(file=file, force_terminal=True, width=80, height=24)) as shown:
        for _ in range(3):
            shown._shown_at -= display.LINE_SECONDS
            shown.update(status(stages=stages(1)))
    out = capsys.readouterr().out
    assert out.count("the live table can't be drawn (UnicodeEncodeError") == 1
    assert out.count("123,456,789 agent steps") == 2
    assert read_curve(tmp_path / "ü", "train/updates")


def test_an_error_in_drawing_is_said_once_and_lines_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> list[Any]:
        raise ZeroDivisionError("no room")

    monkeypatch.setattr(LiveTable, "lines", fail)
    with RunDisplay(options(), tmp_path, console=terminal()) as shown:
        for _ in range(3):
            shown._shown_at -= display.LINE_SECONDS
            shown.update(status())
        shown.finish(status())
    out = capsys.readouterr().out
    assert out.count("the live table can't be drawn (ZeroDivisionError: no room); plain lines from here on") == 1
    assert out.count("123,456,789 agent steps") == 2


def test_the_last_table_is_that_of_the_end(tmp_path: Path) -> None:
    console = terminal()
    with RunDisplay(options(), tmp_path, console=console) as shown:
        shown.update(status(agent_steps=1_111))
        shown.update(status(agent_steps=2_222))  # too soon to be drawn again
        shown.finish(status(agent_steps=3_333, seconds=98_770.0))
    assert "2,222" not in shown_by(console)
    assert "3,333" in shown_by(console)
    assert [point[0] for point in read_curve(tmp_path, "train/updates")] == [1_111, 3_333]


def test_curves_that_can_not_be_written_end_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    console = terminal()
    with RunDisplay(options(), tmp_path, console=console) as shown:
        monkeypatch.setattr(RunStatus, "scalars", lambda self: {"a": object()})
        shown.update(status())
        shown._written_at -= display.METRICS_SECONDS
        shown.update(status())
    assert shown_by(console).count("could not write the run's curves") == 1


def test_the_time_left_is_that_to_the_nearest_goal(tmp_path: Path) -> None:
    def left(seconds_before: float = 0.0, **goals: Any) -> float | None:
        return RunDisplay(options(**goals), tmp_path, seconds_before).seconds_left(
            status(agent_steps=1_000, seconds=100.0), 10.0
        )

    assert left() is None
    assert left(total_steps=3_000) == 200.0
    assert left(max_minutes=5.0) == 200.0
    assert left(max_minutes=5.0, seconds_before=60.0) == 260.0  # of this start of the run
    assert left(max_minutes=5.0, total_steps=1_500) == 50.0
    assert left(total_steps=500) == 0.0
