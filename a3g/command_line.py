"""From a command line to the options."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, TypeVar

import tyro

from a3g.algorithm_options import options_class
from a3g.compare_config import CompareConfig
from a3g.config import TrainConfig
from a3g.demo_config import DemoConfig
from a3g.errors import UserError
from a3g.eval_config import EvalConfig
from a3g.explore_config import ExploreConfig
from a3g.presets import PRESETS, preset_name, preset_values
from a3g.resume_request import ResumeRequest

EXIT_CODES = (
    "Exit codes: 0 the goal was reached; 1 the run can't go on, or its end could not be saved; 2 a mistake in the command or "
    "in a file; stopped and saved on SIGINT 130, SIGTERM 143, SIGUSR1 138, SIGHUP 129."
)


EXPLORING = "`python main.py explore --help`: find ways through the stages without a network, before training."
EXPLORE_EXIT_CODES = (
    "Exit codes: 0 every stage has as many demonstrations as wanted; 1 some are missing when the time is up; 2 a mistake in "
    "the command or in a file, or a file that can't be written; stopped by SIGINT 130, SIGTERM 143, SIGUSR1 138, SIGHUP 129."
)

Config = TypeVar("Config", TrainConfig, EvalConfig, ExploreConfig, CompareConfig, DemoConfig)


def parse_resume_request(arguments: Sequence[str]) -> ResumeRequest:
    """Which run to resume, whatever else the command line says: the run's settings decide which other options there are.

    Raises:
        UserError: if a value makes no sense.
        SystemExit: with code 2 for what tyro itself refuses.
    """
    arguments = list(arguments)
    _refuse_empty(arguments)
    request, _ = tyro.cli(ResumeRequest, args=arguments, return_unknown_args=True, add_help=False)
    return request


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
        defaults = defaults or TrainConfig()
        env = _value_of(arguments, "--env") or _value_of(arguments, "-ev") or defaults.env
        defaults = defaults.with_values(preset_values(preset, env))
    algorithm = _value_of(arguments, "--algorithm") or _value_of(arguments, "--loss")
    if algorithm:  # decides which options there are
        defaults = defaults or TrainConfig()
        kind = options_class(algorithm)
        general = {} if isinstance(defaults.options, kind) else kind.general
        defaults = defaults.with_values({**general, "algorithm": algorithm})
    width = max(map(len, PRESETS)) + 1
    presets = "\n".join(f"  {name + ':':<{width}} {text}" for name, (text, _) in PRESETS.items())
    description = (
        f"{TrainConfig.__doc__}\n\n{EXIT_CODES}\n\n{EXPLORING}\n\n--preset NAME sets the defaults of the others:\n{presets}"
    )
    config = _parse(TrainConfig, arguments, defaults, description)
    return replace(config, preset=preset) if preset else config


def parse_eval(arguments: Sequence[str] | None = None) -> EvalConfig:
    """The evaluation options on the command line; raises as `parse_train`."""
    return _parse(EvalConfig, list(sys.argv[1:] if arguments is None else arguments), None, EvalConfig.__doc__ or "")


def parse_explore(arguments: Sequence[str] | None = None, name: str = "a3g explore") -> ExploreConfig:
    """The exploration options on the command line; raises as `parse_train`.

    Args:
        name: of the command, for its help.
    """
    description = f"{ExploreConfig.__doc__}\n\n{EXPLORE_EXIT_CODES}"
    return _parse(ExploreConfig, list(sys.argv[1:] if arguments is None else arguments), None, description, name)


def parse_compare(arguments: Sequence[str]) -> CompareConfig:
    """The options of `a3g compare`; raises as `parse_train`."""
    return _parse(CompareConfig, list(arguments), None, CompareConfig.__doc__ or "", "a3g compare")


def parse_demo(arguments: Sequence[str]) -> DemoConfig:
    """The options of `a3g demo`; raises as `parse_train`."""
    return _parse(DemoConfig, list(arguments), None, DemoConfig.__doc__ or "", "a3g demo")


def _parse(
    kind: type[Config], arguments: list[str], defaults: Config | None, description: str, name: str | None = None
) -> Config:
    options: dict[str, Any] = {} if defaults is None else {"default": defaults}
    _refuse_empty(arguments)
    config: Config = tyro.cli(kind, args=arguments, prog=name, description=description, **options)
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
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument == name:
            value = following
        elif argument.startswith(f"{name}="):
            value = argument.removeprefix(f"{name}=")
    return value
