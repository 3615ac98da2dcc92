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
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from a3g.errors import UserError
from a3g.game.emulators import Emulator, Image, make_emulator, resolve_emulator
from a3g.game.lane import ACTION_SETS, GameOptions, Lane, StartStates
from a3g.game.rules import FrameHook
from a3g.game.stages import STAGES, WHOLE_GAME, Stage, parse_env_id

__all__ = [
    "ACTION_SETS",
    "STAGES",
    "GameOptions",
    "MarioEnv",
    "MarioVectorEnv",
    "make_env",
    "make_vector_env",
]

FRAMES_PER_SECOND = 60


def _observation_space(options: GameOptions) -> gymnasium.spaces.Space[Image]:
    return gymnasium.spaces.Box(0, 255, options.observation_shape, np.uint8)


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
        self.observation_space = _observation_space(options)
        self.action_space = gymnasium.spaces.Discrete(options.num_actions)
        self._window: Any = None
        if render_mode == "human":
            from a3g.reporting.window import Window

            self._window = Window("Super Mario Bros", FRAMES_PER_SECOND)
        self._user_hook = on_frame
        self._emulator = make_emulator(emulator)
        self._starts = StartStates(self._emulator)
        self._lane = Lane([stage], options, None, self._after_frame)
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


class MarioVectorEnv(gymnasium.vector.VectorEnv[Image, NDArray[np.int64], NDArray[Any]]):
    """Many games, stepped one after the other on one emulator by saved states (on nes-py: one emulator each).

    Autoreset is Gymnasium's same-step mode: when a lane's episode ends, the observation returned is the first of its
    next episode, and `infos["final_obs"]` and `infos["final_info"]` hold the last one's.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_fps": FRAMES_PER_SECOND}

    def __init__(
        self,
        stages: Sequence[Stage | None],
        num_lanes: int,
        options: GameOptions,
        emulator: str = "auto",
        seed: int | None = 0,
        copy: bool = True,
    ) -> None:
        """
        Args:
            stages: what to play. Lane i plays stages i, i + num_lanes, … (one at random each episode) if there are
                more stages than lanes, else stage i modulo their number.
            num_lanes: games.
            options: see `GameOptions`.
            emulator: engine, see `a3g.game.emulators`.
            seed: of all lanes; each gets randomness of its own from it.
            copy: whether `step` and `reset` return a copy of the observations or the buffer that the next step changes.

        Raises:
            UserError: if the engine is missing or a number makes no sense.
        """
        if num_lanes < 1:
            raise UserError(f"The number of lanes must be at least 1, not {num_lanes}.")
        if not stages:
            raise UserError("A vector environment needs at least one stage.")
        self.num_envs = num_lanes
        self.options = options
        self.single_observation_space = _observation_space(options)
        self.single_action_space = gymnasium.spaces.Discrete(options.num_actions)
        self.observation_space = batch_space(self.single_observation_space, num_lanes)
        self.action_space = batch_space(self.single_action_space, num_lanes)
        self.lanes = [
            Lane(stages[i::num_lanes] if len(stages) > num_lanes else [stages[i % len(stages)]], options, None)
            for i in range(num_lanes)
        ]
        self._copy = copy
        self._seed_lanes(seed)
        engine = resolve_emulator(emulator)
        first = make_emulator(engine)
        if first.shares_states:
            self._emulators = [first] * num_lanes
            self._starts = [StartStates(first)] * num_lanes
        else:
            self._emulators = [first, *(make_emulator(engine) for _ in range(num_lanes - 1))]
            self._starts = [StartStates(each) for each in self._emulators]
        self._shared = first.shares_states
        self._observations = np.zeros((num_lanes, *options.observation_shape), np.uint8)
        self._rewards = np.zeros(num_lanes, np.float32)
        self._terminated = np.zeros(num_lanes, np.bool_)
        self._truncated = np.zeros(num_lanes, np.bool_)

    def _seed_lanes(self, seed: int | None) -> None:
        for lane, sequence in zip(self.lanes, np.random.SeedSequence(seed).spawn(self.num_envs), strict=True):
            lane.seed(sequence)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Image, dict[str, Any]]:
        if isinstance(seed, Sequence):
            for lane, lane_seed in zip(self.lanes, seed, strict=True):
                if lane_seed is not None:
                    lane.seed(lane_seed)
        elif seed is not None:
            self._seed_lanes(seed)
        for i, lane in enumerate(self.lanes):
            self._reset_lane(i)
            self._leave(lane, i)
        return self._returned_observations(), _batch_infos([lane.info() for lane in self.lanes])

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[Image, NDArray[Any], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        infos: list[dict[str, Any]] = []
        final: dict[int, tuple[Image, dict[str, Any]]] = {}
        for i, (lane, action) in enumerate(zip(self.lanes, actions.tolist(), strict=True)):
            if self._shared:
                self._emulators[i].load(lane.state)
            step = lane.step(self._emulators[i], action, self._observations[i])
            self._rewards[i], self._terminated[i], self._truncated[i] = step
            info = lane.info()
            if step[1] or step[2]:
                final[i] = self._observations[i].copy(), info
                self._reset_lane(i)
                info = lane.info()
            self._leave(lane, i)
            infos.append(info)
        batched = _batch_infos(infos)
        for i, (observation, info) in final.items():
            batched = self._add_info(batched, {"final_obs": observation, "final_info": info}, i)
        return (
            self._returned_observations(),
            self._rewards.copy(),
            self._terminated.copy(),
            self._truncated.copy(),
            batched,
        )

    def close_extras(self, **kwargs: Any) -> None:
        for emulator in set(self._emulators):
            emulator.close()

    def _reset_lane(self, i: int) -> None:
        self.lanes[i].reset(self._emulators[i], self._starts[i], self._observations[i])

    def _leave(self, lane: Lane, i: int) -> None:
        if self._shared:
            lane.state = self._emulators[i].save()

    def _returned_observations(self) -> Image:
        return self._observations.copy() if self._copy else self._observations


def _batch_infos(infos: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Gymnasium's form of the lanes' infos: an array a key, and under `_key` a mask of the lanes that have it."""
    everyone = np.ones(len(infos), np.bool_)
    batched: dict[str, Any] = {}
    for key, example in infos[0].items():
        numeric = isinstance(example, (int, bool))
        batched[key] = np.array([info[key] for info in infos], None if numeric else object)
        batched[f"_{key}"] = everyone
    return batched


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
    return MarioVectorEnv([_parse_stage(stage) for stage in stages], num_lanes, _options(options), emulator, seed)


def _options(options: dict[str, Any]) -> GameOptions:
    unknown = set(options) - set(GameOptions.__dataclass_fields__)
    if unknown:
        known = ", ".join(GameOptions.__dataclass_fields__)
        raise UserError(f"Unknown environment option {sorted(unknown)[0]!r}: choose from {known}.")
    return GameOptions(**options)
