"""Options from a file: `--config FILE`, a run's own config.json or a TOML file."""

from __future__ import annotations

import json
import tomllib
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from a3g.algorithm_options import AlgorithmOptions, options_class
from a3g.config import TrainConfig
from a3g.config_json import OLD_NAMES
from a3g.errors import UserError
from a3g.eval_config import EvalConfig
from a3g.explore_config import ExploreConfig

# What a run's config.json says beside the options: with what and where they were used.
DESCRIPTIONS = ("versions", "commit", "host", "resolved")
# None of a run's options either: which run it was resumed from.
_NOT_REPEATED = ("resume",)
_LONGEST_SHOWN = 60


def split_config_file(arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """The file that `--config` names, the last one if there are several, and the command line without it.

    Raises:
        UserError: if `--config` comes without a file.
    """
    path, others, rest = None, [], iter(arguments)
    for argument in rest:
        if argument != "--config" and not argument.startswith("--config="):
            others.append(argument)
            continue
        value = argument.removeprefix("--config=") if "=" in argument else next(rest, "")
        if not value or value.startswith("--"):
            raise UserError("--config must be the name of a file, not empty.")
        path = Path(value)
    return path, others


def read_config_file(path: Path) -> dict[str, Any]:
    """The values in a file, by the options' names; what they are is not checked yet.

    Raises:
        UserError: if the file is missing, damaged, or no table of options.
    """
    if path.suffix not in (".json", ".toml"):
        raise UserError(f"The config file {path} must be a .json or a .toml file.")
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except FileNotFoundError as error:
        raise UserError(f"There is no config file {path}.") from error
    except OSError as error:
        raise UserError(f"The config file {path} can't be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        kind = path.suffix[1:].upper()
        raise UserError(f"The config file {path} is damaged, it is no {kind}: {str(error).rstrip('.')}.") from error
    if not isinstance(content, dict):
        raise UserError(f"The config file {path} must hold options by their names, not {_shown(content)}.")
    is_record = all(name in content for name in DESCRIPTIONS)
    if is_record:
        content = {name: value for name, value in content.items() if name not in (*DESCRIPTIONS, *_NOT_REPEATED)}
    values: dict[str, Any] = {}
    for key, value in content.items():
        plain = key.replace("-", "_")
        name = OLD_NAMES.get(plain, plain)
        if name in values:
            raise UserError(f"The config file {path} gives {name} twice.")
        values[name] = value
    return values


def checked_values(
    path: Path, values: Mapping[str, Any], kind: type[TrainConfig | EvalConfig | ExploreConfig], algorithm: str = ""
) -> dict[str, Any]:
    """The values of a file as the options have them: paths, tuples, whole numbers where decimals are wanted.

    Args:
        path: of the file, for messages.
        kind: whose options they are.
        algorithm: of training, which has options of its own.

    Raises:
        UserError: for an unknown option, or a value of another type.
    """
    hints = _hints(kind, options_class(algorithm) if algorithm else None)
    converted: dict[str, Any] = {}
    for name, value in values.items():
        if name not in hints:
            other = f" of {algorithm}" if algorithm else ""
            raise UserError(f"The config file {path} has an unknown option {name[:_LONGEST_SHOWN]!r}: there is none{other}.")
        fits, converted[name] = _convert(value, hints[name])
        if not fits:
            raise UserError(f"In the config file {path}, {name} must be {_in_words(hints[name])}, not {_shown(value)}.")
    return converted


def _hints(kind: type[Any], options: type[AlgorithmOptions] | None) -> dict[str, Any]:
    hints = {each.name: get_type_hints(kind)[each.name] for each in fields(kind) if each.name != "options"}
    if options is not None:
        hints |= {each.name: get_type_hints(options)[each.name] for each in fields(options)}
    return hints


def _alternatives(hint: Any) -> Iterator[Any]:
    """`int | None` is int and None; other types are themselves."""
    yield from get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _convert(value: Any, hint: Any) -> tuple[bool, Any]:
    """Whether a value is of a type, and what it is then."""
    for kind in _alternatives(hint):
        if kind is type(None):
            if value is None:
                return True, None
        elif get_origin(kind) is Literal:
            if value in get_args(kind):
                return True, value
        elif get_origin(kind) is tuple:
            each = get_args(kind)[0]
            if isinstance(value, list) and all(type(element) is each for element in value):
                return True, tuple(value)
        elif kind is Path:
            if isinstance(value, str) and value:
                return True, Path(value)
        elif type(value) is kind:
            return True, value
        elif kind is float and type(value) is int:
            return True, float(value)
    return False, value


def _in_words(hint: Any) -> str:
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Path: "a path"}
    for kind in _alternatives(hint):
        if get_origin(kind) is Literal:
            return f"one of {', '.join(map(str, get_args(kind)))}"
        if get_origin(kind) is tuple:
            return "a list of whole numbers" if get_args(kind)[0] is int else "a list of texts"
        if kind in words:
            return words[kind]
    return "of another type"


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
