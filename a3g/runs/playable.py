"""Finds weights to play with: in weights files, in checkpoints and in the folders of runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from a3g.algorithms import algorithm_class
from a3g.config_json import train_config_from_json
from a3g.errors import UserError
from a3g.files import load_tensors, looking_into, read_json
from a3g.networks.flat_parameters import FlatParameters
from a3g.reporting.say import say
from a3g.runs.checkpoint import AVERAGE, load_progress, newest_good
from a3g.runs.paths import BEST_NAME, checkpoints_in
from a3g.runs.weights import Weights, load_weights, weights_path

DEFAULT_FOLDER = Path("trained_models")
# Where the weights lie that come with the program, whatever folder it is started in.
_SHIPPED_FOLDERS = tuple(Path(__file__).parents[level] / DEFAULT_FOLDER for level in (2, 1))


def find_weights(path: Path) -> tuple[Path, Weights]:
    """The weights that a user names, and the file that they are in.

    Args:
        path: a weights file, a checkpoint, or a run's folder, whose best weights are taken or else its newest checkpoint.

    Raises:
        UserError: if there are none, or they are damaged.
    """
    with looking_into(path):
        if path.is_dir():
            path = _of_run(path)
    if not path.is_file():
        return path, load_weights(path)
    _, metadata = load_tensors(path, "weights")
    return path, load_checkpoint_weights(path) if "progress" in metadata else load_weights(path)


def default_weights_path(folder: Path, env_ids: tuple[str, ...]) -> Path:
    """The file of the first of some environments that has weights in a folder.

    Args:
        folder: the default one is looked for where the program is started, and then where the program is.

    Raises:
        UserError: if a folder can't be looked into.
    """
    folders = (folder, *_SHIPPED_FOLDERS) if folder == DEFAULT_FOLDER else (folder,)
    with looking_into(folder):
        for place in folders:
            for env_id in env_ids:
                if weights_path(place, env_id).is_file():
                    return weights_path(place, env_id)
    return weights_path(folder, env_ids[0])


def load_checkpoint_weights(path: Path) -> Weights:
    """What a run had learnt when it wrote a checkpoint; never tested, so without a score.

    Raises:
        UserError: if the checkpoint is missing or damaged.
    """
    tensors, metadata = load_tensors(path, "checkpoint")
    try:
        config = train_config_from_json(read_json(metadata, "config"))
    except ValueError as error:
        raise UserError(f"The checkpoint {path} has {error}.") from error
    model = algorithm_class(config.algorithm).build_model(config.network_spec())
    flat = FlatParameters(model)
    # An average is what the run's tester tested.
    weights = tensors.get(f"{AVERAGE}weights", tensors.get("model.weights"))
    statistics = tensors.get("model.input_statistics")
    if weights is None or weights.shape != flat.parameters.shape or statistics is None or statistics.shape != (3,):
        raise UserError(f"The checkpoint {path} holds no weights of the network that its settings describe.")
    if not bool(weights.isfinite().all() and statistics.isfinite().all()):
        raise UserError(f"The checkpoint {path} is of no use: it holds numbers that are not finite.")
    with torch.no_grad():
        flat.parameters.copy_(weights)
        model.input_mean.fill_(float(statistics[0]))
        model.input_variance.fill_(float(statistics[1]))
    game = replace(config.game_options(), episodic_life=False)
    agent_steps = load_progress(path).agent_steps
    return Weights(config.env, config.algorithm, config.network_spec(), game, None, agent_steps, model.state_dict())


def _of_run(folder: Path) -> Path:
    if (folder / BEST_NAME).is_file():
        return folder / BEST_NAME
    if checkpoints_in(folder):
        return newest_good(folder, say)
    raise UserError(f"The folder {folder} is no run's: it has neither {BEST_NAME} nor a checkpoint.")
