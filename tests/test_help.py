"""`--help`: grouped, wrapped to the terminal's width, with the presets, and with the defaults that hold."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from a3g.algorithm_options import OPTIONS
from a3g.command_line import parse_eval, parse_explore, parse_train
from a3g.config import TrainConfig
from a3g.eval_config import EvalConfig
from a3g.help_text import GENERAL, groups, help_texts
from a3g.presets import PRESETS


def help_of(parse, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        parse(arguments)
    assert caught.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("parse", [parse_train, parse_eval, parse_explore])
def test_lines_fit_the_terminal(parse, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = help_of(parse, ["--help"], capsys).splitlines()
    assert max(map(len, lines)) <= min(width, 120)
    assert "\033" not in "".join(lines), "no colours outside a terminal"


@pytest.mark.parametrize("kind", [TrainConfig, EvalConfig])
def test_every_option_is_in_a_group_and_has_a_sentence(kind) -> None:
    names = [field.name for field in fields(kind)]
    assert sorted(name for group in groups(kind).values() for name in group) == sorted(names)
    assert set(groups(kind).get(GENERAL, [])) <= {"preset"}
    assert set(names) == set(help_texts(kind))


def test_groups_are_headings_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    lines = help_of(parse_train, ["-h"], capsys).splitlines()
    headings = [line for line in lines if line in {*groups(TrainConfig), "what --preset can be", "of --algorithm a3c"}]
    own = list(groups(TrainConfig))
    own.insert(own.index("learning") + 1, "of --algorithm a3c")
    own.insert(1, "what --preset can be")
    assert headings == own
    assert lines.index("the game") < lines.index("learning")
    for preset in PRESETS:
        assert sum(line.startswith(f"  {preset} ") for line in lines) == 1


@pytest.mark.parametrize("algorithm", OPTIONS)
def test_each_algorithm_shows_its_own_options(algorithm: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(parse_train, ["--algorithm", algorithm, "--help"], capsys)
    own = text.split(f"of --algorithm {algorithm}\n")[1].split("\n\n")[0]
    for field in fields(OPTIONS[algorithm]):
        assert f"--{field.name.replace('_', '-')}" in own


def test_the_defaults_shown_are_those_that_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Learning rate. (default: 0.0001)" in help_of(parse_train, ["--help"], capsys)
    assert "Learning rate. (default: 0.0005)" in help_of(parse_train, ["--preset", "quick", "--help"], capsys)
    path = tmp_path / "a.toml"
    path.write_text("lr = 0.25")
    assert "Learning rate. (default: 0.25)" in help_of(parse_train, ["--config", str(path), "--help"], capsys)


def test_what_may_follow_a_flag_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(parse_train, ["--help"], capsys)
    for flags in (
        "-l, --lr X",
        "-gp, --gpu-ids [N ...]",
        "--lstm, --no-lstm",
        "-so, --shared-optimizer {True,False}",
        "-o, --optimizer {Adam,RMSprop}",
        "--config FILE",
    ):
        assert f"  {flags}" in text
