"""The evaluation command: `python gym_eval.py --help`."""

from __future__ import annotations

from a3g.interrupts import EXIT_INTERRUPTED, end_quietly_by_interrupt, raise_on_interrupt

if __name__ == "__main__":
    end_quietly_by_interrupt()

import sys

from a3g.command_line import parse_eval
from a3g.errors import UserError
from a3g.reporting.say import make_output_patient


def main() -> int:
    """Parse, validate, play; returns the exit code."""
    try:
        config = parse_eval()
        from a3g.play import evaluate  # only now, so that --help is quick

        raise_on_interrupt()
        return evaluate(config)
    except UserError as error:
        print(f"gym_eval.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    make_output_patient()
    sys.exit(main())
