"""The history of a run's tests: a line each, and the plot that is drawn from it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from a3g.config import TrainConfig
from a3g.errors import UserError
from a3g.processes.launcher import train
from a3g.runs.history import append_to_history, history_entry, read_history
from a3g.runs.paths import HISTORY_NAME
from a3g.runs.scores import GameSettings, Score, StageScore
from benchmarks.campaign_plot import joined
from tests.running import ROOT, SMALL

SETTINGS = GameSettings.of(TrainConfig().game_options())


def score(agent_steps: int, **cleared: int) -> Score:
    """Of ten episodes a stage, cleared so often as said, as in s1_1=9."""
    stages = {name[1:].replace("_", "-"): StageScore(10, number, 500.0) for name, number in cleared.items()}
    return Score(stages, SETTINGS, 0.9, agent_steps)


def test_every_test_of_a_run_is_a_line_and_a_resumed_run_adds_to_them(tmp_path: Path) -> None:
    settings = TrainConfig().with_values(
        {**SMALL, "serial": True, "test_at_end": True, "log_dir": tmp_path, "save_model_dir": tmp_path, "run_name": "run"}
    )
    for steps, resume in ((32, ""), (64, "run")):
        assert train(settings.with_values({"total_steps": steps, "resume": resume, "run_name": "" if resume else "run"})) == 0
    first, second = read_history(tmp_path / "run" / HISTORY_NAME)
    assert (first.agent_steps, second.agent_steps) == (32, 64)
    assert 0 < first.hours < second.hours
    assert first.test_seconds > 0
    assert (first.stages_cleared, first.mean_clear_rate, first.clear_rates) == (0, 0.0, {"1-1": 0.0})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    entries = [history_entry(score(100 * i, s1_1=i, s8_4=10), hours=i / 4, test_seconds=2.5) for i in range(1, 10)]
    for entry in entries:
        append_to_history(tmp_path, entry)
    assert read_history(tmp_path / HISTORY_NAME) == entries
    assert (entries[0].stages_cleared, entries[-1].stages_cleared) == (1, 2)
    assert entries[1].mean_clear_rate == pytest.approx(0.6)
    header = (tmp_path / HISTORY_NAME).read_text().splitlines()[0].split(",")
    assert header[:6] == ["agent_steps", "hours", "test_seconds", "stages_cleared", "mean_clear_rate", "1-1"]
    assert len(header) == 5 + 32


def test_what_a_resumed_run_lost_is_left_out(tmp_path: Path) -> None:
    for steps in (100, 200, 300, 150, 250):
        append_to_history(tmp_path, history_entry(score(steps, s1_1=1), 0.1, 1.0))
    assert [entry.agent_steps for entry in read_history(tmp_path / HISTORY_NAME)] == [100, 150, 250]


@pytest.mark.parametrize("content", [b"agent_steps\n1\n", b"a,b\n1,2\n", b"agent_steps,hours\nx,1\n", b"\xff\xfe"])
def test_a_file_that_is_no_history_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / HISTORY_NAME).write_bytes(content)
    with pytest.raises(UserError, match="is no history of tests"):
        read_history(tmp_path / HISTORY_NAME)
    with pytest.raises(UserError, match="There is no history"):
        read_history(tmp_path / "other.csv")


def test_the_plot_draws_runs_and_joins_those_of_one_label(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for steps in (1_000, 2_000):
            append_to_history(tmp_path / name, history_entry(score(steps, s1_1=steps // 250, s1_2=9), steps / 3600, 1.0))
    one, other = (read_history(tmp_path / name / HISTORY_NAME) for name in ("a", "b"))
    assert [entry.agent_steps for entry in joined(one, other)] == [1_000, 2_000, 3_000, 4_000]
    picture = tmp_path / "new" / "plot.png"
    command = [sys.executable, "-m", "benchmarks.campaign_plot", f"x={tmp_path / 'a'}", f"x={tmp_path / 'b' / HISTORY_NAME}"]
    command += [str(tmp_path / "b"), "--picture", str(picture)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "x: 4 tests; best 1 stages cleared, mean clear rate 85.0%, after 2,000 agent steps" in done.stdout
    assert "b: 2 tests" in done.stdout

    lost = subprocess.run([*command[:3], str(tmp_path / "lost")], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (lost.returncode, lost.stderr) == (2, f"campaign_plot.py: There is no history of tests {tmp_path / 'lost'}.\n")
