"""Trains an expert for all stages on one stage after the other: `python -m benchmarks.specialise --help`.

Each stage gets a network of its own, which begins as the one for all stages; as many trainings go on side by side as there are
cores. All samples are of one stage then: in as many of them it gets better where the network for all hardly does. Then both
play the same episodes of the stage, and its own weights are kept if they clear more. What is kept is scored by other episodes.

The folder `experts` is what `--preset all-stages --expert` takes: in a stage with weights of its own those teach.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import tyro

from a3g.config import TrainConfig
from a3g.cores import usable_cores
from a3g.errors import UserError
from a3g.game.options import GameOptions
from a3g.game.rules import Outcome
from a3g.game.stages import STAGES, WHOLE_GAME, env_id_of, parse_stage
from a3g.runs.checkpoint import find_checkpoint
from a3g.runs.playable import load_checkpoint_weights
from a3g.runs.scores import GameSettings, Score, StageScore
from a3g.runs.weights import Weights, load_weights, save_weights, weights_path

ROOT = Path(__file__).resolve().parent.parent
STICKY_ACTIONS = 0.1


@dataclass(frozen=True)
class Options:
    """Go on with an expert for all stages, stage by stage."""

    expert: Path = Path("trained_models/experts")
    """Folder of the weights to begin with: those for all stages, and those of single stages that are there already."""
    out: Path = Path("logs/specialised")
    """Folder of the runs' folders and, in experts, of the new weights; runs that are there already are not done again."""
    stages: tuple[str, ...] = tuple(map(str, STAGES))
    minutes: float = 4.0
    """Of each stage's run, on one core."""
    episodes: int = 100
    """That old and new weights play of the stage, with sticky actions; and as many for the score."""
    arguments: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """One more argument for main.py; can be given several times."""

    @property
    def experts(self) -> Path:
        return self.out / "experts"


def env_id(stage: str) -> str:
    return env_id_of(parse_stage(stage))


def begin(stage: str, options: Options) -> Path:
    """A folder with the weights that a stage's run begins with: its own, or those for all stages."""
    own = weights_path(options.expert, env_id(stage))
    folder = options.out / "begun" / stage
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(own if own.is_file() else weights_path(options.expert, WHOLE_GAME), weights_path(folder, WHOLE_GAME))
    return folder


def specialise(stage: str, options: Options) -> str:
    """Train on one stage, unless that was done before, and keep what is better; returns what to print."""
    begun = begin(stage, options)
    if not (options.out / stage / "summary.json").is_file():
        command = [sys.executable, "main.py", "--preset", "expert", "--stages", stage, "--workers", "1"]
        command += ["--load", "--load-model-dir", str(begun), "--save-model-dir", str(options.out / "best" / stage)]
        command += ["--log-dir", str(options.out), "--run-name", stage, "--max-minutes", str(options.minutes)]
        # Only the first test, of the weights it begins with: the runs need all of the time.
        command += ["--average-steps", "200000", "--test-interval", "99999", *options.arguments]
        with (options.out / f"{stage}.log").open("w") as log:
            code = subprocess.run(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
        if code:
            return f"{stage}: exit code {code}, see {options.out / stage}.log"
    old = load_weights(weights_path(begun, WHOLE_GAME))
    new = load_checkpoint_weights(find_checkpoint(stage, options.out, print))
    candidate = weights_path(options.out / "candidates", env_id(stage))
    save(candidate, new, env_id(stage))
    before, after = (play(path, stage, options, seed=1) for path in (weights_path(begun, WHOLE_GAME), candidate))
    kept = new if after.cleared > before.cleared else old
    path = weights_path(options.experts, env_id(stage))
    save(path, kept, env_id(stage))
    scored = play(path, stage, options, seed=2)  # what was chosen by some episodes is scored by others
    game = dataclasses.replace(kept.game, sticky_actions=STICKY_ACTIONS)
    score = Score({stage: scored}, GameSettings.of(game), TrainConfig().clear_rate, kept.agent_steps)
    save(path, kept, env_id(stage), score)
    rates = "  ".join(f"{each.clear_rate:4.0%}" for each in (before, after, scored))
    return f"{stage}  before, after, kept: {rates}  {new.agent_steps:,} agent steps"


def save(path: Path, weights: Weights, env: str, score: Score | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_weights(path, weights.build(), env, weights.game, weights.agent_steps, score, weights.algorithm)


def play(weights: Path, stage: str, options: Options, seed: int) -> StageScore:
    """How well a stage is played with sticky actions."""
    table = options.out / f"{stage}-{seed}.json"
    game = GameOptions()
    command = [sys.executable, "gym_eval.py", "--env", env_id(stage), "--weights", str(weights), "--json", str(table)]
    command += ["--seed", str(seed), "--num-episodes", str(options.episodes)]
    command += ["--sticky-actions", str(STICKY_ACTIONS), "--time-per-stage", str(game.time_per_stage)]
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    episodes = json.loads(table.read_text())["episodes"]
    cleared = sum(episode["outcome"] == Outcome.CLEARED for episode in episodes)
    return StageScore(len(episodes), cleared, statistics.mean(episode["progress"] for episode in episodes))


def main() -> int:
    options = tyro.cli(Options)
    options.experts.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(weights_path(options.expert, WHOLE_GAME), weights_path(options.experts, WHOLE_GAME))
    with ThreadPoolExecutor(usable_cores()) as pool:
        for line in pool.map(lambda stage: specialise(stage, options), options.stages):
            print(line, flush=True)
    scores = [load_weights(path).score for path in sorted(options.experts.glob("SuperMarioBros-?-?-v0.safetensors"))]
    rates = [score.mean_clear_rate for score in scores if score is not None]
    if rates:
        print(f"mean clear rate of {len(rates)} stages {statistics.mean(rates):.1%}; weights in {options.experts}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"specialise.py: {error}", file=sys.stderr)
        sys.exit(2)
