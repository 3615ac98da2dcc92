"""The expert that others learn from: weights trained with `--observation map`."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from a3g.algorithms import algorithm_class
from a3g.config import TrainConfig
from a3g.errors import UserError
from a3g.experience.expert_collector import Expert
from a3g.game.emulators import resolve_emulator
from a3g.game.stages import WHOLE_GAME
from a3g.runs.playable import default_weights_path, find_weights

# The expert's probabilities to this power are what is learned: what it wants most stands out more.
_SHARPNESS = 2.0


def load_expert(config: TrainConfig) -> Expert:
    """What the expert of a run says, on the CPU.

    Raises:
        UserError: if its weights are missing or damaged, or it plays another game or on other observations.
    """
    if resolve_emulator(config.emulator) != "native":
        raise UserError("An expert reads the RAM of the native engine: choose --emulator native.")
    found = default_weights_path(config.expert, (config.env, WHOLE_GAME))
    path, weights = find_weights(found if found.is_file() else config.expert)
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
