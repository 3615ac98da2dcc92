"""Weights files: safetensors with all that is needed to rebuild the network and the game, and what they scored."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from a3g.errors import UserError
from a3g.game.lane import GameOptions
from a3g.learning.model import ActorCritic, NetworkSpec

FORMAT_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Weights:
    """A weights file in memory."""

    env_id: str
    network: NetworkSpec
    game: GameOptions
    """The game as it was trained on."""
    score: dict[str, Any]
    """What the tester found, see `a3g.evaluation.Score.to_json`; empty if never tested."""
    agent_steps: int
    tensors: dict[str, Tensor]

    def build(self) -> ActorCritic:
        """The network with these weights, in evaluation mode on the CPU."""
        model = ActorCritic(self.network)
        model.load_state_dict(self.tensors)
        return model.eval()


def weights_path(folder: Path, env_id: str) -> Path:
    """Where the best weights for an environment lie in a folder of trained models."""
    return folder / f"{env_id}.safetensors"


def save_weights(
    path: Path, model: ActorCritic, env_id: str, game: GameOptions, agent_steps: int, score: dict[str, Any] | None = None
) -> None:
    """Write a weights file; readers see the old file or the whole new one.

    Raises:
        OSError: if it can't be written; a file that was there stays as it was.
    """
    metadata = {
        "env_id": env_id,
        "network": json.dumps(dataclasses.asdict(model.spec)),
        "game": json.dumps(dataclasses.asdict(game)),
        "score": json.dumps(score or {}),
        "agent_steps": str(agent_steps),
    }
    save_tensors(path, {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}, metadata)


def load_weights(path: Path) -> Weights:
    """Read a weights file; nothing in it is executed.

    Raises:
        UserError: if it is missing, damaged, of another kind, or its tensors don't fit the network it names.
    """
    tensors, metadata = load_tensors(path, "weights")
    try:
        network = json.loads(metadata["network"])
        network["observation_shape"] = tuple(network["observation_shape"])
        weights = Weights(
            env_id=metadata["env_id"],
            network=NetworkSpec(**network),
            game=GameOptions(**json.loads(metadata["game"])),
            score=json.loads(metadata["score"]),
            agent_steps=int(metadata["agent_steps"]),
            tensors=tensors,
        )
        check_fit(weights.tensors, weights.network, path)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"The weights file {path} has no usable description of its network ({error!r}).") from error
    return weights


def check_fit(tensors: Mapping[str, Tensor], network: NetworkSpec, path: Path) -> None:
    """Compare names and shapes with those of a network, without making it.

    Raises:
        UserError: if they differ.
    """
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in ActorCritic(network).state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if found != expected:
        name = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))[0]
        raise UserError(
            f"{path} holds weights of another network: {name} is {found.get(name, 'missing')} there and "
            f"{expected.get(name, 'missing')} in the {network.encoder} network asked for; "
            "choose --network, --lstm, --hidden-size, --actions and --stack as in its training."
        )


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors and texts as one safetensors file with a checksum, atomically and through to the disk.

    Raises:
        OSError: if it can't be written; a file that was there stays as it was, and no half-written one is left.
    """
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    described = {**metadata, "format_version": str(FORMAT_VERSION)}
    write_atomically(path, save(tensors, {**described, "checksum": _checksum(tensors, described)}))


def load_tensors(path: Path, what: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what `save_tensors` wrote.

    Args:
        path: the file.
        what: what it should be, for the error's sentence.

    Raises:
        UserError: if it is missing, unreadable, damaged, or from a newer version.
    """
    if not path.is_file():
        raise UserError(f"There is no {what} file {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"The {what} file {path} is damaged or is none ({error}).") from error
    version, checksum = metadata.get("format_version"), metadata.pop("checksum", None)
    if version is None or checksum is None:
        raise UserError(f"The {what} file {path} was not written by this program.")
    if version != str(FORMAT_VERSION):
        raise UserError(f"The {what} file {path} is of version {version}, this program reads {FORMAT_VERSION}.")
    if checksum != _checksum(tensors, metadata):
        raise UserError(f"The {what} file {path} is damaged: its checksum does not fit.")
    return tensors, metadata


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file's content: a temporary file beside it, through to the disk, then a rename.

    Raises:
        OSError: if it can't be written; the temporary file is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for name in sorted(metadata):
        digest.update(json.dumps((name, metadata[name])).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
