"""Weights files: safetensors with all that is needed to rebuild the network and the game, and what they scored."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from a3g.algorithms import algorithm_class
from a3g.errors import UserError
from a3g.files import Shapes, load_tensors, read_json, save_tensors
from a3g.game.options import MAP_SHAPE, GameOptions
from a3g.network_spec import FIRST_MAP_SIZE, MAP_ENCODER, NetworkSpec
from a3g.networks.pixel_network import PixelNetwork
from a3g.runs.scores import Score

# What trained the weights whose files do not say it.
FIRST_ALGORITHM = "a3c"


@dataclasses.dataclass(frozen=True)
class Weights:
    """A weights file in memory."""

    env_id: str
    algorithm: str
    """What trained them, as in `a3g.algorithms.algorithm_class`; it knows their network."""
    network: NetworkSpec
    game: GameOptions
    """The game as it was trained on."""
    score: Score | None
    """What the tester found; None if they were never tested."""
    agent_steps: int
    tensors: dict[str, Tensor]

    def build(self) -> PixelNetwork:
        """The network with these weights, in evaluation mode on the CPU."""
        model = algorithm_class(self.algorithm).build_model(self.network)
        model.load_state_dict(self.tensors)
        return model.eval()


def weights_path(folder: Path, env_id: str) -> Path:
    """Where the best weights for an environment lie in a folder of trained models."""
    return folder / f"{env_id}.safetensors"


def save_weights(
    path: Path,
    model: PixelNetwork,
    env_id: str,
    game: GameOptions,
    agent_steps: int,
    score: Score | None = None,
    algorithm: str = FIRST_ALGORITHM,
) -> None:
    """Write a weights file; readers see the old file or the whole new one.

    Raises:
        OSError: if it can't be written; a file that was there stays as it was.
    """
    metadata = {
        "env_id": env_id,
        "algorithm": algorithm,
        "network": json.dumps(dataclasses.asdict(model.spec)),
        "game": json.dumps(dataclasses.asdict(game)),
        "score": json.dumps(score.to_json() if score is not None else {}),
        "agent_steps": str(agent_steps),
    }
    save_tensors(path, {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}, metadata)


def load_weights(path: Path) -> Weights:
    """Read a weights file; nothing in it is executed.

    Raises:
        UserError: if it is missing, damaged, of another kind, or its tensors don't fit the network it names.
    """
    described: list[Weights] = []

    def check(shapes: Shapes, metadata: dict[str, str]) -> None:
        described.append(_described(metadata, path))
        check_fit(shapes, described[0].algorithm, described[0].network, path)

    tensors, _ = load_tensors(path, "weights", check)
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise UserError(f"The weights file {path} is of no use: {name} holds numbers that are not finite.")
    return _widened(dataclasses.replace(described[0], tensors=tensors))


def _widened(weights: Weights) -> Weights:
    """Weights that read the shorter maps of earlier versions, made to read today's: what they don't know has no weight."""
    shape = weights.network.observation_shape
    if weights.network.encoder != MAP_ENCODER or math.prod(shape) != FIRST_MAP_SIZE:
        return weights
    network = dataclasses.replace(weights.network, observation_shape=MAP_SHAPE)
    with torch.device("meta"):
        expected = algorithm_class(weights.algorithm).build_model(network).state_dict()
    tensors = {
        name: functional.pad(tensor, (0, expected[name].shape[-1] - tensor.shape[-1])) if tensor.dim() > 1 else tensor
        for name, tensor in weights.tensors.items()
    }
    return dataclasses.replace(weights, network=network, tensors=tensors)


def _described(metadata: dict[str, str], path: Path) -> Weights:
    """What a weights file's texts say, without its tensors."""
    try:
        network = read_json(metadata, "network")
        network["observation_shape"] = tuple(network["observation_shape"])
        spec, game = NetworkSpec(**network), GameOptions(**read_json(metadata, "game"))
        _check_kinds(spec)
        _check_kinds(game)
        found, agent_steps = read_json(metadata, "score"), int(metadata["agent_steps"])
        score = Score.from_json(found, game, agent_steps) if found else None
        algorithm = metadata.get("algorithm", FIRST_ALGORITHM)
        return Weights(metadata["env_id"], algorithm, spec, game, score, agent_steps, {})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"The weights file {path} has no usable description of its network ({error!r}).") from error


def _check_kinds(described: NetworkSpec | GameOptions) -> None:
    """
    Raises:
        TypeError: if a value is of another kind than its field.
    """
    for field in dataclasses.fields(described):
        value: Any = getattr(described, field.name)
        kind = type(field.default)
        fits = type(value) is kind or (kind is float and type(value) is int)
        if not fits or (kind is tuple and not all(type(each) is int for each in value)):
            raise TypeError(f"{field.name} can't be {value!r:.50}")


def check_fit(shapes: Mapping[str, tuple[int, ...]], algorithm: str, network: NetworkSpec, path: Path) -> None:
    """Compare the names and shapes of tensors with those of a network, without making it.

    Raises:
        UserError: if they differ.
    """
    try:
        with torch.device("meta"):
            model = algorithm_class(algorithm).build_model(network)
            expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    except (RuntimeError, OverflowError) as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise UserError(f"The weights file {path} has no usable description of its network ({reason}).") from error
    found = dict(shapes)
    if found != expected:
        name = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))[0]
        raise UserError(
            f"{path} holds weights of another network: {name} is {found.get(name, 'missing')} there and "
            f"{expected.get(name, 'missing')} in the {network.encoder} network asked for; "
            "choose --network, --lstm, --fc, --hidden-size, --actions and --stack as in its training."
        )
