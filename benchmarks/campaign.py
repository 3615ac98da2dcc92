"""The campaign for one model that plays all 32 stages: `python -m benchmarks.campaign --help`, or `make campaign`.

It is one training run, `campaign`, that goes on whenever it is started again. What it needs to go on on another machine is
kept beside it in a few megabytes that can be committed: the newest weights, the history of tests, and the demonstrations that
the teacher has made. The optimizer's state stays behind; it is made anew within some thousand updates.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from a3g.config import TrainConfig
from a3g.errors import UserError
from a3g.exploration.demonstrations import load_demonstrations, save_demonstrations
from a3g.exploration.replay import added_demonstrations
from a3g.exploration.search import is_new
from a3g.files import load_tensors
from a3g.runs.history import HistoryEntry, append_to_history, read_history
from a3g.runs.paths import HISTORY_NAME, checkpoints_in
from a3g.runs.playable import find_weights
from a3g.runs.weights import save_weights, weights_path
from benchmarks.campaign_plot import describe, draw, joined

ROOT = Path(__file__).parents[1]
RUN = "campaign"
ENV = "SuperMarioBros-v0"
EARLIER_NAME = "earlier_history.csv"
"""In the run's folder: the tests of the runs before, on other machines."""
DEMOS_NAME = "demos"
"""In the folder that can be committed: exploration's demonstrations, then the teacher's."""
MOST_PER_STAGE = 200
SECONDS_BETWEEN_COPIES = 600.0


@dataclass(frozen=True)
class Options:
    """Train on all 32 stages until stopped, with the preset all-stages."""

    minutes: float = 0.0
    """Stop after so many minutes from now; 0 never."""
    folder: Path = Path("trained_models/campaign")
    """Where what can be committed is kept: the newest weights, the history and the teacher's demonstrations."""
    log_dir: Path = Path("logs")
    """Folder of the run's folder."""
    picture: Path = Path("docs/campaign.png")
    """The history, drawn."""
    arguments: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """One more argument for main.py, such as --arguments=--gpu-ids --arguments=0; can be given several times."""


def main() -> int:
    options = tyro.cli(Options)
    run = options.log_dir / RUN
    command = [sys.executable, "main.py", "--preset", "all-stages", "--run-name", RUN, "--log-dir", str(options.log_dir)]
    if checkpoints_in(run):
        command += ["--resume", RUN]
    else:
        _begin(run, options.folder)
        if weights_path(options.folder, ENV).is_file():
            command += ["--load", "--load-model-dir", str(options.folder)]
    if (options.folder / DEMOS_NAME).is_dir():
        command += ["--demos-dir", str(options.folder / DEMOS_NAME)]
    if options.minutes:
        command += ["--max-minutes", str(options.minutes)]
    with subprocess.Popen([*command, *options.arguments], cwd=ROOT) as training:
        # Ctrl-C reaches the run too: it saves and ends, and then this does.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while training.returncode is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                training.wait(SECONDS_BETWEEN_COPIES)
            _keep(run, options.folder, options.picture)
    return training.returncode


def _begin(run: Path, folder: Path) -> None:
    """Lay the tests of earlier machines beside the run, which counts its agent steps from 0."""
    run.mkdir(parents=True, exist_ok=True)
    if (folder / HISTORY_NAME).is_file():
        shutil.copy(folder / HISTORY_NAME, run / EARLIER_NAME)


def history(run: Path) -> list[HistoryEntry]:
    """All tests of the campaign up to now."""
    earlier = read_history(run / EARLIER_NAME) if (run / EARLIER_NAME).is_file() else []
    return joined(earlier, read_history(run / HISTORY_NAME)) if (run / HISTORY_NAME).is_file() else earlier


def _keep(run: Path, folder: Path, picture: Path) -> None:
    """Copy the newest weights and the history to where they can be committed."""
    if not checkpoints_in(run):
        return
    _, weights = find_weights(checkpoints_in(run)[-1])
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(
        weights_path(folder, ENV), weights.build(), ENV, weights.game, weights.agent_steps, algorithm=weights.algorithm
    )
    _keep_demonstrations(run, folder / DEMOS_NAME)
    tests = history(run)
    (folder / HISTORY_NAME).unlink(missing_ok=True)
    for entry in tests:
        append_to_history(folder, entry)
    draw({RUN: tests}, picture)
    print(f"campaign: {describe(tests)}", flush=True)


def _keep_demonstrations(run: Path, folder: Path) -> None:
    """Write exploration's demonstrations, and the newest ones that the workers' teachers had made at the last checkpoint."""
    found = load_demonstrations(TrainConfig().demos_dir)
    before = load_demonstrations(folder)
    checkpoint = checkpoints_in(run)[-1]
    for path in sorted(run.glob(f"{checkpoint.stem}.worker-*.safetensors")):
        tensors, _ = load_tensors(path, "worker's state")
        state = {name.removeprefix("collector."): each.numpy() for name, each in tensors.items()}
        for each in added_demonstrations(state) if "added" in state else ():
            if is_new(each.actions, each.idle_frames, before[each.stage]):
                before[each.stage].append(each)
    for stage, first in found.items():
        taught = [each for each in before[stage] if is_new(each.actions, each.idle_frames, first)]
        save_demonstrations(folder, stage, [*first, *taught[len(first) - MOST_PER_STAGE :]])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"campaign.py: {error}", file=sys.stderr)
        sys.exit(2)
