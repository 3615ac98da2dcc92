"""From a command line, or from JSON, to the options and back."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tyro

from a3g.algorithm_options import options_class
from a3g.config import EvalConfig, TrainConfig
from a3g.errors import UserError
from a3g.presets import PRESETS, preset_name

EXIT_CODES = (
    "Exit codes: 0 the goal was reached; 1 the run can't go on, or its end could not be saved; 2 a mistake in the command or "
    "in a file; stopped and saved on SIGINT 130, SIGTERM 143, SIGUSR1 138, SIGHUP 129."
)

# Options that had another name before, as settings saved then call them.
OLD_NAMES = {"silence_limit": "heartbeat_timeout", "loss": "algorithm"}

Config = TypeVar("Config", TrainConfig, EvalConfig)


def parse_train(arguments: Sequence[str] | None = None, defaults: TrainConfig | None = None) -> TrainConfig:
    """The training options on the command line; `--preset NAME` sets the defaults of the others.

    Raises:
        UserError: if a value makes no sense.
        SystemExit: with code 2 for what tyro itself refuses, 0 after --help.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    preset = _value_of(arguments, "--preset")
    if preset:
        preset = preset_name(preset)
        defaults = (defaults or TrainConfig()).with_values(PRESETS[preset][1])
    algorithm = _value_of(arguments, "--algorithm") or _value_of(arguments, "--loss")
    if algorithm:  # decides which options there are
        defaults = (defaults or TrainConfig()).with_values({"algorithm": algorithm})
    presets = "\n".join(f"  {name}: {text}" for name, (text, _) in PRESETS.items())
    description = f"{TrainConfig.__doc__}\n\n{EXIT_CODES}\n\n--preset NAME sets the defaults of the others:\n{presets}"
    config = _parse(TrainConfig, arguments, defaults, description)
    return replace(config, preset=preset) if preset else config


def parse_eval(arguments: Sequence[str] | None = None) -> EvalConfig:
    """The evaluation options on the command line; raises as `parse_train`."""
    return _parse(EvalConfig, list(sys.argv[1:] if arguments is None else arguments), None, EvalConfig.__doc__ or "")


def _parse(kind: type[Config], arguments: list[str], defaults: Config | None, description: str) -> Config:
    options: dict[str, Any] = {} if defaults is None else {"default": defaults}
    _refuse_empty(arguments)
    config: Config = tyro.cli(kind, args=arguments, description=description, **options)
    return config


# What names a file, a folder or a run; an empty one is most often a shell's variable that is not set.
_PLACES = (
    "--resume",
    "--log-dir",
    "-lg",
    "--load-model-dir",
    "-lmd",
    "-lmr",
    "--save-model-dir",
    "-smd",
    "--weights",
    "--json",
)


def _refuse_empty(arguments: Sequence[str]) -> None:
    """
    Raises:
        UserError: if an option that names a place is given without one.
    """
    for argument, following in pairwise([*arguments, "end"]):
        name = argument.split("=")[0].replace("_", "-")
        if name in _PLACES and (following == "" if "=" not in argument else argument.endswith("=")):
            raise UserError(f"{name} must be a name or a path, not empty.")


def _value_of(arguments: Sequence[str], name: str) -> str:
    """What follows an option on a command line, the last time that it stands there; empty if it doesn't."""
    value = ""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument == name:
            value = following
        elif argument.startswith(f"{name}="):
            value = argument.removeprefix(f"{name}=")
    return value


def to_json(config: TrainConfig | EvalConfig) -> dict[str, Any]:
    """The options as plain values, those of the algorithm among them."""
    values: dict[str, Any] = asdict(config)
    values |= values.pop("options", {})
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}


def describe_changes(before: TrainConfig, after: TrainConfig) -> str:
    """The settings that differ, in one line; empty if none does. Where things lie is no setting of a run."""
    elsewhere = {"log_dir", "load_model_dir", "save_model_dir", "run_name", "resume"}
    old, new = to_json(before), to_json(after)
    changed = [name for name in new if name not in elsewhere and name in old and old[name] != new[name]]
    return ", ".join(f"--{name.replace('_', '-')} {_shown(old[name])} → {_shown(new[name])}" for name in changed)


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value) or "none"


def train_config_from_json(values: dict[str, Any]) -> TrainConfig:
    """The reverse of `to_json`; fields unknown today are left out.

    Raises:
        UserError: if a value makes no sense.
    """
    values = {OLD_NAMES.get(name, name): value for name, value in values.items()}
    algorithm = values.get("algorithm", TrainConfig.algorithm)
    if not isinstance(algorithm, str):
        raise UserError(f"The run's settings can't be read: algorithm can't be {algorithm!r:.60}.")
    kinds = {**get_type_hints(TrainConfig), **get_type_hints(options_class(algorithm))}
    known = kinds.keys() - {"options"}
    cleaned: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            continue
        kind = kinds[name]
        try:
            cleaned[name] = Path(value) if kind is Path else tuple(value) if isinstance(value, list) else value
            _check_kind(name, cleaned[name], kind)
        except TypeError as error:
            raise UserError(f"The run's settings can't be read: {error}.") from error
    return TrainConfig().with_values(cleaned)


def _check_kind(name: str, value: Any, kind: Any) -> None:
    """
    Raises:
        TypeError: if a value is none that the field's type allows.
    """
    choices = get_args(kind)
    if get_origin(kind) is Literal:
        fits = value in choices
    elif get_origin(kind) is tuple:
        fits = isinstance(value, tuple) and all(type(each) is int for each in value)
    else:
        fits = isinstance(value, Path) if kind is Path else type(value) is kind or (kind is float and type(value) is int)
    if not fits:
        raise TypeError(f"{name} can't be {value!r:.60}")
