"""The command `a3g`, which `pip install` makes."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import a3g
from a3g.__main__ import main

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"a3g {a3g.__version__}\n"


def test_the_installed_command_is_the_modules() -> None:
    assert PROJECT["scripts"] == {"a3g": "a3g.__main__:run"}


@pytest.mark.parametrize("arguments", [["train", "--workers", "0"], ["eval", "--num-episodes", "0"]])
def test_mistakes_are_said_under_the_commands_name(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith(f"a3g {arguments[0]}: ")


@pytest.mark.parametrize("arguments", [[], ["play"], ["--workers", "2"]])
def test_without_a_command_it_is_said_which_there_are(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert "train" in said
    assert "eval" in said
