"""The campaign for one model that plays all 32 stages: `python -m benchmarks.campaign --help`, or `make campaign`.

Two training runs, one after the other: `campaign-expert` learns from maps, and `campaign` learns from pictures to do as the
expert does. Each goes on whenever the campaign is started again. What they need to go on on another machine is kept in a few
megabytes that can be committed: the best weights and the history of tests. The optimizer's state stays behind; it is made
anew within some thousand updates.
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
from a3g.runs.history import HistoryEntry, append_to_history, read_history
from a3g.runs.paths import BEST_NAME, HISTORY_NAME, checkpoints_in
from a3g.runs.weights import weights_path
from benchmarks.campaign_plot import describe, draw, joined

ROOT = Path(__file__).parents[1]
ENV = "SuperMarioBros-v0"
EARLIER_NAME = "earlier_history.csv"
"""In a run's folder: the tests of the runs before, on other machines."""
SECONDS_BETWEEN_COPIES = 300.0


@dataclass(frozen=True)
class Options:
    """Train an expert, and then a model that learns from it, on all 32 stages."""

    expert_minutes: float = 60.0
    """Train the expert until it was trained for so many minutes, all machines together."""
    minutes: float = 0.0
    """Then train the model for so many minutes from now; 0 until stopped."""
    folder: Path = Path("trained_models/campaign")
    """Where the model's best weights and its history are kept."""
    expert_folder: Path = TrainConfig().expert
    """Where the expert's are."""
    log_dir: Path = Path("logs")
    """Folder of the runs' folders."""
    picture: Path = Path("docs/campaign.png")
    """Both histories, drawn."""
    arguments: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """One more argument for main.py, such as --arguments=--gpu-ids --arguments=0; can be given several times."""


@dataclass(frozen=True)
class Part:
    """A training run of the campaign, and what is kept of it."""

    preset: str
    run: Path
    folder: Path

    def train(self, options: Options, minutes: float, *arguments: str) -> int:
        """Begin or go on, for so many minutes or until stopped if 0; returns main.py's exit code."""
        command = [sys.executable, "main.py", "--preset", self.preset, "--log-dir", str(self.run.parent), *arguments]
        if checkpoints_in(self.run):
            command += ["--resume", self.run.name]
        else:
            command += ["--run-name", self.run.name]
            self._begin()
            if weights_path(self.folder, ENV).is_file():
                command += ["--load", "--load-model-dir", str(self.folder)]
        if minutes:
            command += ["--max-minutes", str(minutes)]
        # The best weights of the tests: into the run's folder, so that what is shipped changes only when somebody means it.
        command += ["--save-model-dir", str(self.run / "best")]
        with subprocess.Popen([*command, *options.arguments], cwd=ROOT) as training:
            # Ctrl-C reaches the run too: it saves and ends, and then this does.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            while training.returncode is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    training.wait(SECONDS_BETWEEN_COPIES)
                self._keep()
        return training.returncode

    def history(self) -> list[HistoryEntry]:
        """All tests up to now, those on other machines first."""
        runs = [self.run / EARLIER_NAME, self.run / HISTORY_NAME] if self.run.is_dir() else [self.folder / HISTORY_NAME]
        tests: list[HistoryEntry] = []
        for path in runs:
            tests = joined(tests, read_history(path)) if path.is_file() else tests
        return tests

    def _begin(self) -> None:
        """Lay the tests of earlier machines beside the run, which counts its agent steps from 0."""
        self.run.mkdir(parents=True, exist_ok=True)
        if (self.folder / HISTORY_NAME).is_file():
            shutil.copy(self.folder / HISTORY_NAME, self.run / EARLIER_NAME)

    def _keep(self) -> None:
        """Copy the best weights, with their score, and the history to where they can be committed."""
        if not (self.run / BEST_NAME).is_file():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.run / BEST_NAME, weights_path(self.folder, ENV))
        tests = self.history()
        (self.folder / HISTORY_NAME).unlink(missing_ok=True)
        for entry in tests:
            append_to_history(self.folder, entry)
        print(f"{self.run.name}: {describe(tests)}", flush=True)


def main() -> int:
    options = tyro.cli(Options)
    expert = Part("expert", options.log_dir / "campaign-expert", options.expert_folder)
    model = Part("all-stages", options.log_dir / "campaign", options.folder)
    trained = expert.history()
    left = options.expert_minutes - 60.0 * (trained[-1].hours if trained else 0.0)
    code = 0
    if left > 1.0:
        code = expert.train(options, left, "--test-at-end")
    if not code:
        code = model.train(options, options.minutes, "--expert", str(weights_path(options.expert_folder, ENV)))
    draw({"expert": expert.history(), "model": model.history()}, options.picture)
    return code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"campaign.py: {error}", file=sys.stderr)
        sys.exit(2)
