"""What `gymnasium.make` and `gymnasium.make_vec` call for the names of `a3g.gymnasium_ids`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from a3g.game.env import MarioEnv
from a3g.game.make import make_env, make_vector_env
from a3g.game.options import GameOptions
from a3g.game.vector import MarioVectorEnv


def make(env_id: str, **options: Any) -> MarioEnv:
    """One game; `options` as in `a3g.game.make.make_env`.

    Raises:
        TypeError: for an unknown option, as Gymnasium's users expect (TorchRL tries which ones there are).
        UserError: as `a3g.game.make.make_env`.
    """
    _refuse_unknown(options, "emulator", "render_mode")
    return make_env(env_id, **options)


# Gymnasium looks here for what can be drawn, so that it adds `rgb_array_list` by its own wrapper.
make.metadata = {**MarioEnv.metadata, "render_fps": 15}  # type: ignore[attr-defined]


def make_vec(
    env_id: str,
    num_envs: int = 1,
    *,
    stages: Sequence[str] | None = None,
    max_episode_steps: int | None = None,
    **options: Any,
) -> MarioVectorEnv:
    """Many games in one vector environment of our own, several times as fast as Gymnasium's around single games.

    Args:
        env_id: what all lanes play, unless `stages` is given.
        num_envs: lanes.
        stages: names such as ``1-1``, shared out among the lanes.
        max_episode_steps: Gymnasium's name for the option `max_episode_length`.
        options: as `a3g.game.make.make_vector_env`; without a seed the games differ each time until `reset` gets one.

    Raises:
        TypeError: for an unknown option.
        UserError: for an unknown stage, engine or mode.
    """
    _refuse_unknown(options, "emulator", "render_mode", "seed", "starts", "autoreset_mode")
    if max_episode_steps is not None:
        options.setdefault("max_episode_length", max_episode_steps)
    return make_vector_env(stages or [env_id], num_envs, **{"seed": None, **options})


def _refuse_unknown(options: dict[str, Any], *others: str) -> None:
    known = (*others, *GameOptions.__dataclass_fields__)
    for name in options:
        if name not in known:
            raise TypeError(f"got an unexpected keyword argument {name!r}: choose from {', '.join(known)}")
