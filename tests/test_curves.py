"""Curves as pictures, train.log, `a3g compare`, the scorecard's picture: drawn from real files, and their error cases said."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from a3g.__main__ import main
from a3g.files import append
from a3g.reporting.animation import Animation
from a3g.reporting.curves import draw_comparison, draw_run
from a3g.reporting.metrics import CSV_NAME
from a3g.reporting.metrics_reader import Curves, MetricsReader
from a3g.reporting.run_log import LOG_NAME, RunLog
from a3g.reporting.status import RunStatus
from tests.test_display import stages, status

# Matplotlib's first colours, as blue, green, red.
BLUE, ORANGE = (180, 119, 31), (14, 127, 255)
HEADING = b"agent_steps,seconds,name,value\r\n"


def add_points(folder: Path, *points: tuple[int, float, str, float]) -> None:
    rows = "".join(f"{steps},{seconds:.1f},{name},{value:.6g}\r\n" for steps, seconds, name, value in points)
    append(folder / CSV_NAME, rows.encode(), HEADING)


def run_with_curves(folder: Path, scale: float = 1.0) -> Path:
    names = ("train/mean_return", "train_clear_rate/1-1", "train_clear_rate/1-2", "train_progress/1-1", "learn/entropy")
    for i in range(1, 30):
        add_points(folder, *((1_000 * i, 2.0 * i, name, scale * i / 30) for name in names))
    return folder


def has_colour(picture: Any, colour: tuple[int, int, int]) -> bool:
    """Whether something is drawn in about this colour (blue, green, red): thin lines are mixed with the white around them."""
    return bool((np.abs(picture.astype(int) - colour).max(-1) < 40).any())


def picture_of(path: Path) -> Any:
    picture = cv2.imread(str(path))
    assert picture is not None
    return picture


# -- reading


def test_only_what_is_new_is_read_and_a_line_in_the_making_waits(tmp_path: Path) -> None:
    reader = MetricsReader(tmp_path)
    assert reader.read() == []
    add_points(tmp_path, (10, 1.0, "a", 1.0), (10, 1.0, "b", 2.0), (20, 2.0, "a", 3.0))
    assert [(point.agent_steps, point.scalars) for point in reader.read()] == [(10, {"a": 1.0, "b": 2.0}), (20, {"a": 3.0})]
    append(tmp_path / CSV_NAME, b"30,3.0,a,")
    assert reader.read() == []
    append(tmp_path / CSV_NAME, b"4\r\nno,row\r\n")
    assert [point.scalars for point in reader.read()] == [{"a": 4.0}]


def test_what_was_played_after_the_checkpoint_that_a_run_went_on_from_does_not_count(tmp_path: Path) -> None:
    add_points(tmp_path, *((steps, float(steps), "a", float(steps)) for steps in (10, 20, 30)), (20, 21.0, "a", 5.0))
    curves = Curves(tmp_path)
    assert curves.update()
    assert not curves.update()
    assert list(curves.by_name["a"].agent_steps) == [10, 20]
    assert list(curves.by_name["a"].values) == [10.0, 5.0]


def test_the_mean_over_stages_is_of_those_known_at_the_time(tmp_path: Path) -> None:
    add_points(tmp_path, (10, 1.0, "x/1-1", 1.0), (20, 2.0, "x/1-1", 2.0), (20, 2.0, "x/1-2", 4.0))
    curves = Curves(tmp_path)
    curves.update()
    assert list(curves.mean_over_stages("x").values) == [1.0, 3.0]


# -- pictures


def test_a_runs_picture_shows_its_curves(tmp_path: Path) -> None:
    empty, drawn = Curves(tmp_path / "none"), Curves(run_with_curves(tmp_path / "run"))
    drawn.update()
    draw_run(empty, "run", tmp_path / "empty.png")
    draw_run(drawn, "run", tmp_path / "curves.png")
    assert not has_colour(picture_of(tmp_path / "empty.png"), BLUE)
    assert has_colour(picture_of(tmp_path / "curves.png"), BLUE)
    with pytest.raises(OSError, match="exists"):
        draw_run(drawn, "run", tmp_path / "curves.png" / "x.png")


def test_many_points_are_drawn_as_means(tmp_path: Path) -> None:
    add_points(tmp_path, *((i, i / 10, "train/mean_return", i % 2) for i in range(1, 5_000)))
    curves = Curves(tmp_path)
    curves.update()
    draw_comparison({"run": curves}, tmp_path / "compare.png")
    assert picture_of(tmp_path / "compare.png").shape[1] == 1_100


def test_runs_are_compared_by_name_folder_and_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_with_curves(tmp_path / "one")
    run_with_curves(tmp_path / "two", 0.5)
    out = tmp_path / "new" / "picture.png"
    arguments = ["one", f"label={tmp_path / 'two'}", "--log-dir", str(tmp_path), "--output", str(out)]
    assert main(["compare", *arguments]) == 0
    assert f"picture: {out}" in capsys.readouterr().out
    assert has_colour(picture_of(out), BLUE)
    assert has_colour(picture_of(out), ORANGE)


@pytest.mark.parametrize(
    ("runs", "sentence"),
    [
        ([], "Nothing to compare"),
        (["nothing"], "There is no run 'nothing'"),
        (["empty"], "has no curves yet: its metrics.csv is missing or empty"),
        (["one", "one"], "Two runs are called 'one'"),
        (["x" * 300], "There is no run"),
    ],
)
def test_what_can_not_be_compared_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], runs: list[str], sentence: str
) -> None:
    (tmp_path / "empty").mkdir()
    run_with_curves(tmp_path / "one")
    assert main(["compare", *runs, "--log-dir", str(tmp_path)]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "compare.png").exists()


def test_a_scorecard_is_drawn_from_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    episodes = [{"stage": "1-1", "outcome": "cleared", "progress": 3_000}, {"stage": "8-4", "outcome": "died", "progress": 9}]
    (tmp_path / "results.json").write_text(json.dumps({"episodes": episodes}))
    assert main(["demo", "--scorecard", str(tmp_path / "results.json"), "--output", str(tmp_path / "out")]) == 0
    assert picture_of(tmp_path / "out" / "scorecard.png").shape[1] == 1_210
    for content, sentence in (("{}", "is no file of results"), ('{"episodes": [{}]}', "is no file"), ("x", "is no file")):
        (tmp_path / "bad.json").write_text(content)
        assert main(["demo", "--scorecard", str(tmp_path / "bad.json"), "--output", str(tmp_path)]) == 2
        assert sentence in capsys.readouterr().err
    assert main(["demo", "--scorecard", str(tmp_path / "none.json"), "--output", str(tmp_path)]) == 2
    assert "Can't read the results" in capsys.readouterr().err
    assert main(["demo", "--scorecard", str(tmp_path / "results.json"), "--output", str(tmp_path / "bad.json")]) == 2
    assert "Can't write into the folder" in capsys.readouterr().err
    assert main(["demo", "--episodes", "0"]) == 2


def test_an_animation_keeps_its_limit(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    animation = Animation(64, every=2, most=20, milliseconds=100)
    for _ in range(50):
        animation.add(random.integers(0, 255, (96, 128, 3), np.uint8))
    whole = animation.write(tmp_path / "a.webp")
    with Image.open(tmp_path / "a.webp") as shown:
        assert (shown.format, shown.size, getattr(shown, "n_frames", 1)) == ("WEBP", (64, 48), 20)
    assert animation.write(tmp_path / "b.webp", whole // 6) <= whole // 6
    with Image.open(io.BytesIO((tmp_path / "b.webp").read_bytes())) as shown:
        assert 1 < getattr(shown, "n_frames", 1) < 20


# -- the log


def test_the_log_is_a_table_that_goes_on(tmp_path: Path) -> None:
    for start in range(2):  # the second time as after --resume
        log = RunLog(tmp_path, "run: 2 workers x 4 lanes")
        log.add(status(stages=stages(2), agent_steps=1_000 + start), None)
        log.add(status(stages=stages(2), agent_steps=2_000 + start), 50.0)
        log.note("a3g train 0 died by SIGKILL; started again")
    lines = (tmp_path / LOG_NAME).read_text().splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("# 2")
    assert lines[0].endswith("run: 2 workers x 4 lanes")
    assert lines[1].split()[:3] == ["time", "agent", "steps"]
    assert lines[1] == lines[6]
    assert len({len(line) for line in (lines[1], lines[2], lines[3], lines[7])}) == 1  # in columns
    assert (lines[2].split()[1], lines[3].split()[1], lines[8].split()[1]) == ("1,000", "2,000", "2,001")
    assert lines[4].endswith("a3g train 0 died by SIGKILL; started again")


def test_a_metric_that_turns_up_later_gets_a_heading(tmp_path: Path) -> None:
    log = RunLog(tmp_path, "run")
    shown: list[RunStatus] = [status(metrics={}), status(metrics={"epsilon": 0.5})]
    for each in shown:
        log.add(each, 1.0)
    lines = (tmp_path / LOG_NAME).read_text().splitlines()
    assert ["epsilon" in line for line in lines] == [False, False, False, True, False]
