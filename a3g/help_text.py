"""What `--help` shows: the options in groups, wrapped to the terminal's width.

The groups are the comments that begin with ``# --`` among a dataclass's fields; groups of the same name are one. The
sentences are the docstrings under the fields.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import shutil
import sys
import textwrap
import types
from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro

GENERAL = "general"
"""The group of the fields before the first comment."""
NOTHING = "–"
"""An empty default."""
ALGORITHM_OPTIONS = "options"
"""The field of TrainConfig that holds what only some algorithms have."""
_GROUP = re.compile(r"\s+# -- (.+)")
_FLAG_COLUMN = 30
_NARROWEST, _WIDEST = 40, 120
_WORDS = {int: "N", float: "X", str: "TEXT", Path: "PATH"}


@dataclass(frozen=True)
class Entry:
    """A line of the help: what to type, and what it does."""

    flags: str
    text: str


def help_texts(kind: type[Any]) -> dict[str, str]:
    """The sentence under each field of a dataclass, inherited fields included."""
    texts: dict[str, str] = {}
    for base in _dataclasses(kind):
        for field, text in pairwise(_body(base)):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
                assert isinstance(text.value, ast.Constant)
                texts[field.target.id] = " ".join(str(text.value.value).split())
    return texts


def groups(kind: type[Any]) -> dict[str, list[str]]:
    """A dataclass's fields by their groups, in the order of the source."""
    group_of: dict[str, str] = {}
    for base in _dataclasses(kind):
        lines = textwrap.dedent(inspect.getsource(base)).splitlines()
        headings = {number: match[1] for number, line in enumerate(lines, 1) if (match := _GROUP.fullmatch(line))}
        for field in _body(base):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                above = [heading for number, heading in headings.items() if number < field.lineno]
                group_of[field.target.id] = above[-1] if above else GENERAL
    found: dict[str, list[str]] = {}
    for each in fields(kind):
        found.setdefault(group_of[each.name], []).append(each.name)
    return found


def flag_names(kind: type[Any]) -> dict[str, list[str]]:
    """Each field's flag and its other spellings, such as ``--lr`` and ``-l``; not those of an algorithm's own options."""
    return {
        name: [f"--{name.replace('_', '-')}", *(alias for each in extras for alias in getattr(each, "aliases", None) or ())]
        for name, extras in _annotations(kind).items()
        if name != ALGORITHM_OPTIONS
    }


def shown(default: Any) -> str:
    """A default as a person reads it."""
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, tuple) and default:
        return " ".join(map(str, default))
    return NOTHING if default in (None, "", ()) else str(default)


def print_help(config: Any, prog: str, description: str, presets: Iterable[Entry] = ()) -> None:
    """Write a command's help.

    Args:
        config: the options with the defaults to show, a dataclass.
        prog: name of the command.
        description: what it does; paragraphs apart by empty lines.
        presets: what `--preset` can be.
    """
    width = min(max(shutil.get_terminal_size().columns, _NARROWEST), _WIDEST)
    paragraphs = [
        textwrap.fill(" ".join(text.split()), width) for text in (f"usage: {prog} [options]", *description.split("\n\n"))
    ]
    blocks = ["\n\n".join(paragraphs)]
    general = [
        Entry("-h, --help", "Show this help."),
        Entry(
            "--config FILE", "Take options from a run's config.json or from a TOML file; flags win over it, it over --preset."
        ),
    ]
    kind: type[Any] = type(config)
    table = groups(kind)
    for name, names in {GENERAL: [], **table}.items():
        entries = [
            *(general if name == GENERAL else ()),
            *_entries(config, [each for each in names if each != ALGORITHM_OPTIONS]),
        ]
        blocks.append(_block(name, entries, width))
        if ALGORITHM_OPTIONS in names:
            own = getattr(config, ALGORITHM_OPTIONS)
            blocks.append(
                _block(f"of --algorithm {config.algorithm}", _entries(own, [each.name for each in fields(own)]), width)
            )
        if name == GENERAL and (named := list(presets)):
            blocks.append(_block("what --preset can be", named, width))
    print("\n\n".join(block for block in blocks if block))


def _entries(config: Any, names: list[str]) -> list[Entry]:
    kind: type[Any] = type(config)
    texts, flags = help_texts(kind), flag_names(kind)
    hints, extras = get_type_hints(type(config)), _annotations(type(config))
    entries = []
    for name in names:
        spellings = sorted(flags[name], key=len)
        switch = hints[name] is bool and tyro.conf.FlagConversionOff not in extras[name]
        if switch:
            spellings.append(f"--no-{flags[name][0][2:]}")
            what = ""
        else:
            what = " " + _values(hints[name])
        default = shown(getattr(config, name))
        entries.append(
            Entry(", ".join(spellings) + what, texts[name] + (f" (default: {default})" if default != NOTHING else ""))
        )
    return entries


def _values(hint: Any) -> str:
    """What may follow a flag."""
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(each for each in get_args(hint) if each is not type(None))
    if get_origin(hint) is Literal:
        return "{" + ",".join(map(str, get_args(hint))) + "}"
    if get_origin(hint) is tuple:
        return f"[{_WORDS[get_args(hint)[0]]} ...]"
    return "{True,False}" if hint is bool else _WORDS.get(hint, "VALUE")


def _block(heading: str, entries: list[Entry], width: int) -> str:
    """Flags to the left, sentences to the right; a long flag has a line of its own."""
    if not entries:
        return ""
    colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    lines = [f"\033[1m{heading}\033[0m" if colours else heading]
    column = min(_FLAG_COLUMN, width // 3)
    for entry in entries:
        flags = textwrap.wrap(entry.flags, width - 2, break_on_hyphens=False)
        beside = len(flags) == 1 and len(flags[0]) + 4 <= column
        lines += [f"  {line}" for line in flags[: None if not beside else 0]]
        first = f"  {flags[0]}".ljust(column) if beside else " " * column
        lines.append(
            textwrap.fill(entry.text, width, initial_indent=first, subsequent_indent=" " * column, break_on_hyphens=False)
        )
    return "\n".join(lines)


def _annotations(kind: type[Any]) -> dict[str, tuple[Any, ...]]:
    """What is annotated to each field beside its type."""
    return {
        name: getattr(hint, "__metadata__", ())
        for name, hint in get_type_hints(kind, include_extras=True).items()
        if name in kind.__dataclass_fields__
    }


def _dataclasses(kind: type[Any]) -> list[type[Any]]:
    return [base for base in reversed(kind.__mro__) if is_dataclass(base)]


def _body(kind: type[Any]) -> list[ast.stmt]:
    (statement,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(statement, ast.ClassDef)
    return statement.body
