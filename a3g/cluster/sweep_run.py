"""From the options of the command `sweep` to its end: submits, watches and collects, whatever of it is asked for."""

from __future__ import annotations

import signal

from a3g.cluster.sweep import end_of_watching, load_sweep, make_sweep, run_here, state_names, submit, watch
from a3g.cluster.sweep_config import SweepConfig, SweepTask
from a3g.cluster.sweep_report import collect
from a3g.processes.run_end import EXIT_FAILURE, collect_stop_signals
from a3g.reporting.say import say


def run_sweep(config: SweepConfig, tasks: list[SweepTask]) -> int:
    """Returns the exit code: 0 if every training has reached its goal, or if only submitting or collecting was asked for.

    Args:
        config: what to do.
        tasks: the trainings of a new sweep.

    Raises:
        UserError: if it can't be done; nothing has been submitted then.
    """
    if config.collect is not None:
        collect(load_sweep(config.collect.absolute()))
        return 0
    received: list[signal.Signals] = []
    sweep = load_sweep(config.watch.absolute()) if config.watch is not None else make_sweep(config, tasks)
    with collect_stop_signals(received):
        if config.watch is None:
            say(f"a3g sweep: {len(sweep.tasks)} trainings in {sweep.folder}")
            if sweep.executor == "local":
                run_here(sweep, config, received)
            else:
                submit(sweep, config)
                if config.detach:
                    say(end_of_watching(sweep))
                    return 0
        if sweep.executor == "slurm" or config.watch is not None:
            watch(sweep, received)
        collect(sweep)
    if received:
        if sweep.executor == "slurm":
            say(end_of_watching(sweep))
        return 128 + received[0]
    return 0 if all(name == "done" for name in state_names(sweep).values()) else EXIT_FAILURE
