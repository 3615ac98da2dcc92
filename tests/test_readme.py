"""The README's tables of flags are those of the commands."""

from pathlib import Path

import pytest

from a3g.config import EvalConfig, TrainConfig
from benchmarks.flags_table import table

README = Path(__file__).resolve().parent.parent / "README.md"


@pytest.mark.parametrize("kind", [TrainConfig, EvalConfig])
def test_readme_lists_every_flag_with_its_help(kind):
    assert table(kind) in README.read_text(), "run `python benchmarks/flags_table.py` and put its tables into the README"
