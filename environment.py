"""The public face of the game: a Gymnasium environment and a vector environment of Super Mario Bros.

    env = environment.make_env("SuperMarioBros-1-1-v0")
    envs = environment.make_vector_env(["1-1", "1-2"], num_lanes=16)

Observations are uint8 grey pictures, the last `stack` of them, oldest first. A step is an agent step: one decision,
held for `skip_rate` frames. Rewards are those of `a3g.game.rewards`, the rules those of `a3g.game.rules`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from a3g.errors import UserError
from a3g.game.emulators import FRAMES_PER_SECOND, Emulator, Image, make_emulator, resolve_emulator
from a3g.game.lane import ACTION_SETS, GameOptions, Lane, StartStates
from a3g.game.native_vector import NativeVectorEnv
from a3g.game.rules import FrameHook
from a3g.game.stages import STAGES, WHOLE_GAME, Stage, parse_env_id
from a3g.game.vector import LaneVectorEnv, MarioVectorEnv, observation_space

__all__ = [
    "ACTION_SETS",
    "STAGES",
    "GameOptions",
    "MarioEnv",
    "MarioVectorEnv",
    "make_env",
    "make_vector_env",
    "vector_env",
]


class MarioEnv(gymnasium.Env[Image, np.int64]):
    """One game. Episodes end (terminated) when the stage is cleared, lost, left by a warp zone or out of time."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "human"], "render_fps": FRAMES_PER_SECOND}

    def __init__(
        self,
        stage: Stage | None,
        options: GameOptions,
        emulator: str = "auto",
        render_mode: str | None = None,
        on_frame: FrameHook | None = None,
    ) -> None:
        """
        Args:
            stage: what to play; None is the whole game with three lives.
            options: see `GameOptions`.
            emulator: engine, see `a3g.game.emulators`.
            render_mode: None, ``rgb_array`` (`render` returns uint8 (224, 240, 3)) or ``human`` (a window).
            on_frame: called after every frame of the game, cutscenes included.

        Raises:
            UserError: if the engine is missing, or there is no display for ``human``.
        """
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise UserError(f"Unknown render mode {render_mode!r}: choose rgb_array or human.")
        self.render_mode = render_mode
        self.options = options
        self.observation_space = observation_space(options)
        self.action_space = gymnasium.spaces.Discrete(options.num_actions)
        self._window: Any = None
        if render_mode == "human":
            from a3g.reporting.window import Window

            self._window = Window("Super Mario Bros", FRAMES_PER_SECOND)
        self._user_hook = on_frame
        self._emulator = make_emulator(emulator)
        self._starts = StartStates(self._emulator)
        watched = self._window is not None or on_frame is not None
        self._lane = Lane([stage], options, None, self._after_frame if watched else None)
        self._observation = np.zeros(options.observation_shape, np.uint8)
        self._closed = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Image, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self._lane.seed(seed)
        self._lane.reset(self._emulator, self._starts, self._observation)
        return self._observation.copy(), self._lane.info()

    def step(self, action: np.int64 | int) -> tuple[Image, float, bool, bool, dict[str, Any]]:
        reward, terminated, truncated = self._lane.step(self._emulator, int(action), self._observation)
        return self._observation.copy(), reward, terminated, truncated, self._lane.info()

    def render(self) -> Image | None:
        return self._emulator.rgb() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._emulator.close()
            if self._window is not None:
                self._window.close()

    def _after_frame(self, emulator: Emulator) -> None:
        if self._window is not None:
            self._window.show(emulator.rgb())
        if self._user_hook is not None:
            self._user_hook(emulator)


def _parse_stage(name: str | Stage | None) -> Stage | None:
    """A stage from ``1-1``, an environment id, a Stage, or None (the whole game)."""
    if name is None or isinstance(name, Stage):
        return name
    return parse_env_id(name if name.startswith("SuperMarioBros") else f"SuperMarioBros-{name}-v0")


def make_env(env_id: str = WHOLE_GAME, *, emulator: str = "auto", render_mode: str | None = None, **options: Any) -> MarioEnv:
    """One game as a Gymnasium environment.

    Args:
        env_id: ``SuperMarioBros-v0`` (the whole game) or ``SuperMarioBros-<world>-<stage>-v0``.
        emulator: engine, see `a3g.game.emulators`.
        render_mode: None, ``rgb_array`` or ``human``.
        options: fields of `GameOptions`.

    Raises:
        UserError: for an unknown environment, engine or option, or a missing display.
    """
    return MarioEnv(parse_env_id(env_id), _options(options), emulator, render_mode)


def make_vector_env(
    stages: Sequence[str | Stage | None], num_lanes: int, emulator: str = "auto", seed: int | None = 0, **options: Any
) -> MarioVectorEnv:
    """Many games as a Gymnasium vector environment; observations uint8 (lanes, stack, height, width).

    Args:
        stages: names such as ``1-1``, environment ids, or None for the whole game; see `MarioVectorEnv`.
        num_lanes: games.
        emulator: engine, see `a3g.game.emulators`.
        seed: of all lanes.
        options: fields of `GameOptions`.

    Raises:
        UserError: for an unknown stage, engine or option.
    """
    return vector_env([_parse_stage(stage) for stage in stages], num_lanes, _options(options), emulator, seed)


def vector_env(
    stages: Sequence[Stage | None],
    num_lanes: int,
    options: GameOptions,
    emulator: str = "auto",
    seed: int | None = 0,
    copy: bool = True,
) -> MarioVectorEnv:
    """`make_vector_env` for values that are known to be good; `copy` as in `MarioVectorEnv`."""
    if resolve_emulator(emulator) == "native":
        return NativeVectorEnv(stages, num_lanes, options, seed, copy)
    return LaneVectorEnv(stages, num_lanes, options, emulator, seed, copy)


def vector_env_parts(
    stages: Sequence[Stage | None],
    num_lanes: int,
    num_parts: int,
    options: GameOptions,
    emulator: str = "auto",
    seed: int | None = 0,
    copy: bool = True,
) -> list[MarioVectorEnv]:
    """The lanes of one vector environment dealt out, in order, to several that can be stepped on their own.

    Every lane plays the stages that it would play in the one, and the same games if the parts are reset with their
    shares of `lane_seeds(seed, num_lanes)`.

    Args:
        num_parts: a divisor of `num_lanes`.
        stages, num_lanes, options, emulator, seed, copy: as in `vector_env`.
    """
    size = num_lanes // num_parts
    parts = []
    for first in range(0, num_lanes, size):
        if len(stages) > num_lanes:
            own = [stage for i, stage in enumerate(stages) if first <= i % num_lanes < first + size]
        else:
            own = [stages[lane % len(stages)] for lane in range(first, first + size)]
        parts.append(vector_env(own, size, options, emulator, seed, copy))
    return parts


def _options(options: dict[str, Any]) -> GameOptions:
    unknown = set(options) - set(GameOptions.__dataclass_fields__)
    if unknown:
        known = ", ".join(GameOptions.__dataclass_fields__)
        raise UserError(f"Unknown environment option {sorted(unknown)[0]!r}: choose from {known}.")
    return GameOptions(**options)
