"""The exploration command with real processes: it finds, goes on, can be stopped at any moment, and says what is wrong."""

from __future__ import annotations

import io
import json
import re
import signal
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from rich.console import Console

pytest.importorskip("a3g_native")

from a3g.__main__ import main as a3g
from a3g.exploration.demonstrations import Demonstration, demonstrations_path, load_demonstrations, save_demonstrations
from a3g.exploration.verification import Verifier
from a3g.game.stages import Stage
from a3g.reporting.exploration_display import ExplorationDisplay
from main import main
from tests.recordings import AXE_1_4, FLAGPOLE_1_1, PIT_1_1, actions
from tests.running import ROOT, Start

CASTLE = Stage(1, 4)


def command(folder: Path, *more: str) -> list[str]:
    arguments = ["--demos-dir", str(folder / "demos"), "--workers", "2", "--shortening-steps", "2000"]
    return [sys.executable, str(ROOT / "main.py"), "explore", *arguments, *more]


def found(folder: Path, stage: Stage = CASTLE) -> list[Demonstration]:
    return load_demonstrations(folder / "demos", [stage])[stage]


def recorded(recording: str, stage: Stage = CASTLE) -> Demonstration:
    return Demonstration(stage, 0, np.array(actions(recording), np.uint8))


# ---- what it finds -------------------------------------------------------------------------------------


def test_it_finds_as_many_verified_demonstrations_as_wanted(tmp_path: Path, start: Start) -> None:
    table = tmp_path / "table.json"
    options = ("--stages", "1-4", "--per-stage", "3")
    out, err = start(command(tmp_path, *options, "--json", str(table))).finish(0)
    assert err == ""
    assert "a3g: 1-4: cleared in" in out
    assert "a3g: 1 of 1 stages cleared, 3 demonstrations" in out
    demonstrations = found(tmp_path)
    verifier = Verifier()
    assert [verifier.clears(each) for each in demonstrations] == [True] * 3
    first, *others = demonstrations
    assert (first.idle_frames, first.sticky_actions) == (0, 0.0)
    assert any(each.sticky_actions > 0.0 for each in others)
    content = json.loads(table.read_text())
    row = content["stages"]["1-4"]
    assert list(content["stages"]) == ["1-4"]
    assert (row["agent_steps"], row["frames"]) == (len(first.actions), 4 * len(first.actions))
    assert row["first_agent_steps"] >= row["agent_steps"]
    assert row["demonstrations"] == 3
    assert 0.0 < row["seconds"] <= content["seconds"]
    assert row["agent_steps_explored"] > 0
    # Nothing is left to do.
    written = demonstrations_path(tmp_path / "demos", CASTLE).read_bytes()
    start(command(tmp_path, *options)).finish(0)
    assert demonstrations_path(tmp_path / "demos", CASTLE).read_bytes() == written
    assert [path.name for path in (tmp_path / "demos").iterdir()] == ["1-4.safetensors"]


def test_it_goes_on_from_the_files_there_are(tmp_path: Path, start: Start) -> None:
    sticky = Demonstration(CASTLE, 0, recorded(AXE_1_4).actions, 0.125)
    save_demonstrations(tmp_path / "demos", CASTLE, [recorded(AXE_1_4), sticky])
    out, _ = start(command(tmp_path, "--stages", "1-4", "--per-stage", "3")).finish(0)
    assert "cleared in" not in out  # there was a way already
    first, second, third = found(tmp_path)
    assert len(first.actions) <= len(actions(AXE_1_4))
    assert second.sticky_actions == 0.125
    np.testing.assert_array_equal(second.actions, sticky.actions)
    assert Verifier().clears(third)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_keeps_what_it_found_and_goes_on_later(tmp_path: Path, start: Start, number: signal.Signals) -> None:
    run = start(command(tmp_path, "--stages", "1-4", "8-4"))
    run.wait_for(lambda: found(tmp_path))
    for process in (*run.children().values(), run.process):  # as a terminal or a batch system does
        if "explore" in " ".join(psutil.Process(process.pid).cmdline()):
            process.send_signal(number)
    out, err = run.finish(128 + number)
    assert err == ""
    assert f"a3g: {number.name}: stopped; what was found is kept" in out
    assert "died" not in out
    before = found(tmp_path)
    assert before
    start(command(tmp_path, "--stages", "1-4", "--per-stage", "2")).finish(0)
    assert len(found(tmp_path)) == max(2, len(before))


def test_out_of_time_it_says_so_by_its_exit_code(tmp_path: Path, start: Start) -> None:
    out, err = start(command(tmp_path, "--stages", "8-4", "--max-minutes", "0.02")).finish(1)
    assert "a3g: 0 of 1 stages cleared" in out
    assert err == ""


def test_the_task_of_a_process_that_dies_is_done_again(tmp_path: Path, start: Start) -> None:
    run = start(command(tmp_path, "--stages", "1-4", "--per-stage", "1"))
    victim = run.wait_for(lambda: run.children().get("a3g explore 0"))
    victim.kill()
    out, _ = run.finish(0)
    assert "a3g explore 0 died with exit code -9; its task is done again" in out
    assert Verifier().clears(found(tmp_path)[0])


# ---- what is wrong -------------------------------------------------------------------------------------


def test_a_disk_that_takes_nothing_more_ends_it_in_one_sentence_and_loses_nothing(tmp_path: Path, start: Start) -> None:
    save_demonstrations(tmp_path / "demos", CASTLE, [recorded(AXE_1_4)])
    kept = demonstrations_path(tmp_path / "demos", CASTLE).read_bytes()
    run = start(command(tmp_path, "--stages", "1-4"))
    psutil.Process(run.process.pid).rlimit(psutil.RLIMIT_FSIZE, (100, psutil.RLIM_INFINITY))
    _, err = run.finish(2)
    assert err.startswith(f"main.py explore: Can't write the demonstrations of 1-4 into {tmp_path / 'demos'}: File too large")
    assert err.count("\n") == 1
    assert demonstrations_path(tmp_path / "demos", CASTLE).read_bytes() == kept
    assert [path.name for path in (tmp_path / "demos").iterdir()] == ["1-4.safetensors"]


def test_two_explorations_do_not_write_into_one_folder(tmp_path: Path, start: Start) -> None:
    run = start(command(tmp_path, "--stages", "8-4"))
    run.wait_for(lambda: run.children().get("a3g explore 0"))
    _, err = start(command(tmp_path, "--stages", "1-1")).finish(2)
    assert err == f"main.py explore: Another exploration writes into {tmp_path / 'demos'}: wait for it, or choose another " + (
        "--demos-dir.\n"
    )
    run.process.send_signal(signal.SIGINT)
    run.finish(130)


def test_a_file_whose_way_does_not_clear_is_refused_and_kept(tmp_path: Path, start: Start) -> None:
    save_demonstrations(tmp_path / "demos", CASTLE, [recorded(PIT_1_1)])
    kept = demonstrations_path(tmp_path / "demos", CASTLE).read_bytes()
    _, err = start(command(tmp_path, "--stages", "1-4")).finish(2)
    assert "A demonstration of 1-4 in" in err
    assert "this way does not clear 1-4" in err
    assert err.count("\n") == 1
    assert demonstrations_path(tmp_path / "demos", CASTLE).read_bytes() == kept


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--stages", "1-5"], "--stages must be stages from 1-1 to 8-4, not 1-5."),
        (["--stages", "1-1", "SuperMarioBros-v0"], "--stages must be stages from 1-1 to 8-4, not SuperMarioBros-v0."),
        (["--per-stage", "0"], "--per-stage must be at least 1, not 0."),
        (["--workers", "0"], "--workers must be at least 1, not 0."),
        (["--sticky-actions", "1"], "--sticky-actions must be a chance from 0 up to, not including, 1, not 1.0."),
        (["--demos-dir", ""], "--demos-dir must be a name or a path, not empty."),
        (["--demos-dir", "/dev/null/demos"], "Can't write into the folder /dev/null/demos: Not a directory."),
        (["--demos-dir", "{folder}", "--json", "{folder}"], "Can't write the table to {folder}: it is a folder."),
    ],
)
def test_mistakes_are_said_in_one_sentence(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [argument.format(folder=tmp_path) for argument in arguments]
    assert main(["explore", *arguments]) == 2
    assert capsys.readouterr().err == f"main.py explore: {sentence.format(folder=tmp_path)}\n"


@pytest.mark.parametrize("damage", ["cut off", "another program's"])
def test_damaged_files_are_refused_before_anything_is_explored(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_demonstrations(tmp_path, Stage(1, 1), [recorded(FLAGPOLE_1_1, Stage(1, 1))])
    path = demonstrations_path(tmp_path, Stage(1, 1))
    path.write_bytes(path.read_bytes()[:-9] if damage == "cut off" else b"something else")
    assert a3g(["explore", "--demos-dir", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"a3g explore: The demonstrations file {path} is damaged")
    assert said.count("\n") == 1


# ---- what it shows -------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [50, 120])
def test_a_terminal_shows_bars_and_what_each_process_does(width: int) -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=width, height=30)
    with ExplorationDisplay(32, 256, console) as display:
        display.update(3, 17, {0: "8-4 exploring (first): 12,000 agent steps, 1,234 px", 1: "waits"})
        display.say("1-4: cleared in 260 agent steps")
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", output.getvalue())
    assert "3/32" in shown
    assert "17/256" in shown
    assert "8-4" in shown
    assert "a3g: 1-4: cleared in 260 agent steps" in shown


def test_without_a_terminal_it_says_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with ExplorationDisplay(32, 256) as display:
        display.update(3, 17, {0: "waits"})
        display.say("1-4: cleared in 260 agent steps")
    assert capsys.readouterr().out == "a3g: 1-4: cleared in 260 agent steps\n"
