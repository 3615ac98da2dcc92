"""Prints the README's tables of flags from the options' own help: `python benchmarks/flags_table.py`."""

from __future__ import annotations

import ast
import inspect
from dataclasses import fields
from itertools import pairwise
from typing import Any, get_args, get_origin, get_type_hints

from a3g import config


def help_texts(kind: type[Any]) -> dict[str, str]:
    """The line under each field of a dataclass."""
    body = ast.parse(inspect.getsource(kind)).body[0].body  # type: ignore[attr-defined]
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
    }


def shown(default: Any) -> str:
    """A default as a person reads it."""
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, tuple):
        return " ".join(map(str, default))
    return "–" if default in (None, "") else str(default)


def table(kind: type[Any]) -> str:
    """A Markdown table of a command's flags."""
    lines = ["| flag | default | what it does |", "|---|---|---|"]
    texts, hints = help_texts(kind), get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        hint = hints[field.name]
        metadata = get_args(hint)[1:] if get_origin(hint) is not None else ()
        aliases = [alias for each in metadata for alias in getattr(each, "aliases", None) or ()]
        names = ", ".join(f"`{name}`" for name in (f"--{field.name.replace('_', '-')}", *aliases))
        default = "cores" if (kind, field.name) == (config.TrainConfig, "workers") else shown(field.default)
        lines.append(f"| {names} | {default} | {texts[field.name]} |")
    return "\n".join(lines)


if __name__ == "__main__":
    for kind in (config.TrainConfig, config.EvalConfig):
        print(table(kind), end="\n\n")
