"""Writes docs/flags.md from the options' own help: `python -m benchmarks.flags_table` in the repository's root."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from a3g.algorithm_options import OPTIONS
from a3g.config import TrainConfig
from a3g.eval_config import EvalConfig
from a3g.explore_config import ExploreConfig
from a3g.help_text import ALGORITHM_OPTIONS, GENERAL, flag_names, groups, help_texts, shown

PAGE = Path(__file__).resolve().parent.parent / "docs" / "flags.md"
# Defaults that depend on the machine are shown by what they are.
MACHINE_DEFAULTS = {"workers": "cores"}


def table(kind: type[Any]) -> str:
    """A Markdown table of a command's flags; a bold row begins each group."""
    lines = ["| flag | default | what it does |", "|---|---|---|"]
    texts, names, found = help_texts(kind), flag_names(kind), groups(kind)
    defaults = {field.name: field.default for field in fields(kind)}
    for group, members in found.items():
        if len(found) > 1 and group != GENERAL:
            lines.append(f"| **{group}** | | |")
        for name in members:
            if name == ALGORITHM_OPTIONS:
                continue
            spellings = ", ".join(f"`{spelling}`" for spelling in names[name])
            default = MACHINE_DEFAULTS.get(name) or shown(defaults[name])
            lines.append(f"| {spellings} | {default} | {texts[name]} |".replace("<", "&lt;"))
    return "\n".join(lines)


def algorithm_tables() -> str:
    """A table for each algorithm's own flags."""
    return "\n\n".join(f"### `--algorithm {name}`\n\n{table(kind)}" for name, kind in OPTIONS.items())


def page() -> str:
    """The text of docs/flags.md."""
    return f"""# Flags

This page is generated from the programs' own help (`--help`) by `python -m benchmarks.flags_table`. Do not edit it.

A flag that is on or off is switched by its name and by `--no-…` before its name, for example `--lstm` and `--no-lstm`.
`--shared-optimizer` is the exception: it takes `True` or `False`.

## `python main.py`

`--preset NAME` sets the defaults of the other flags; see [Training](training.md#presets). `--config FILE` takes
options from a file, here and in the other commands; see [From Python and other libraries](python.md#a-file-of-options).

{table(TrainConfig)}

Each algorithm has further flags of its own. `python main.py --algorithm ppo --help` shows those of `ppo` among the others.

{algorithm_tables()}

## `python gym_eval.py`

{table(EvalConfig)}

## `python main.py explore`

See [Exploration](exploration.md).

{table(ExploreConfig)}
"""


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"wrote {PAGE}")
