"""Demonstrations: actions that clear a stage, one file a stage. No states of the console and no bytes of the ROM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from a3g.errors import UserError
from a3g.files import Shapes, load_tensors, looking_into, save_tensors
from a3g.game.options import ACTION_SETS
from a3g.game.stages import STAGES, Stage

ACTION_SET = "a3g"
"""The action set that the indices in `Demonstration.actions` belong to."""
FRAME_SKIP = 4
"""Frames per agent step."""
TIME_PER_STAGE = 400
"""Units of the game's clock allowed for a demonstration, see `GameOptions.time_per_stage`."""

_WHAT = "demonstrations"
_VERSION = "1"
_DTYPES = {"actions": torch.uint8, "lengths": torch.int32, "idle_frames": torch.uint8, "sticky_actions": torch.float32}


@dataclass(frozen=True, slots=True, eq=False)
class Demonstration:
    """A way through a stage, from its start to the clear. It replays exactly, on every engine, with sticky actions off."""

    stage: Stage
    idle_frames: int
    """As `Start.idle_frames`: frames (1/60 s) without buttons before the first agent step, 0 to 255."""
    actions: NDArray[np.uint8]
    """The actions executed, repetitions by sticky actions included: (steps,), indices into `ACTION_SET`."""
    sticky_actions: float = 0.0
    """The chance of a repeated action under which it was found."""


def demonstrations_path(folder: Path, stage: Stage) -> Path:
    """The file of a stage's demonstrations."""
    return folder / f"{stage}.safetensors"


def load_demonstrations(folder: Path, stages: Sequence[Stage] = STAGES) -> dict[Stage, list[Demonstration]]:
    """The demonstrations of stages, in the order in which they were saved; none for a stage without a file.

    Raises:
        UserError: if a file is damaged, of another version, or holds what are no demonstrations of its stage.
    """
    with looking_into(folder):
        present = {stage: demonstrations_path(folder, stage).exists() for stage in stages}
    return {stage: _load(demonstrations_path(folder, stage), stage) if present[stage] else [] for stage in stages}


def save_demonstrations(folder: Path, stage: Stage, demonstrations: Sequence[Demonstration]) -> None:
    """Replace a stage's file.

    Raises:
        OSError: if it can't be written; the file that was there stays as it was.
    """
    if any(demonstration.stage != stage for demonstration in demonstrations):
        raise ValueError(f"not all of these demonstrations are of {stage}")
    actions = [demonstration.actions for demonstration in demonstrations]
    tensors = {
        "actions": torch.from_numpy(np.concatenate([np.zeros(0, np.uint8), *actions])),
        "lengths": torch.tensor([len(each) for each in actions], dtype=torch.int32),
        "idle_frames": torch.tensor([each.idle_frames for each in demonstrations], dtype=torch.uint8),
        "sticky_actions": torch.tensor([each.sticky_actions for each in demonstrations], dtype=torch.float32),
    }
    metadata = {
        "stage": str(stage),
        "action_set": ACTION_SET,
        "frame_skip": str(FRAME_SKIP),
        "demonstrations_version": _VERSION,
    }
    save_tensors(demonstrations_path(folder, stage), tensors, metadata)


def _load(path: Path, stage: Stage) -> list[Demonstration]:
    def check(shapes: Shapes, metadata: dict[str, str]) -> None:
        _check_description(path, stage, metadata)
        count = shapes["lengths"]
        if shapes.keys() != _DTYPES.keys() or len(count) != 1 or len(shapes["actions"]) != 1:
            raise ValueError("its tensors are not those of demonstrations")
        if shapes["idle_frames"] != count or shapes["sticky_actions"] != count:
            raise ValueError("its tensors do not fit together")

    tensors, _ = load_tensors(path, _WHAT, check)
    damaged = f"The {_WHAT} file {path} is damaged: "
    if any(tensors[name].dtype != dtype for name, dtype in _DTYPES.items()):
        raise UserError(f"{damaged}its tensors are not those of demonstrations.")
    actions, lengths = tensors["actions"].numpy(), tensors["lengths"].numpy().astype(np.int64)
    chances = tensors["sticky_actions"].numpy()
    if lengths.min(initial=1) < 1 or lengths.sum() != len(actions):
        raise UserError(f"{damaged}the lengths of its demonstrations do not add up to its {len(actions)} actions.")
    num_actions = len(ACTION_SETS[ACTION_SET])
    if actions.max(initial=0) >= num_actions:
        raise UserError(f"{damaged}it has an action {actions.max()}, actions are 0 to {num_actions - 1}.")
    if not ((chances >= 0.0) & (chances < 1.0)).all():
        raise UserError(f"{damaged}its chances of sticky actions are not all from 0 up to 1.")
    pieces = np.split(actions, np.cumsum(lengths)[:-1]) if len(lengths) else []
    rows = zip(pieces, tensors["idle_frames"].tolist(), chances.tolist(), strict=True)
    return [Demonstration(stage, idle_frames, piece, chance) for piece, idle_frames, chance in rows]


def _check_description(path: Path, stage: Stage, metadata: dict[str, str]) -> None:
    """
    Raises:
        UserError: if a file's texts don't describe demonstrations that can be played here.
    """
    version = metadata.get("demonstrations_version")
    if version is None:
        raise UserError(f"The {_WHAT} file {path} holds no demonstrations.")
    if version != _VERSION:
        raise UserError(f"The {_WHAT} file {path} is of version {version:.20}, this program reads {_VERSION}.")
    for key, wanted in (("stage", str(stage)), ("action_set", ACTION_SET), ("frame_skip", str(FRAME_SKIP))):
        if metadata.get(key) != wanted:
            raise UserError(f"The {_WHAT} file {path} has {key} {metadata.get(key, 'none'):.20}, it must be {wanted}.")
