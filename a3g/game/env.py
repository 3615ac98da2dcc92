"""One game as a Gymnasium environment."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import ClosedEnvironmentError, ResetNeeded

from a3g.errors import UserError
from a3g.game.action_checks import check_action
from a3g.game.emulators import FRAMES_PER_SECOND, Emulator, Image, make_emulator
from a3g.game.lane import Lane
from a3g.game.options import GameOptions
from a3g.game.rules import FrameHook
from a3g.game.stage_starts import StartStates
from a3g.game.stages import Stage
from a3g.game.vector import observation_space


class MarioEnv(gymnasium.Env[Image, np.int64]):
    """One game. Episodes end (terminated) when the stage is cleared, lost, left by a warp zone or out of time."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "human"]}

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
        # `render` gives one picture an agent step.
        self.metadata = {**self.metadata, "render_fps": FRAMES_PER_SECOND / options.skip_rate}
        self.options = options
        self.observation_space = observation_space(options)
        self.action_space = gymnasium.spaces.Discrete(options.num_actions)
        self._window: Any = None
        if render_mode == "human":
            from a3g.reporting.window import Window

            self._window = Window("Super Mario Bros", FRAMES_PER_SECOND)
        self._user_hook = on_frame
        self._emulator = make_emulator(emulator)
        self._stage_starts = StartStates(self._emulator)
        watched = self._window is not None or on_frame is not None
        self._lane = Lane([stage], options, None, self._after_frame if watched else None)
        self._observation = np.zeros(options.observation_shape, np.uint8)
        self._needs_reset = True
        self._closed = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Image, dict[str, Any]]:
        self._check_open()
        super().reset(seed=seed)
        if seed is not None:
            self._lane.seed(seed)
        self._lane.reset(self._emulator, self._stage_starts, self._observation)
        self._needs_reset = False
        return self._observation.copy(), self._lane.info()

    def step(self, action: np.int64 | int) -> tuple[Image, float, bool, bool, dict[str, Any]]:
        """One agent step.

        Args:
            action: a whole number below the number of actions.

        Returns:
            observation uint8 (stack, height, width), reward, terminated, truncated, info.

        Raises:
            gymnasium.error.InvalidAction: for any other action; nothing is stepped then.
            gymnasium.error.ResetNeeded: before the first reset and after an episode's end.
        """
        number = check_action(action, self.options.num_actions)
        self._check_open()
        if self._needs_reset:
            raise ResetNeeded("Reset the environment before its first step and after the end of an episode.")
        reward, terminated, truncated = self._lane.step(self._emulator, number, self._observation)
        self._needs_reset = terminated or truncated
        return self._observation.copy(), reward, terminated, truncated, self._lane.info()

    def render(self) -> Image | None:
        return self._emulator.rgb() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._emulator.close()
            if self._window is not None:
                self._window.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedEnvironmentError("This environment is closed.")

    def _after_frame(self, emulator: Emulator) -> None:
        if self._window is not None:
            self._window.show(emulator.rgb())
        if self._user_hook is not None:
            self._user_hook(emulator)
