"""The evaluation command: `python gym_eval.py --help`."""

from __future__ import annotations

from a3g.interrupts import end_quietly_by_interrupt

if __name__ == "__main__":
    end_quietly_by_interrupt()

import sys

from a3g.commands import eval_command
from a3g.reporting.say import make_output_patient


def main() -> int:
    """Play with trained weights; returns the exit code."""
    return eval_command(sys.argv[1:], "gym_eval.py")


if __name__ == "__main__":
    make_output_patient()
    sys.exit(main())
