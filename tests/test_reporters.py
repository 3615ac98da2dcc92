"""Processes beside the training: they leave their pictures and films, and nothing that happens to them ends the run."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import av
import pytest

from a3g.runs.recordings import VIDEOS
from tests.running import Start, arguments, summary_of

FOLDER = ("--run-name", "run")


def frames_in(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_a_run_leaves_curves_films_and_a_log(tmp_path: Path, start: Start) -> None:
    goal = ("--total-steps", "200", "--test-at-end", "--record", "--curves", "--test-episodes", "1")
    start(arguments(tmp_path, *FOLDER, *goal)).finish(0)
    folder = tmp_path / "logs" / "run"
    assert (folder / "curves.png").stat().st_size > 1_000
    assert "total_steps 200 reached" in (folder / "train.log").read_text()
    assert frames_in(folder / VIDEOS / "best-1-1.mp4") > 60
    assert len(json.loads((folder / VIDEOS / "best-1-1.json").read_text())["episodes"]) == 1
    films = list((folder / VIDEOS).glob("test-*.mp4"))
    assert films
    assert all(frames_in(film) > 30 for film in films)
    assert not list((folder / VIDEOS).glob(".*"))


def test_reporters_that_die_do_not_end_the_run(tmp_path: Path, start: Start) -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    run = start(arguments(tmp_path, *FOLDER, "--record", "--curves", "--track", "mlflow"))
    titles = ("a3g curves", "a3g films", "a3g track mlflow")
    run.wait_for(lambda: set(titles) <= set(run.children()))
    for title in titles:
        os.kill(run.children()[title].pid, signal.SIGKILL)
    log = tmp_path / "logs" / "run" / "train.log"
    said = [f"{title} ended by exit code -9; the run goes on, {title} is started again in 60 s" for title in titles]
    run.wait_for(lambda: log.exists() and all(each in log.read_text() for each in said))
    run.process.send_signal(signal.SIGINT)
    out, _ = run.finish(130)
    assert [out.count(each) for each in said] == [1, 1, 1]
    assert summary_of(tmp_path / "logs" / "run")["restarts"] == 0


def test_films_that_can_not_be_written_are_said_once(tmp_path: Path, start: Start) -> None:
    folder = tmp_path / "logs" / "run"
    folder.mkdir(parents=True)
    (folder / VIDEOS).write_text("in the way")
    out, err = start(arguments(tmp_path, *FOLDER, "--total-steps", "100", "--test-at-end", "--record")).finish(0)
    assert out.count("could not record the test") >= 1
    assert "Traceback" not in out + err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--track", "guess"), "--track must be one or more of wandb, mlflow"),
        (("--serial", "--record"), "--record and --track need the processes that --serial does without"),
    ],
)
def test_what_can_not_be_is_said(tmp_path: Path, start: Start, options: tuple[str, ...], sentence: str) -> None:
    _, err = start(arguments(tmp_path, *options)).finish(2)
    assert sentence in err
    assert not (tmp_path / "logs").exists()
