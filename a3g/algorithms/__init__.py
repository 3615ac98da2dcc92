"""The algorithms, by name: one file each, holding only what is specific to it.

May import `experience`, `networks`, `accelerator`, `game` and the options.
"""

from __future__ import annotations

import torch

from a3g.algorithm_options import import_class, options_class
from a3g.algorithms.base import Algorithm
from a3g.config import TrainConfig
from a3g.errors import UserError

ALGORITHMS = {
    "a3c": "a3g.algorithms.a3c:A3C",
    "a2c": "a3g.algorithms.a2c:A2C",
    "ppo": "a3g.algorithms.ppo:PPO",
    "dagger": "a3g.algorithms.dagger:Dagger",
    "imitation": "a3g.algorithms.imitation:Imitation",
    "dqn": "a3g.algorithms.dqn:DQN",
    "dueling-dqn": "a3g.algorithms.dqn:DuelingDQN",
}


def algorithm_class(name: str) -> type[Algorithm]:
    """The algorithm called `name`: a key of ALGORITHMS, or ``module:Class`` for one outside this package.

    Raises:
        UserError: if there is none.
    """
    options_class(name)  # says which names there are
    found = import_class(ALGORITHMS.get(name, name))
    if not (isinstance(found, type) and issubclass(found, Algorithm)):
        raise UserError(f"{name!r} is no algorithm: it must be a subclass of a3g.algorithms.base.Algorithm.")
    return found


def make_algorithm(config: TrainConfig, device: torch.device) -> Algorithm:
    """A worker's learner, with a new network on `device`; raises as `algorithm_class`."""
    return algorithm_class(config.algorithm)(config, device)
