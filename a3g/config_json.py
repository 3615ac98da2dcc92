"""The options as JSON, in the files of runs and checkpoints, and back."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from a3g.algorithm_options import options_class
from a3g.config import TrainConfig
from a3g.errors import UserError
from a3g.eval_config import EvalConfig

# Options that had another name before, as settings saved then call them.
OLD_NAMES = {"silence_limit": "heartbeat_timeout", "loss": "algorithm"}


def to_json(config: TrainConfig | EvalConfig) -> dict[str, Any]:
    """The options as plain values, those of the algorithm among them."""
    values: dict[str, Any] = asdict(config)
    values |= values.pop("options", {})
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}


def describe_changes(before: TrainConfig, after: TrainConfig) -> str:
    """The settings that differ, in one line; empty if none does. Where things lie is no setting of a run."""
    elsewhere = {"log_dir", "load_model_dir", "save_model_dir", "run_name", "resume", "watch", "watch_host"}
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
    elif get_origin(kind) is UnionType:
        fits = type(value) in choices
    elif get_origin(kind) is tuple:
        fits = isinstance(value, tuple) and all(type(each) is choices[0] for each in value)
    else:
        fits = isinstance(value, Path) if kind is Path else type(value) is kind or (kind is float and type(value) is int)
    if not fits:
        raise TypeError(f"{name} can't be {value!r:.60}")
