"""The evaluation command: `python gym_eval.py --help`."""

from __future__ import annotations

import sys

from a3g.command_line import parse_eval
from a3g.errors import UserError


def main() -> int:
    """Parse, validate, play; returns the exit code."""
    try:
        config = parse_eval()
        from a3g.processes.play import evaluate  # only now, so that --help is quick

        return evaluate(config)
    except UserError as error:
        print(f"gym_eval.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
