"""A lane: one game among several, with its observation stack, its randomness and its episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from a3g.errors import UserError
from a3g.game import memory
from a3g.game.emulators import (
    BUTTON_A,
    BUTTON_B,
    BUTTON_DOWN,
    BUTTON_LEFT,
    BUTTON_RIGHT,
    BUTTON_UP,
    VISIBLE_LEFT,
    VISIBLE_TOP,
    Emulator,
    Image,
)
from a3g.game.rewards import REWARD_SCALE
from a3g.game.rules import Episode, FrameHook, Outcome
from a3g.game.stages import STAGES, Stage, go_to_start

# Seed 002's cut of the 256 x 240 picture, [15:-25, 43:-13]: 200 x 200 pixels without most of the status bar.
PICTURE_CUT = (15, 215, 43, 243)  # top, bottom, left, right
_ROWS = slice(PICTURE_CUT[0] - VISIBLE_TOP, PICTURE_CUT[1] - VISIBLE_TOP)
_COLUMNS = slice(PICTURE_CUT[2] - VISIBLE_LEFT, PICTURE_CUT[3] - VISIBLE_LEFT)

_R, _L, _A, _B = BUTTON_RIGHT, BUTTON_LEFT, BUTTON_A, BUTTON_B

ACTION_SETS: dict[str, tuple[int, ...]] = {
    # Seed 002's ten: enough for every stage but the vines, which lead to bonuses only.
    "a3g": (0, _R, _R | _A, _R | _B, _R | _A | _B, _A, _L | _A, _L | _B, _L | _A | _B, BUTTON_DOWN),
    # gym-super-mario-bros' three.
    "right": (0, _R, _R | _A, _R | _B, _R | _A | _B),
    "simple": (0, _R, _R | _A, _R | _B, _R | _A | _B, _A, _L),
    "complex": (0, _R, _R | _A, _R | _B, _R | _A | _B, _A, _L, _L | _A, _L | _B, _L | _A | _B, BUTTON_DOWN, BUTTON_UP),
}


@dataclass(frozen=True)
class GameOptions:
    """How the game is shown to the agent and played by it. Travels with the weights."""

    skip_rate: int = 4
    """Frames per agent step."""
    stack: int = 4
    """Pictures in an observation, oldest first."""
    height: int = 80
    width: int = 80
    actions: str = "a3g"
    """Name in ACTION_SETS."""
    two_frame_max: bool = False
    """Show the brighter of the last two frames, against sprites that flicker."""
    noop_max: int = 30
    """An episode starts after a random number of frames without buttons, 0 to this."""
    sticky_actions: float = 0.0
    """Chance that an agent step repeats the last action instead (Machado et al. 2018, section 5)."""
    time_per_stage: int = 300
    """Units of the game's clock allowed for a stage."""
    max_episode_length: int = 100_000
    """Agent steps after which an episode is truncated."""
    episodic_life: bool = False
    """Whole game only: a life lost or a stage cleared terminates, and the next reset goes on from there."""

    def __post_init__(self) -> None:
        if self.actions not in ACTION_SETS:
            raise UserError(f"Unknown action set {self.actions!r}: choose one of {', '.join(ACTION_SETS)}.")
        for name in ("skip_rate", "stack", "height", "width", "time_per_stage", "max_episode_length"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if self.noop_max < 0:
            raise UserError(f"noop_max must be 0 or more, not {self.noop_max}.")
        if not 0.0 <= self.sticky_actions < 1.0:
            raise UserError(f"sticky_actions must be a chance from 0 up to, not including, 1, not {self.sticky_actions}.")

    @property
    def observation_shape(self) -> tuple[int, int, int]:
        """(stack, height, width)."""
        return self.stack, self.height, self.width

    @property
    def num_actions(self) -> int:
        return len(ACTION_SETS[self.actions])


class StartStates:
    """Saved states in which Mario stands at the start of a stage, made when first asked for, on one emulator."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._states: dict[Stage, Any] = {}

    def load(self, stage: Stage) -> None:
        """Put the emulator at the start of `stage`."""
        self._emulator.load(self.state(stage))

    def state(self, stage: Stage) -> Any:
        """The state at the start of `stage`."""
        if stage not in self._states:
            self._states[stage] = go_to_start(self._emulator, stage)
        return self._states[stage]


class Lane:
    """One game: plays episodes of its stages on an emulator that other lanes may use in between."""

    def __init__(
        self,
        stages: Sequence[Stage | None],
        options: GameOptions,
        seed: int | np.random.SeedSequence | None,
        on_frame: FrameHook | None = None,
    ) -> None:
        """
        Args:
            stages: what to play; every episode takes one of them at random. None is the whole game.
            options: see `GameOptions`.
            seed: of everything random in this lane.
            on_frame: called after every frame.
        """
        self.options = options
        self.stages = tuple(stages)
        self.random = np.random.default_rng(seed)
        self.on_frame = on_frame
        self.state: Any = None
        """The emulator's state while other lanes use it."""
        self.outcome: Outcome | None = None
        self._episode_steps = 0
        self._attempt_steps = 0
        self._attempt = ""
        self._progress = 0
        self._buttons = ACTION_SETS[options.actions]
        self._last_action = 0
        self._goes_on = False
        self.last_frames: list[Image] = []
        """With `two_frame_max`: the cut grey pictures of the last two frames."""

    def seed(self, seed: int | np.random.SeedSequence | None) -> None:
        """Make everything random follow from `seed`; the next reset begins an episode, whatever was played before."""
        self.random = np.random.default_rng(seed)
        self._goes_on = False

    def reset(self, emulator: Emulator, starts: StartStates, observation: Image) -> None:
        """Begin an episode (or the next life of one, with `episodic_life`); fills `observation`, (stack, h, w)."""
        self._last_action = 0
        self._attempt_steps = 0
        if not self._goes_on:
            stage = self.stages[self.random.integers(len(self.stages))] if len(self.stages) > 1 else self.stages[0]
            starts.load(stage or STAGES[0])
            # One frame more, because a saved state has no picture: an engine shows the frame that it ran last.
            idle_frames = 1 + self.random.integers(self.options.noop_max + 1)
            for left in range(idle_frames, 0, -1):
                emulator.frame(0, draw=left == 1)
            self._episode_steps = 0
            self.episode = Episode(emulator.ram(), stage, self.options.time_per_stage, self._frame_hook())
            self.last_frames = [emulator.grey(_ROWS, _COLUMNS)] if self.options.two_frame_max else []
        self._goes_on = False
        self.outcome = None
        self._attempt, self._progress = str(self.episode.attempted_stage), self.episode.progress
        observation[:] = self._picture(emulator)
        self._ram = emulator.ram()

    def step(self, emulator: Emulator, action: int, observation: Image) -> tuple[float, bool, bool]:
        """One agent step; shifts `observation` and appends the new picture.

        Returns:
            reward, terminated, truncated
        """
        options = self.options
        if options.sticky_actions and self.random.random() < options.sticky_actions:
            action = self._last_action
        self._last_action = action
        self._attempt, self._progress = str(self.episode.attempted_stage), self.episode.progress
        if self.outcome is not None:
            self._attempt_steps = 0
        result = self.episode.step(emulator, self._buttons[action], options.skip_rate)
        self.outcome = result.outcome
        if result.outcome is None:
            self._attempt, self._progress = str(self.episode.attempted_stage), self.episode.progress
        self._episode_steps += 1
        self._attempt_steps += 1
        self._ram = emulator.ram()
        observation[:-1] = observation[1:]
        observation[-1] = self._picture(emulator)
        self._goes_on = options.episodic_life and result.outcome is not None and not result.game_over
        terminated = result.game_over or self._goes_on
        truncated = not terminated and self._episode_steps >= options.max_episode_length
        return result.reward / REWARD_SCALE, terminated, truncated

    def info(self) -> dict[str, Any]:
        """gym-super-mario-bros' variables, and what they leave out.

        `outcome` (a string when an attempt at a stage has just ended, else None), `progress` (pixels of new ground in
        this attempt), `attempt` (the stage attempted, such as ``1-1``), `attempt_steps` (agent steps in it).
        """
        return {
            **memory.decode(self._ram),
            "outcome": None if self.outcome is None else str(self.outcome),
            "progress": self._progress,
            "attempt": self._attempt,
            "attempt_steps": self._attempt_steps,
        }

    def to_values(self) -> dict[str, Any]:
        """All that the next steps depend on, as plain values; the console and its last frames are not part of it."""
        return {
            "random": self.random.bit_generator.state,
            "outcome": self.outcome,
            "episode_steps": self._episode_steps,
            "attempt_steps": self._attempt_steps,
            "attempt": self._attempt,
            "progress": self._progress,
            "last_action": self._last_action,
            "goes_on": self._goes_on,
            "stage": self.episode.stage,
            "episode": self.episode.state(),
        }

    def go_on(self, values: dict[str, Any], last_frames: Sequence[Image], emulator: Emulator) -> None:
        """Go on from what `to_values` gave, with the console as it was then."""
        self.random.bit_generator.state = values["random"]
        self.outcome = None if values["outcome"] is None else Outcome(values["outcome"])
        self._episode_steps, self._attempt_steps = values["episode_steps"], values["attempt_steps"]
        self._attempt, self._progress = values["attempt"], values["progress"]
        self._last_action, self._goes_on = values["last_action"], values["goes_on"]
        self._ram = emulator.ram()
        stage = None if values["stage"] is None else Stage(*values["stage"])
        self.episode = Episode(self._ram, stage, self.options.time_per_stage, self._frame_hook())
        self.episode.restore(values["episode"])
        self.last_frames = list(last_frames)

    def _frame_hook(self) -> FrameHook | None:
        """What has to be called after every frame. With None only the frames that are shown are drawn."""
        return self._keep_frame if self.options.two_frame_max else self.on_frame

    def _keep_frame(self, emulator: Emulator) -> None:
        self.last_frames = [*self.last_frames[-1:], emulator.grey(_ROWS, _COLUMNS)]
        if self.on_frame is not None:
            self.on_frame(emulator)

    def _picture(self, emulator: Emulator) -> Image:
        """The cut, shrunk grey picture, uint8 (height, width)."""
        grey = np.maximum(*self.last_frames) if len(self.last_frames) == 2 else emulator.grey(_ROWS, _COLUMNS)
        size = (self.options.width, self.options.height)
        return cv2.resize(grey, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]
