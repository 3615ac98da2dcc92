"""The expert that others learn from: weights trained with `--observation map`, for some stages perhaps weights of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from a3g.algorithms import algorithm_class
from a3g.config import TrainConfig
from a3g.errors import UserError
from a3g.experience.expert_collector import Expert
from a3g.files import looking_into
from a3g.game.emulators import resolve_emulator
from a3g.game.map_observation import stages_of
from a3g.game.stages import STAGES, WHOLE_GAME, Stage, env_id_of
from a3g.runs.playable import default_weights_path, find_weights
from a3g.runs.weights import weights_path

# The expert's probabilities to this power are what is learned: what it wants most stands out more.
_SHARPNESS = 2.0
_OTHERS = -1  # stages without weights of their own


def load_expert(config: TrainConfig) -> Expert:
    """What the expert of a run says, on the CPU.

    In a folder of weights that are named after what they play, those of a single stage speak in that stage, as
    `benchmarks/specialise.py` makes them, and those of the run's environment or the whole game in all others.

    Raises:
        UserError: if its weights are missing or damaged, or it plays another game or on other observations.
    """
    if resolve_emulator(config.emulator) != "native":
        raise UserError("An expert reads the RAM of the native engine: choose --emulator native.")
    found = default_weights_path(config.expert, (config.env, WHOLE_GAME))
    of_others = _load(found if found.is_file() else config.expert, config)
    of_stages = {STAGES.index(stage): _load(path, config) for stage, path in _of_single_stages(config).items()}
    if not of_stages:
        return of_others
    num_actions = config.game_options().num_actions

    def advise(maps: NDArray[np.uint8]) -> Tensor:
        stages = stages_of(maps)
        speaking = np.where(np.isin(stages, list(of_stages)), stages, _OTHERS)
        log_probs = torch.empty(len(maps), num_actions)
        for each in np.unique(speaking).tolist():
            lanes = np.flatnonzero(speaking == each)
            log_probs[lanes] = of_stages.get(each, of_others)(maps[lanes])
        return log_probs

    return advise


def _of_single_stages(config: TrainConfig) -> dict[Stage, Path]:
    """The files of single stages in the expert's folder, for the stages that are played."""
    stages = config.test_stages()
    with looking_into(config.expert):
        paths = {stage: weights_path(config.expert, env_id_of(stage)) for stage in stages}
        return {stage: path for stage, path in paths.items() if path.is_file()}


def _load(where: Path, config: TrainConfig) -> Expert:
    """What one network says; raises as `load_expert`."""
    path, weights = find_weights(where)
    if weights.game.observation != "map":
        raise UserError(f"{path} is no expert: it was not trained with --observation map.")
    for name in ("actions", "skip_rate"):
        theirs, ours = getattr(weights.game, name), getattr(config, name)
        if theirs != ours:
            raise UserError(f"The expert {path} plays with {name} {theirs}, not {ours}.")
    if weights.network.lstm or config.observation != "pictures":
        raise UserError(f"The expert {path} must have no LSTM, and who learns from it --observation pictures.")
    algorithm, model = algorithm_class(weights.algorithm), weights.build()

    @torch.no_grad()
    def advise(maps: NDArray[np.uint8]) -> Tensor:
        lanes = len(maps)
        every = torch.ones(lanes, dtype=torch.bool)
        preferences, _ = algorithm.preferences(model, torch.from_numpy(maps), model.initial_state(lanes), every)
        return torch.log_softmax(_SHARPNESS * preferences.float(), dim=-1)

    return advise
