"""The command `a3g`, the same as `python -m a3g`: `a3g train ...`, `a3g eval ...` and others."""

from __future__ import annotations

import sys

from a3g.interrupts import end_quietly_by_interrupt
from a3g.processes.parent_death import end_with_parent

if __name__ == "__mp_main__":  # a child of a run, about to import: from its first moment on it ends with the launcher
    end_with_parent()

USAGE = """usage: a3g {train,eval,explore,watch,compare,demo,sweep} [options]

  a3g train --help     train a network, as `python main.py` does
  a3g eval --help      play with trained weights, as `python gym_eval.py` does
  a3g explore --help   find ways through the stages without a network, as `python main.py explore` does
  a3g watch --help     show a run that is over on a page, and play against it
  a3g compare RUN RUN  draw several runs in one picture, by agent steps and by time
  a3g demo             film all 32 stages with the shipped weights, and draw their scorecard
  a3g sweep --help     train combinations of stages, seeds and settings, as jobs of Slurm or on this machine
  a3g --version        say which version this is
"""


def main(arguments: list[str]) -> int:
    """Hand over to the command asked for; returns the exit code."""
    match arguments:
        case ["train", *options]:
            from a3g.commands import train_command  # only now, so that --version is quick

            return train_command(options, "a3g train")
        case ["eval", *options]:
            from a3g.commands import eval_command

            return eval_command(options, "a3g eval")
        case ["explore", *options]:
            from a3g.commands import explore_command

            return explore_command(options, "a3g explore")
        case ["watch", *options]:
            from a3g.commands import watch_command

            return watch_command(options, "a3g watch")
        case ["compare", *options]:
            from a3g.commands import compare_command

            return compare_command(options, "a3g compare")
        case ["demo", *options]:
            from a3g.commands import demo_command

            return demo_command(options, "a3g demo")
        case ["sweep", *options]:
            from a3g.commands import sweep_command

            return sweep_command(options, "a3g sweep")
        case ["--version"]:
            from a3g import __version__

            print(f"a3g {__version__}")
            return 0
        case ["--help" | "-h"]:
            print(USAGE, end="")
            return 0
        case []:
            print(USAGE, end="", file=sys.stderr)
            return 2
        case [unknown, *_]:
            print(f"a3g: {unknown!r} is no command: use train, eval, explore, watch, compare, demo or sweep.", file=sys.stderr)
            return 2
        case _:
            raise AssertionError(arguments)


def run() -> None:
    """What the installed command calls."""
    end_quietly_by_interrupt()
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    run()
