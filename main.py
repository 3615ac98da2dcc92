"""The training command: `python main.py --help`; and the exploration command: `python main.py explore --help`."""

from __future__ import annotations

from a3g.interrupts import end_quietly_by_interrupt
from a3g.processes.parent_death import end_with_parent

if __name__ == "__main__":
    end_quietly_by_interrupt()
if __name__ == "__mp_main__":  # a child of a run, about to import: from its first moment on it ends with the launcher
    end_with_parent()

import sys
from collections.abc import Sequence

from a3g.commands import explore_command, train_command


def main(arguments: Sequence[str]) -> int:
    """Train, or explore; returns the exit code."""
    if arguments and arguments[0] == "explore":
        return explore_command(arguments[1:], "main.py explore")
    return train_command(arguments, "main.py")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
