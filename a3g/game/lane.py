"""A lane: one game among several, with its observation stack, its randomness and its episode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from a3g.game import memory
from a3g.game.button_display import draw_buttons
from a3g.game.emulators import VISIBLE_LEFT, VISIBLE_TOP, Emulator, Image
from a3g.game.map_observation import write_maps
from a3g.game.options import ACTION_SETS, GameOptions
from a3g.game.rewards import REWARDS
from a3g.game.rules import Episode, FrameHook, Outcome
from a3g.game.stage_starts import StartStates
from a3g.game.stages import STAGES, Stage
from a3g.game.starts import Start, StartSource, UniformStarts

__all__ = ["ACTION_SETS", "PICTURE_CROP", "GameOptions", "Lane", "StartStates"]

# The crop of the original A3G (https://github.com/dgriff777/SuperMarioRL): of 256 x 240 pixels [15:-25, 43:-13], 200 x 200
# without most of the status bar.
PICTURE_CROP = (15, 215, 43, 243)  # top, bottom, left, right
_ROWS = slice(PICTURE_CROP[0] - VISIBLE_TOP, PICTURE_CROP[1] - VISIBLE_TOP)
_COLUMNS = slice(PICTURE_CROP[2] - VISIBLE_LEFT, PICTURE_CROP[3] - VISIBLE_LEFT)


class Lane:
    """One game: plays episodes of its stages on an emulator that other lanes may use in between."""

    def __init__(
        self,
        stages: Sequence[Stage | None],
        options: GameOptions,
        seed: int | np.random.SeedSequence | None,
        on_frame: FrameHook | None = None,
        starts: StartSource | None = None,
        number: int = 0,
    ) -> None:
        """
        Args:
            stages: what to play; every episode takes one of them at random. None is the whole game.
            options: see `GameOptions`.
            seed: of everything random in this lane.
            on_frame: called after every frame.
            starts: where episodes begin, instead of at the beginnings of `stages`.
            number: of this lane, for `starts`.
        """
        self.options = options
        self.start: Start | None = None
        """Where the game under way began; None if nothing was played yet, or if it comes from an old checkpoint."""
        self._starts, self._number = starts or UniformStarts(stages, options.noop_max), number
        self.random = np.random.default_rng(seed)
        self.on_frame = on_frame
        self.state: Any = None
        """The emulator's saved state while other lanes use the emulator."""
        self.outcome: Outcome | None = None
        self.game_over = False
        """Whether the episode is over with its last step, cut-offs left out; with `episodic_life` it may go on."""
        self._episode_steps = 0
        self._attempt_steps = 0
        self._attempt = ""
        self._progress = 0
        self._buttons = ACTION_SETS[options.actions]
        self._reward_scale = REWARDS[options.reward].scale
        self._last_action = 0
        self.continues_game = False
        """Whether the next reset continues the game under way with its next life or stage, see `episodic_life`."""
        self.last_frames: list[Image] = []
        """With `two_frame_max`: the cropped grey pictures of the last two frames."""

    def seed(self, seed: int | np.random.SeedSequence | None) -> None:
        """Make everything random follow from `seed`; the next reset begins an episode, whatever was played before."""
        self.random = np.random.default_rng(seed)
        self.continues_game = False

    def reset(self, emulator: Emulator, stage_starts: StartStates, observation: Image) -> None:
        """Begin an episode; fills `observation`, uint8 (stack, height, width).

        If the game continues with its next life or stage, `emulator` must hold it and `observation` its last pictures.
        """
        self._last_action = 0
        self._attempt_steps = 0
        self.outcome, self.game_over = None, False
        if self.continues_game:
            self.continues_game = False
            if self.options.observation == "pictures":
                observation[:-1] = observation[-1]
        else:
            self._begin_game(emulator, stage_starts)
            self.last_frames = [emulator.grey(_ROWS, _COLUMNS)] if self.options.two_frame_max else []
            self._observe(emulator, observation, first=True)
        self._attempt, self._progress = str(self.episode.attempted_stage), self.episode.progress
        self._ram = emulator.ram()

    def _begin_game(self, emulator: Emulator, stage_starts: StartStates) -> None:
        """Put the emulator where the start source says."""
        start = self.start = self._starts.next(self.random, self._number)
        if start.state is None:
            stage_starts.load(start.stage or STAGES[0])
        else:
            emulator.from_bytes(start.state)
        # One frame more, because a saved state has no picture: an engine shows the frame that it ran last.
        for left in range(start.idle_frames, -1, -1):
            emulator.frame(0, draw=left == 0)
        self._episode_steps = 0
        self.episode = self._new_episode(emulator.ram(), start.stage)

    def step(self, emulator: Emulator, action: int, observation: Image) -> tuple[float, bool, bool]:
        """One agent step; shifts `observation` and appends the new picture.

        Returns:
            reward, terminated, truncated
        """
        options = self.options
        if self._sticky_actions and self.random.random() < self._sticky_actions:
            action = self._last_action
        self._last_action = action
        self._attempt, self._progress = str(self.episode.attempted_stage), self.episode.progress
        if self.outcome is not None:
            self._attempt_steps = 0
        result = self.episode.step(emulator, self._buttons[action], options.skip_rate)
        self.outcome, self.game_over = result.outcome, result.game_over
        if result.outcome is None:
            self._attempt, self._progress = str(self.episode.attempted_stage), self.episode.progress
        self._episode_steps += 1
        self._attempt_steps += 1
        self._ram = emulator.ram()
        self._observe(emulator, observation)
        self.continues_game = options.episodic_life and result.outcome is not None and not result.game_over
        terminated = result.game_over or self.continues_game
        truncated = not terminated and self._episode_steps >= options.max_episode_length
        if (result.game_over or truncated) and self.start is not None:
            self._starts.episode_ended(self.start, self.outcome, self._progress)
        return result.reward / self._reward_scale, terminated, truncated

    @property
    def _sticky_actions(self) -> float:
        """The chance in the episode under way."""
        own = None if self.start is None else self.start.sticky_actions
        return self.options.sticky_actions if own is None else own

    def info(self) -> dict[str, Any]:
        """gym-super-mario-bros' variables, and what they leave out.

        `outcome` (a string when an attempt at a stage has just ended, else None), `progress` (pixels of new ground in
        this attempt), `game_over` (whether the episode ended with it), `attempt` (the stage attempted, such as ``1-1``),
        `attempt_steps` (agent steps in it).
        """
        return {
            **memory.decode(self._ram),
            "outcome": None if self.outcome is None else str(self.outcome),
            "progress": self._progress,
            "game_over": self.game_over,
            "attempt": self._attempt,
            "attempt_steps": self._attempt_steps,
        }

    def state_dict(self) -> dict[str, Any]:
        """What the next steps depend on, as plain values, but for the console, its last frames and `start`."""
        return {
            "random": self.random.bit_generator.state,
            "outcome": self.outcome,
            "episode_steps": self._episode_steps,
            "attempt_steps": self._attempt_steps,
            "attempt": self._attempt,
            "progress": self._progress,
            "last_action": self._last_action,
            "continues_game": self.continues_game,
            "stage": self.episode.stage,
            "episode": self.episode.state_dict(),
        }

    def load_state_dict(
        self, values: dict[str, Any], start: Start | None, last_frames: Sequence[Image], emulator: Emulator
    ) -> None:
        """Continue from what `state_dict` gave, with `start`, last frames and console as they were then."""
        self.random.bit_generator.state = values["random"]
        self.outcome = None if values["outcome"] is None else Outcome(values["outcome"])
        self._episode_steps, self._attempt_steps = values["episode_steps"], values["attempt_steps"]
        self._attempt, self._progress = values["attempt"], values["progress"]
        self._last_action, self.start = values["last_action"], start
        # The first version's checkpoints say "goes_on".
        self.continues_game = values["continues_game" if "continues_game" in values else "goes_on"]
        self._ram = emulator.ram()
        stage = None if values["stage"] is None else Stage(*values["stage"])
        self.episode = self._new_episode(self._ram, stage)
        self.episode.load_state_dict(values["episode"])
        self.last_frames = list(last_frames)

    def _new_episode(self, ram: memory.Ram, stage: Stage | None) -> Episode:
        return Episode(ram, stage, self.options.time_per_stage, self._frame_hook(), self.options.reward)

    def _frame_hook(self) -> FrameHook | None:
        """What has to be called after every frame. With None only the frames that are shown are drawn."""
        return self._keep_frame if self.options.two_frame_max else self.on_frame

    def _keep_frame(self, emulator: Emulator) -> None:
        self.last_frames = [*self.last_frames[-1:], emulator.grey(_ROWS, _COLUMNS)]
        if self.on_frame is not None:
            self.on_frame(emulator)

    def _observe(self, emulator: Emulator, observation: Image, first: bool = False) -> None:
        """Bring an observation up to date; the first one of an episode is one picture, repeated."""
        if self.options.observation == "map":
            write_maps(np.frombuffer(emulator.ram(), np.uint8)[None], observation[None])
        elif first:
            observation[:] = self._picture(emulator)
        else:
            observation[:-1] = observation[1:]
            observation[-1] = self._picture(emulator)

    def _picture(self, emulator: Emulator) -> Image:
        """The cropped, shrunk grey picture, uint8 (height, width)."""
        grey = np.maximum(*self.last_frames) if len(self.last_frames) == 2 else emulator.grey(_ROWS, _COLUMNS)
        size = (self.options.width, self.options.height)
        picture: Image = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        if self.options.show_buttons:
            draw_buttons(picture[None], np.frombuffer(emulator.ram(), np.uint8)[None])
        return picture
