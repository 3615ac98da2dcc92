"""The commands train, eval, explore and others: parse, validate, hand over, and say a user's mistake in one sentence."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from a3g.command_line import (
    parse_compare,
    parse_demo,
    parse_eval,
    parse_explore,
    parse_resume_request,
    parse_train,
    parse_watch,
)
from a3g.config import TrainConfig
from a3g.cores import granted_cpus
from a3g.errors import UserError
from a3g.interrupts import EXIT_INTERRUPTED, raise_on_interrupt
from a3g.processes.fork_server import start_fork_server
from a3g.reporting.say import make_output_patient, say
from a3g.resume_request import ResumeRequest

Command = Callable[[Sequence[str], str], int]


def _command(body: Command) -> Command:
    """A command that says a user's mistake in one sentence, and ends quietly by Ctrl-C."""

    @functools.wraps(body)
    def command(arguments: Sequence[str], name: str) -> int:
        make_output_patient()
        try:
            return body(arguments, name)
        except UserError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED

    return command


@_command
def train_command(arguments: Sequence[str], name: str) -> int:
    """Train; returns the exit code.

    Args:
        arguments: options of `a3g.config.TrainConfig`.
        name: of the command, which error messages begin with.
    """
    request = parse_resume_request(arguments)
    config = _with_settings_of_run(request, arguments) if request.resume else parse_train(arguments)
    if not config.serial:
        with contextlib.suppress(OSError):  # tried again when the first process is to be started
            start_fork_server()  # it imports while this process does
    if config.cluster:
        from a3g.cluster.driver import train_on_cluster as train
    else:
        from a3g.processes.launcher import train  # only now, so that --help is quick

    raise_on_interrupt()
    return train(config)


@_command
def eval_command(arguments: Sequence[str], name: str) -> int:
    """Play with trained weights; returns the exit code.

    Args:
        arguments: options of `a3g.eval_config.EvalConfig`.
        name: of the command, which error messages begin with.
    """
    config = parse_eval(arguments)
    if config.cluster:
        from a3g.cluster.evaluate import evaluate_on_cluster as evaluate
    else:
        from a3g.processes.play import evaluate  # only now, so that --help is quick

    raise_on_interrupt()
    return evaluate(config)


@_command
def explore_command(arguments: Sequence[str], name: str) -> int:
    """Find demonstrations; returns the exit code.

    Args:
        arguments: options of `a3g.explore_config.ExploreConfig`.
        name: of the command, which error messages begin with.
    """
    config = parse_explore(arguments, name)
    with contextlib.suppress(OSError):  # tried again when the first process is to be started
        start_fork_server()  # it imports while this process does
    if config.cluster:
        from a3g.cluster.explore import explore_on_cluster as explore
    else:
        from a3g.processes.exploration import explore  # only now, so that --help is quick

    raise_on_interrupt()
    return explore(config)


@_command
def sweep_command(arguments: Sequence[str], name: str) -> int:
    """Train combinations of stages, seeds and settings as jobs; returns the exit code.

    Args:
        arguments: options of `a3g.cluster.sweep_config.SweepConfig`, and those of every training.
        name: of the command, which error messages begin with.
    """
    from a3g.cluster.sweep_config import make_tasks, parse_sweep  # only now: the other commands do without it

    config, common = parse_sweep(arguments)
    tasks = make_tasks(config, common)
    if config.watch is None and config.collect is None:
        for task in tasks:  # a mistake is said now, not by each of a hundred jobs
            parse_train([*task.arguments, "--run-name", task.name])
    from a3g.cluster.sweep_run import run_sweep

    raise_on_interrupt()
    return run_sweep(config, tasks)


@_command
def watch_command(arguments: Sequence[str], name: str) -> int:
    """Show a run that is over; returns the exit code.

    Args:
        arguments: options of `a3g.watch_config.WatchConfig`.
        name: of the command, which error messages begin with.
    """
    config = parse_watch(arguments, name)
    from a3g.processes.watch_server import serve_finished_run  # only now, so that --help is quick

    raise_on_interrupt()
    return serve_finished_run(config.folder, config.host, config.port)


@_command
def compare_command(arguments: Sequence[str], name: str) -> int:
    """Draw several runs in one picture; returns the exit code.

    Args:
        arguments: options of `a3g.compare_config.CompareConfig`.
        name: of the command, which error messages begin with.
    """
    config = parse_compare(arguments, name)
    from a3g.reporting.compare import compare  # only now, so that --help is quick

    raise_on_interrupt()
    return compare(config)


@_command
def demo_command(arguments: Sequence[str], name: str) -> int:
    """Film all stages and draw the scorecard; returns the exit code.

    Args:
        arguments: options of `a3g.demo_config.DemoConfig`.
        name: of the command, which error messages begin with.
    """
    config = parse_demo(arguments, name)
    from a3g.processes.demo import demo  # only now, so that --help is quick

    raise_on_interrupt()
    return demo(config)


def _with_settings_of_run(request: ResumeRequest, arguments: Sequence[str]) -> TrainConfig:
    """The settings of the run to resume, with what this command line says on top."""
    from a3g.runs.checkpoint import find_automatically, find_checkpoint, load_config

    automatic = request.resume == "auto"
    if automatic:
        found = find_automatically(request.log_dir, request.run_name, request.env, lambda text: None)
        if found is None:
            return replace(parse_train(arguments), resume="")
    else:
        found = find_checkpoint(request.resume, request.log_dir, lambda text: None)
    # Of a run only its folder is chosen here. It may still be saving: which checkpoint, is seen when nobody else is in it.
    chosen = found.parent if automatic or not Path(request.resume).is_file() else found
    # Where things lie is no setting of a run: it goes on where its checkpoint is, unless it gets a new name now, and a
    # file does not decide what else is written on this machine.
    # Nor is who may look at it.
    folders = {name: getattr(TrainConfig, name) for name in ("log_dir", "load_model_dir", "save_model_dir")}
    settings = load_config(found)
    grant = granted_cpus(os.environ)  # of this job; the one before may have had more
    if grant is not None:
        settings = replace(settings, workers=min(settings.workers, grant.cpus))
    resumed = parse_train(
        arguments, defaults=replace(settings, run_name="", watch=None, watch_host=TrainConfig.watch_host, **folders)
    )
    if settings.save_model_dir != resumed.save_model_dir:
        say(f"a3g: the best weights go to {resumed.save_model_dir}, they went to {settings.save_model_dir} before")
    return replace(resumed, resume=str(chosen), run_name="" if automatic else resumed.run_name)
