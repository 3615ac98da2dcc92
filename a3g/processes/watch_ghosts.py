"""Ghosts: an agent's episode, frame by frame, as it is drawn over a viewer's own game of the same stage."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from a3g.algorithms import algorithm_class
from a3g.errors import UserError
from a3g.exploration.demonstrations import ACTION_SET, FRAME_SKIP, TIME_PER_STAGE, load_demonstrations
from a3g.game import memory
from a3g.game.emulators import Emulator, Image, make_emulator
from a3g.game.lane_vector import LaneVectorEnv
from a3g.game.memory import Ram
from a3g.game.options import GameOptions
from a3g.game.packing import State
from a3g.game.rules import Outcome
from a3g.game.stages import Stage
from a3g.game.starts import Start
from a3g.runs.playable import find_weights

MOST_STEPS = 2500
_KEPT = 6
# Where the game keeps Mario's eight sprites, of four bytes each, the first of which is y; below the screen nothing is drawn.
# [Sprite_Data + Player_SprDataOffset, which never changes: http://www.6502disassembly.com/nes-smb/]
_SPRITES, _SPRITE_BYTES, _SPRITE_COUNT, _HIDDEN = 0x0204, 4, 8, 0xF8
_SCROLL_PAGE, _SCROLL_X = 0x071A, 0x071C  # [ScreenLeft_PageLoc], [ScreenLeft_X_Pos]

Place = tuple[int, int, int]


def place_of(ram: Ram) -> Place:
    """Which area is on the screen: two games in the same one can be drawn over each other."""
    return ram[memory.WORLD], ram[memory.AREA_TYPE], ram[memory.AREA_OFFSET]


def scroll_of(ram: Ram) -> int:
    """x of the screen's left edge in the area, in pixels."""
    return ram[_SCROLL_PAGE] * 256 + ram[_SCROLL_X]


@dataclass(frozen=True, slots=True)
class GhostFrame:
    """Mario in one frame."""

    place: Place
    x: int
    """Left edge of `sprite` in the area, in pixels."""
    y: int
    """Its upper edge on the screen."""
    sprite: Image
    """uint8 (height, width, 4): red, green, blue, and 255 where Mario is."""


@dataclass(frozen=True, slots=True)
class Ghost:
    """An episode that was played before."""

    frames: tuple[GhostFrame, ...]
    rewards: tuple[float, ...]
    """Of each agent step."""
    skip_rate: int
    outcome: str


def draw_ghost(picture: Image, ghost: GhostFrame, ram: Ram, opacity: float = 0.55) -> None:
    """Draw a ghost into the picture, uint8 (224, 240, 3), of a game in the same area; `ram` is that game's."""
    if ghost.place != place_of(ram):
        return
    width = ghost.sprite.shape[1]
    left, top = ghost.x - scroll_of(ram), ghost.y
    x0, x1 = max(left, 0), min(left + width, picture.shape[1])
    if x0 >= x1:
        return
    sprite = ghost.sprite[: picture.shape[0] - top, x0 - left : x1 - left]
    target = picture[top : top + len(sprite), x0:x1]
    blended = (opacity * sprite[..., :3] + (1.0 - opacity) * target).astype(np.uint8)
    np.copyto(target, blended, where=sprite[..., 3:] > 0)


class _Tracer:
    """Cuts Mario out of each frame: the picture with his sprites against the same one without."""

    def __init__(self) -> None:
        self._console = make_emulator("native")
        self.frames: list[GhostFrame] = []

    def __call__(self, emulator: Emulator) -> None:
        state, ram = emulator.save(), emulator.ram()
        console = self._console
        console.load(state)
        console.frame(0)
        with_mario = console.rgb()
        console.load(state)
        for sprite in range(_SPRITE_COUNT):
            console.poke(_SPRITES + _SPRITE_BYTES * sprite, _HIDDEN)
        console.frame(0)
        seen = (with_mario != console.rgb()).any(-1)
        rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
        if len(rows):
            top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
            mask = np.uint8(255) * seen[top:bottom, left:right, None].astype(np.uint8)
            sprite_picture = np.concatenate((with_mario[top:bottom, left:right], mask), axis=-1)
        else:
            top, left, sprite_picture = 0, 0, np.zeros((0, 0, 4), np.uint8)
        self.frames.append(GhostFrame(place_of(ram), int(left) + scroll_of(ram), int(top), sprite_picture))


class _OneStart:
    """A start source with one start."""

    def __init__(self, start: Start) -> None:
        self._start = start

    def next(self, rng: np.random.Generator, lane: int) -> Start:
        return self._start

    def episode_ended(self, start: Start, outcome: Outcome | None, progress: int) -> None:
        """Changes nothing."""

    def state_dict(self) -> State:
        return {}

    def load_state_dict(self, state: State) -> None:
        """Nothing to load."""


def record_ghost(
    start: Start, options: GameOptions, choose: Callable[[Image, int], int], stop: Callable[[], bool] = lambda: False
) -> Ghost:
    """Play an episode, or its first MOST_STEPS agent steps.

    Args:
        start: where it begins.
        options: the game; no life goes on after it.
        choose: gives the action for an observation, uint8 (1, stack, height, width), and the number of the step.
        stop: asked before every step.

    Raises:
        UserError: if it was told to stop.
    """
    tracer = _Tracer()
    game = replace(options, episodic_life=False)
    env = LaneVectorEnv([start.stage], 1, game, "native", starts=_OneStart(start))
    env.lanes[0].on_frame = tracer
    observation, _ = env.reset()
    tracer.frames.clear()
    frames: list[GhostFrame] = []
    rewards: list[float] = []
    outcome = ""
    for step in range(MOST_STEPS):
        if stop():
            env.close()
            raise UserError("The ghost's episode was cut off.")
        observation, reward, terminated, truncated, infos = env.step([choose(observation, step)])
        # Scenes without control come after these frames; a viewer does not see them either.
        frames += tracer.frames[: options.skip_rate]
        tracer.frames.clear()
        rewards.append(float(reward[0]))
        if terminated[0] or truncated[0]:
            outcome = str(infos["final_info"]["outcome"][0] or "")
            break
    env.close()
    return Ghost(tuple(frames), tuple(rewards), options.skip_rate, outcome)


class Ghosts:
    """The ghosts of a run's page: each is recorded when it is first asked for; the newest few are kept."""

    def __init__(self, weights: Path, demos: Path, reward: str) -> None:
        """
        Args:
            weights: a run's folder or a weights file.
            demos: folder of demonstrations.
            reward: name of the reward that is counted.
        """
        self._weights, self._demos, self._reward = weights, demos, reward
        self._known: OrderedDict[tuple[str, Stage, float], Ghost] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, kind: str, stage: Stage, stop: Callable[[], bool] = lambda: False) -> Ghost:
        """A ghost; takes seconds the first time.

        Args:
            kind: ``weights`` or ``demo``.
            stop: asked while it is recorded.

        Raises:
            UserError: if there is none, or if it was told to stop; the message may name files.
        """
        with self._lock:  # one after the other, however many ask
            age = self._age() if kind == "weights" else 0.0
            key = kind, stage, age
            if key not in self._known:
                record = self._of_weights if kind == "weights" else self._of_demonstration
                self._known[key] = record(stage, stop)
                while len(self._known) > _KEPT:
                    self._known.popitem(last=False)
            self._known.move_to_end(key)
            return self._known[key]

    def _age(self) -> float:
        try:
            best = self._weights / "best.safetensors" if self._weights.is_dir() else self._weights
            return best.stat().st_mtime
        except OSError:
            return 0.0

    @torch.no_grad()
    def _of_weights(self, stage: Stage, stop: Callable[[], bool]) -> Ghost:
        _, weights = find_weights(self._weights)
        model, algorithm = weights.build(), algorithm_class(weights.algorithm)
        state = model.initial_state(1)

        def choose(observation: Image, step: int) -> int:
            nonlocal state
            first = torch.tensor([step == 0])
            preferences, state = algorithm.preferences(model, torch.from_numpy(observation), state, first)
            return int(preferences[0].argmax())

        return record_ghost(Start(stage), replace(weights.game, sticky_actions=0.0, reward=self._reward), choose, stop)

    def _of_demonstration(self, stage: Stage, stop: Callable[[], bool]) -> Ghost:
        found = load_demonstrations(self._demos, [stage])[stage]
        if not found:
            raise UserError(f"There is no demonstration of {stage}.")
        shortest = min(found, key=lambda each: len(each.actions))
        actions = [*shortest.actions.tolist(), *[0] * MOST_STEPS]
        options = GameOptions(actions=ACTION_SET, skip_rate=FRAME_SKIP, time_per_stage=TIME_PER_STAGE, reward=self._reward)
        return record_ghost(
            Start(stage, shortest.idle_frames, sticky_actions=0.0), options, lambda _, step: actions[step], stop
        )
