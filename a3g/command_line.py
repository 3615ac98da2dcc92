"""From a command line to the options."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import tyro

from a3g.algorithm_options import options_class, refuse_options_of_others
from a3g.compare_config import CompareConfig
from a3g.config import TrainConfig
from a3g.config_file import checked_values, read_config_file, split_config_file
from a3g.demo_config import DemoConfig
from a3g.errors import UserError
from a3g.eval_config import EvalConfig
from a3g.explore_config import ExploreConfig
from a3g.help_text import Entry, print_help
from a3g.presets import PRESETS, preset_name, preset_values
from a3g.resume_request import ResumeRequest
from a3g.watch_config import WatchConfig

EXIT_CODES = (
    "Exit codes: 0 the goal was reached; 1 the run can't go on, or its end could not be saved; 2 a mistake in the command or "
    "in a file; stopped and saved on SIGINT 130, SIGTERM 143, SIGUSR1 138, SIGHUP 129."
)

ALGORITHM_HELP = "The options of another algorithm: --algorithm NAME --help."
EXPLORING = "`python main.py explore --help`: find ways through the stages without a network, before training."
EXPLORE_EXIT_CODES = (
    "Exit codes: 0 every stage has as many demonstrations as wanted; 1 some are missing when the time is up; 2 a mistake in "
    "the command or in a file, or a file that can't be written; stopped by SIGINT 130, SIGTERM 143, SIGUSR1 138, SIGHUP 129."
)

Config = TypeVar("Config", TrainConfig, EvalConfig, ExploreConfig)
Command = TypeVar("Command", WatchConfig, CompareConfig, DemoConfig)


def parse_resume_request(arguments: Sequence[str]) -> ResumeRequest:
    """Which run to resume, whatever else the command line says: the run's settings decide which other options there are.

    Raises:
        UserError: if a value makes no sense.
        SystemExit: with code 2 for what tyro itself refuses.
    """
    path, arguments = split_config_file(arguments)
    _refuse_empty(arguments)
    names = {field.name for field in fields(ResumeRequest)}
    given = {} if path is None else {name: value for name, value in read_config_file(path).items() if name in names}
    values = {} if path is None else checked_values(path, given, TrainConfig)
    request, _ = tyro.cli(
        ResumeRequest, args=arguments, default=ResumeRequest(**values), return_unknown_args=True, add_help=False
    )
    return request


def parse_train(arguments: Sequence[str] | None = None, defaults: TrainConfig | None = None) -> TrainConfig:
    """The training options on the command line.

    What stands on the command line wins over the file that `--config` names, that over `--preset`, that over `defaults`.

    Raises:
        UserError: if a value makes no sense.
        SystemExit: with code 2 for what tyro itself refuses, 0 after --help.
    """
    path, arguments = split_config_file(sys.argv[1:] if arguments is None else arguments)
    from_file = {} if path is None else read_config_file(path)
    named = {} if path is None else checked_values(path, _only(from_file, "preset", "env", "algorithm"), TrainConfig)
    defaults = defaults or TrainConfig()
    preset = _value_of(arguments, "--preset") or named.get("preset", "")
    if preset:
        preset = preset_name(preset)
        env = _value_of(arguments, "--env") or _value_of(arguments, "-ev") or named.get("env", defaults.env)
        defaults = defaults.with_values(preset_values(preset, env))
    algorithm = _value_of(arguments, "--algorithm") or _value_of(arguments, "--loss")
    if path is not None:
        of_file = named.get("algorithm", "") or algorithm
        defaults = _with_algorithm(defaults, of_file)
        values = checked_values(path, from_file, TrainConfig, of_file or defaults.algorithm)
        try:
            defaults = defaults.with_values(values)
        except UserError as error:
            raise UserError(f"In the config file {path}: {error}") from error
    defaults = _with_algorithm(defaults, algorithm)
    if _asks_for_help(arguments):
        description = f"{TrainConfig.__doc__}\n\n{EXIT_CODES}\n\n{EXPLORING}\n\n{ALGORITHM_HELP}"
        print_help(defaults, _program(), description, [Entry(name, text) for name, (text, _) in PRESETS.items()])
        raise SystemExit(0)
    refuse_options_of_others(arguments, defaults.algorithm)
    config = _parse(TrainConfig, arguments, defaults)
    return replace(config, preset=preset) if preset else config


def parse_eval(arguments: Sequence[str] | None = None) -> EvalConfig:
    """The evaluation options on the command line and in the file that `--config` names; raises as `parse_train`."""
    return _parse_with_file(EvalConfig, sys.argv[1:] if arguments is None else arguments, None, EvalConfig.__doc__ or "")


def parse_explore(arguments: Sequence[str] | None = None, name: str = "a3g explore") -> ExploreConfig:
    """The exploration options on the command line and in the file that `--config` names; raises as `parse_train`.

    Args:
        name: of the command, for its help.
    """
    description = f"{ExploreConfig.__doc__}\n\n{EXPLORE_EXIT_CODES}"
    return _parse_with_file(ExploreConfig, sys.argv[1:] if arguments is None else arguments, name, description)


def parse_watch(arguments: Sequence[str], name: str = "a3g watch") -> WatchConfig:
    """The options of `a3g watch` on the command line; raises as `parse_train`."""
    return _parse_command(WatchConfig, arguments, name)


def parse_compare(arguments: Sequence[str], name: str = "a3g compare") -> CompareConfig:
    """The options of `a3g compare`; raises as `parse_train`."""
    return _parse_command(CompareConfig, arguments, name)


def parse_demo(arguments: Sequence[str], name: str = "a3g demo") -> DemoConfig:
    """The options of `a3g demo`; raises as `parse_train`."""
    return _parse_command(DemoConfig, arguments, name)


def _parse_command(kind: type[Command], arguments: Sequence[str], name: str) -> Command:
    _refuse_empty(arguments)
    command: Command = tyro.cli(kind, args=list(arguments), prog=name, description=kind.__doc__)
    return command


def _parse_with_file(kind: type[Config], arguments: Sequence[str], name: str | None, description: str) -> Config:
    path, arguments = split_config_file(arguments)
    defaults = kind()
    if path is not None:
        values = checked_values(path, read_config_file(path), kind)
        try:
            defaults = replace(defaults, **values)
        except UserError as error:
            raise UserError(f"In the config file {path}: {error}") from error
    if _asks_for_help(arguments):
        print_help(defaults, name or _program(), description)
        raise SystemExit(0)
    return _parse(kind, arguments, defaults, name)


def _asks_for_help(arguments: Sequence[str]) -> bool:
    return "-h" in arguments or "--help" in arguments


def _program() -> str:
    return Path(sys.argv[0]).name


def _only(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in names}


def _with_algorithm(defaults: TrainConfig, algorithm: str) -> TrainConfig:
    """The defaults that hold with an algorithm, which decides which options there are; an empty name changes nothing."""
    if not algorithm:
        return defaults
    kind = options_class(algorithm)
    general = {} if isinstance(defaults.options, kind) else kind.general
    return defaults.with_values({**general, "algorithm": algorithm})


def _parse(kind: type[Config], arguments: list[str], defaults: Config, name: str | None = None) -> Config:
    _refuse_empty(arguments)
    config: Config = tyro.cli(kind, args=arguments, prog=name, default=defaults)
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
    "--demos-dir",
    "--output",
    "--scorecard",
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
    for argument, following in pairwise([*arguments, ""]):
        if argument == name:
            value = following
        elif argument.startswith(f"{name}="):
            value = argument.removeprefix(f"{name}=")
    return value
