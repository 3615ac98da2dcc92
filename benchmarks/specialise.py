"""Trains an expert for all stages on one stage after the other: `python -m benchmarks.specialise --help`.

Each stage gets a training run of its own, with the stages' own layers alone (`--stage-layers-only`), so that runs don't disturb
each other; as many go on side by side as there are cores. Then old and new expert play the same episodes, and of each stage the
layers of the better one are kept. All samples of a run are of one stage, so its gradients are far less noisy than those of a
run on 32 stages at the same learning rate.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import tyro
from torch import Tensor

from a3g.config import TrainConfig
from a3g.cores import usable_cores
from a3g.errors import UserError
from a3g.game.options import GameOptions
from a3g.game.rules import Outcome
from a3g.game.stages import STAGES, WHOLE_GAME
from a3g.networks.map_of_stages import divided_by_stages, take_stage
from a3g.runs.checkpoint import find_checkpoint
from a3g.runs.playable import load_checkpoint_weights
from a3g.runs.scores import GameSettings, Score, StageScore
from a3g.runs.weights import Weights, load_weights, save_weights, weights_path

ROOT = Path(__file__).resolve().parent.parent
_NAMES = tuple(map(str, STAGES))
STICKY_ACTIONS = 0.1


@dataclass(frozen=True)
class Options:
    """Go on with an expert for all stages, stage by stage."""

    expert: Path = Path("trained_models/experts")
    """Folder of the weights to begin with."""
    out: Path = Path("logs/specialised")
    """Folder of the runs' folders and of the new weights; runs that are there already are not done again."""
    stages: tuple[str, ...] = _NAMES
    minutes: float = 2.0
    """Of each stage's run."""
    episodes: int = 20
    """That old and new weights play per stage, with sticky actions."""
    arguments: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """One more argument for main.py; can be given several times."""


def specialise(stage: str, options: Options) -> None:
    """Train on one stage, unless that was done before."""
    if (options.out / stage / "summary.json").is_file():
        return
    command = [sys.executable, "main.py", "--preset", "expert", "--network", "map-stages", "--stage-layers-only"]
    command += ["--stages", stage, "--workers", "1"]
    command += ["--load", "--load-model-dir", str(options.expert), "--save-model-dir", str(options.out / "best" / stage)]
    command += ["--log-dir", str(options.out), "--run-name", stage, "--max-minutes", str(options.minutes)]
    # Only the first test, of the weights it begins with: the runs need all of the time.
    command += ["--test-interval", "99999", *options.arguments]
    with (options.out / f"{stage}.log").open("w") as log:
        code = subprocess.run(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    print(f"{stage}: " + (f"exit code {code}, see {options.out / stage}.log" if code else "trained"), flush=True)


def merged(base: dict[str, Tensor], options: Options, stages: tuple[str, ...]) -> dict[str, Tensor]:
    """The weights to begin with, with what each of some stages' runs learnt in its own layers."""
    tensors = {name: tensor.clone() for name, tensor in base.items()}
    for stage in stages:
        learnt = load_checkpoint_weights(find_checkpoint(stage, options.out, print)).tensors
        take_stage(tensors, learnt, _NAMES.index(stage))
    return tensors


def save(path: Path, begun: Weights, tensors: dict[str, Tensor], agent_steps: int, score: Score | None = None) -> None:
    spec = dataclasses.replace(begun.network, encoder="map-stages")
    model = dataclasses.replace(begun, network=spec, tensors=tensors).build()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_weights(path, model, begun.env_id, begun.game, agent_steps, score, begun.algorithm)


def play(weights: Path, options: Options, game: GameOptions, seed: int) -> dict[str, StageScore]:
    """Of each stage, how well it was played with sticky actions."""
    table = weights.with_suffix(".json")
    command = [sys.executable, "gym_eval.py", "--weights", str(weights), "--json", str(table), "--seed", str(seed)]
    command += ["--num-episodes", str(options.episodes * len(STAGES))]
    command += ["--sticky-actions", str(game.sticky_actions), "--time-per-stage", str(game.time_per_stage)]
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    episodes = json.loads(table.read_text())["episodes"]
    scores: dict[str, StageScore] = {}
    for stage in _NAMES:
        own = [episode for episode in episodes if episode["stage"] == stage]
        cleared = sum(episode["outcome"] == Outcome.CLEARED for episode in own)
        scores[stage] = StageScore(len(own), cleared, statistics.mean(episode["progress"] for episode in own))
    return scores


def main() -> int:
    options = tyro.cli(Options)
    options.out.mkdir(parents=True, exist_ok=True)
    begun = load_weights(weights_path(options.expert, WHOLE_GAME))
    base = begun.tensors if begun.network.encoder == "map-stages" else divided_by_stages(begun.tensors)
    with ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(lambda stage: specialise(stage, options), options.stages))
    summaries = {stage: options.out / stage / "summary.json" for stage in options.stages}
    steps = {stage: json.loads(path.read_text())["agent_steps"] for stage, path in summaries.items() if path.is_file()}
    agent_steps = begun.agent_steps + sum(steps.values())
    game = dataclasses.replace(begun.game, sticky_actions=STICKY_ACTIONS)

    def test(name: str, stages: tuple[str, ...], seed: int) -> dict[str, StageScore]:
        """Of the weights with what was learnt in some stages."""
        path = weights_path(options.out / name, WHOLE_GAME)
        tensors = merged(base, options, stages)
        save(path, begun, tensors, agent_steps)
        played = play(path, options, game, seed)
        save(path, begun, tensors, agent_steps, Score(played, GameSettings.of(game), TrainConfig().clear_rate, agent_steps))
        return played

    before, after = test("before", (), seed=1), test("after", tuple(steps), seed=1)
    better = tuple(stage for stage in steps if after[stage].cleared > before[stage].cleared)
    chosen = test("chosen", better, seed=2)  # what was chosen by some episodes is scored by others
    for stage in options.stages:
        rates = "  ".join(f"{scores[stage].clear_rate:4.0%}" for scores in (before, after, chosen))
        print(f"{stage}  before, after, chosen: {rates}  {steps.get(stage, 0):,} agent steps")
    mean = statistics.mean(score.clear_rate for score in chosen.values())
    print(f"{len(better)} stages' layers chosen; mean clear rate {mean:.1%}; weights in {options.out / 'chosen'}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"specialise.py: {error}", file=sys.stderr)
        sys.exit(2)
