"""The training command: `python main.py --help`."""

from __future__ import annotations

import sys
from dataclasses import replace

from a3g.config import TrainConfig, parse_train
from a3g.errors import UserError


def main() -> int:
    """Parse, validate, hand over to the launcher; returns the exit code."""
    try:
        config = parse_train()
        if config.resume:
            config = _with_settings_of_run(config)
        from a3g.processes.launcher import train  # only now, so that --help is quick

        return train(config)
    except UserError as error:
        print(f"main.py: {error}", file=sys.stderr)
        return 2


def _with_settings_of_run(config: TrainConfig) -> TrainConfig:
    """The settings of the run to resume, with what this command line says on top."""
    from a3g.processes.checkpoint import find_checkpoint, load_config

    settings = load_config(find_checkpoint(config.resume, config.log_dir))
    # Where it lies is not a setting: the run goes on where its checkpoint is, unless it gets a new name now.
    return parse_train(defaults=replace(settings, run_name="", log_dir=config.log_dir))


if __name__ == "__main__":
    sys.exit(main())
