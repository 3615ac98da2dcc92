"""Writes docs/flags.md from the options' own help: `python -m benchmarks.flags_table` in the repository's root."""

from __future__ import annotations

import ast
import inspect
import textwrap
from dataclasses import fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from a3g.algorithm_options import OPTIONS
from a3g.config import TrainConfig
from a3g.eval_config import EvalConfig
from a3g.explore_config import ExploreConfig

PAGE = Path(__file__).resolve().parent.parent / "docs" / "flags.md"
# The field of TrainConfig that holds what only some algorithms have.
ALGORITHM_OPTIONS = "options"
# Defaults that depend on the machine are shown by what they are.
MACHINE_DEFAULTS = {"workers": "cores"}


def help_texts(kind: type[Any]) -> dict[str, str]:
    """The line under each field of a dataclass, inherited fields included."""
    texts: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not is_dataclass(base):
            continue
        tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        for field, text in pairwise(tree.body[0].body):  # type: ignore[attr-defined]
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
                assert isinstance(text.value, ast.Constant)
                texts[field.target.id] = " ".join(str(text.value.value).split())
    return texts


def flag_names(kind: type[Any]) -> dict[str, list[str]]:
    """Each field's flag and its other spellings, such as ``--lr`` and ``-l``; not those of an algorithm's own options."""
    names: dict[str, list[str]] = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if name == ALGORITHM_OPTIONS:
            continue
        metadata = get_args(hint)[1:] if get_origin(hint) is not None else ()
        aliases = [alias for each in metadata for alias in getattr(each, "aliases", None) or ()]
        names[name] = [f"--{name.replace('_', '-')}", *aliases]
    return names


def shown(default: Any) -> str:
    """A default as a person reads it."""
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, tuple) and default:
        return " ".join(map(str, default))
    return "–" if default in (None, "", ()) else str(default)


def table(kind: type[Any]) -> str:
    """A Markdown table of a command's flags."""
    lines = ["| flag | default | what it does |", "|---|---|---|"]
    texts, names = help_texts(kind), flag_names(kind)
    for field in fields(kind):
        if field.name == ALGORITHM_OPTIONS:
            continue
        spellings = ", ".join(f"`{name}`" for name in names[field.name])
        default = MACHINE_DEFAULTS.get(field.name) or shown(field.default)
        lines.append(f"| {spellings} | {default} | {texts[field.name]} |".replace("<", "&lt;"))
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

`--preset NAME` sets the defaults of the other flags; see [Training](training.md#presets).

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
