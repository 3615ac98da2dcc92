"""The public face of the game: a Gymnasium environment and a vector environment of Super Mario Bros.

    env = environment.make_env("SuperMarioBros-1-1-v0")
    envs = environment.make_vector_env(["1-1", "1-2"], num_lanes=16)

Observations are uint8 grey pictures, the last `stack` of them, oldest first. A step is an agent step: one decision,
held for `skip_rate` frames. Rewards are those of `a3g.game.rewards`, the rules those of `a3g.game.rules`. The code is in
`a3g.game`.
"""

from a3g.game.env import MarioEnv
from a3g.game.make import make_env, make_vector_env, vector_env, vector_env_parts
from a3g.game.options import ACTION_SETS, GameOptions
from a3g.game.stages import STAGES
from a3g.game.starts import Start, StartSource, UniformStarts
from a3g.game.vector import MarioVectorEnv

__all__ = [
    "ACTION_SETS",
    "STAGES",
    "GameOptions",
    "MarioEnv",
    "MarioVectorEnv",
    "Start",
    "StartSource",
    "UniformStarts",
    "make_env",
    "make_vector_env",
    "vector_env",
    "vector_env_parts",
]
