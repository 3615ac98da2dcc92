"""Trains an expert for all stages on one stage after the other: `python -m benchmarks.specialise --help`.

Each stage gets a training run of its own, with the stages' own layers alone (`--stage-layers-only`), so that runs don't disturb
each other; as many go on side by side as there are cores. Then old and new expert play the same episodes, and of each stage the
layers of the better one are kept. All samples of a run are of one stage, so its gradients are far less noisy than those of a
run on 32 stages at the same learning rate.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import tyro
from torch import Tensor

from a3g.cores import usable_cores
from a3g.errors import UserError
from a3g.game.stages import STAGES, WHOLE_GAME
from a3g.networks.map_of_stages import divided_by_stages, take_stage
from a3g.runs.checkpoint import find_checkpoint
from a3g.runs.playable import load_checkpoint_weights
from a3g.runs.weights import Weights, load_weights, save_weights, weights_path

ROOT = Path(__file__).resolve().parent.parent
_NAMES = tuple(map(str, STAGES))


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
    """That old and new weights play per stage, with 10% sticky actions."""
    arguments: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """One more argument for main.py; can be given several times."""


def specialise(stage: str, options: Options) -> None:
    """Train on one stage, unless that was done before."""
    if (options.out / stage / "summary.json").is_file():
        return
    command = [sys.executable, "main.py", "--preset", "expert", "--stages", stage, "--stage-layers-only", "--workers", "1"]
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


def save(path: Path, begun: Weights, tensors: dict[str, Tensor]) -> None:
    spec = dataclasses.replace(begun.network, encoder="map-stages")
    model = dataclasses.replace(begun, network=spec, tensors=tensors).build()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_weights(path, model, begun.env_id, begun.game, begun.agent_steps, None, begun.algorithm)


def clear_rates(weights: Path, options: Options) -> dict[str, float]:
    """Of each stage."""
    table = weights.with_suffix(".json")
    command = [sys.executable, "gym_eval.py", "--weights", str(weights), "--sticky-actions", "0.1", "--json", str(table)]
    command += ["--num-episodes", str(options.episodes * len(STAGES))]
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    rates: dict[str, float] = json.loads(table.read_text())["clear_rate"]
    return rates


def main() -> int:
    options = tyro.cli(Options)
    options.out.mkdir(parents=True, exist_ok=True)
    begun = load_weights(weights_path(options.expert, WHOLE_GAME))
    base = begun.tensors if begun.network.encoder == "map-stages" else divided_by_stages(begun.tensors)
    with ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(lambda stage: specialise(stage, options), options.stages))
    trained = tuple(stage for stage in options.stages if (options.out / stage / "summary.json").is_file())
    rates: dict[str, dict[str, float]] = {}
    for name, stages in (("before", ()), ("after", trained)):
        path = options.out / name / f"{WHOLE_GAME}.safetensors"
        save(path, begun, merged(base, options, stages))
        rates[name] = clear_rates(path, options)
    better = tuple(stage for stage in trained if rates["after"][stage] > rates["before"][stage])
    save(weights_path(options.out / "chosen", WHOLE_GAME), begun, merged(base, options, better))
    for stage in options.stages:
        print(f"{stage}  before {rates['before'][stage]:.0%}  after {rates['after'][stage]:.0%}")
    print(f"chosen of {len(better)} stages; weights in {options.out / 'chosen'}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"specialise.py: {error}", file=sys.stderr)
        sys.exit(2)
