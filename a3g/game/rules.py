"""The rules of an episode: when a stage is cleared, lost, left by a warp zone or out of time, and what is skipped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from a3g.game import memory
from a3g.game.emulators import Emulator
from a3g.game.memory import Ram
from a3g.game.progress import Progress
from a3g.game.rewards import REWARDS
from a3g.game.stages import STAGES, Stage

# The longest scene without control, the end of a castle with a full clock to count down, takes about 1,100 frames.
_PATIENCE_FRAMES = 5000
_NO_BUTTONS = 0

FrameHook = Callable[[Emulator], None]


class Outcome(StrEnum):
    """How an episode ended."""

    CLEARED = "cleared"
    DIED = "died"
    WARPED = "warped"
    """Left the stage asked for by a warp zone; in the whole game: left the 32 stages (for the minus world, 36-1)."""
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one agent step brought."""

    reward: float
    """In the unit of the reward, see `a3g.game.rewards`."""
    outcome: Outcome | None = None
    """How this attempt at a stage ended, None while it goes on."""
    game_over: bool = False
    """Whether the episode ended with the attempt; the whole game goes on with the next life or stage."""


class Episode:
    """One attempt at a stage, or at the whole game with its three lives, from a state in which Mario obeys.

    Pipes, the walk to the castle, the end of a world and black screens are run out inside a step, so that the agent
    only sees pictures on which its buttons act.
    """

    def __init__(
        self, ram: Ram, stage: Stage | None, time_per_stage: int, on_frame: FrameHook | None = None, reward: str = "a3g"
    ) -> None:
        """
        Args:
            ram: work RAM at the start.
            stage: the stage to clear, or None for the whole game.
            time_per_stage: units of the game's clock (24 frames each) allowed for a stage.
            on_frame: called after every frame that is run, shown to the agent or not.
            reward: name in `a3g.game.rewards.REWARDS`.
        """
        self.stage = stage
        self.stages_cleared: list[Stage] = []
        self._time_per_stage = time_per_stage
        self._on_frame = on_frame
        self._reward = REWARDS[reward]()
        self._begin_attempt(ram)

    @property
    def progress(self) -> int:
        """Pixels of new ground covered in this attempt at a stage."""
        return self._progress.pixels

    def state_dict(self) -> dict[str, Any]:
        """What the next steps depend on, as plain values, but for the console and the arguments of `__init__`."""
        return {
            "stages_cleared": [list(stage) for stage in self.stages_cleared],
            "attempted_stage": list(self.attempted_stage),
            "clock_at_start": self._clock_at_start,
            "progress": self._progress.state_dict(),
            "reward": self._reward.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` gave."""
        self.stages_cleared = [Stage(*stage) for stage in state["stages_cleared"]]
        self.attempted_stage = Stage(*state["attempted_stage"])
        self._clock_at_start = state["clock_at_start"]
        # The first version kept the progress with the reward.
        self._progress.load_state_dict(state["progress" if "progress" in state else "reward"])
        self._reward.load_state_dict(state["reward"])

    def step(self, emulator: Emulator, buttons: int, frames: int) -> StepResult:
        """Hold `buttons` for `frames` frames, fewer if Mario dies or reaches the end of the stage."""
        ram = self._hold(emulator, buttons, frames)
        if not (memory.is_dead(ram) or memory.is_stage_end(ram) or memory.is_controllable(ram)):
            ram = self._run_out(emulator)

        now = Stage(*memory.stage_now(ram))
        if self.stage is None and now not in STAGES:  # the minus world, 36-1: a warp out of the game that there is to play
            return StepResult(self._reward.failure(), Outcome.WARPED, game_over=True)
        if memory.is_dead(ram):
            out_of_time = memory.number(ram, memory.CLOCK_DIGITS) == 0
            return self._lose_life(emulator, ram, Outcome.TIMEOUT if out_of_time else Outcome.DIED)
        if self.stage is not None and now != self.stage:
            return StepResult(self._reward.failure(), Outcome.WARPED, game_over=True)
        if memory.is_stage_end(ram):
            return self._finish_stage(emulator, now)
        if now != self.attempted_stage:  # the whole game, through a warp zone
            self._begin_attempt(ram)
        if self._clock_at_start - memory.number(ram, memory.CLOCK_DIGITS) >= self._time_per_stage:
            return self._lose_life(emulator, ram, Outcome.TIMEOUT)
        return StepResult(self._reward.step(ram, self._progress.step(ram)))

    def _hold(self, emulator: Emulator, buttons: int, frames: int) -> Ram:
        """Run frames until Mario dies or reaches the end of the stage, `frames` at most; returns the RAM then.

        Only the last frame is drawn, unless somebody looks at all of them. If the last one comes early, it is run
        once more, with its picture.
        """
        draw_all = self._draws_all(emulator)
        before = None if draw_all else emulator.save()
        for frame in range(1, frames + 1):
            draw = draw_all or frame == frames
            self._frame(emulator, buttons, draw)
            ram: Ram = emulator.ram()
            self._reward.frame(ram)
            if memory.is_dead(ram) or memory.is_stage_end(ram):
                break
        if not draw:
            emulator.load(before)
            for again in range(1, frame + 1):
                self._frame(emulator, buttons, draw=again == frame)
        return ram

    def _begin_attempt(self, ram: Ram) -> None:
        """A new stage or a new life: its ground and its clock count from here."""
        self._progress = Progress(ram)
        self._reward.start(ram)
        self._clock_at_start = memory.number(ram, memory.CLOCK_DIGITS)
        self.attempted_stage = Stage(*memory.stage_now(ram))

    def _lose_life(self, emulator: Emulator, ram: Ram, outcome: Outcome) -> StepResult:
        if self.stage is not None or ram[memory.LIVES] == 0:
            return StepResult(self._reward.failure(), outcome, game_over=True)
        emulator.poke(memory.PLAYER_ACTIVITY, memory.ACTIVITY_DEAD)  # skips the fall
        self._frame(emulator, _NO_BUTTONS, self._draws_all(emulator))
        reward = self._reward.failure()
        self._begin_attempt(self._run_out(emulator, ignore_death=True))
        return StepResult(reward, outcome)

    def _finish_stage(self, emulator: Emulator, stage: Stage) -> StepResult:
        self.stages_cleared.append(stage)
        if self.stage is not None or stage == STAGES[-1]:
            return StepResult(self._reward.finish(), Outcome.CLEARED, game_over=True)
        reward = self._reward.finish()
        self._begin_attempt(self._run_out(emulator, ignore_end=True))
        return StepResult(reward, Outcome.CLEARED)

    def _run_out(self, emulator: Emulator, ignore_death: bool = False, ignore_end: bool = False) -> Ram:
        """Run frames until Mario obeys again, dies or reaches the end of the stage; returns the RAM then.

        Which frame is the last is known only after it: unless all are drawn, it is run once more, with its picture.
        """
        draw_all = self._draws_all(emulator)
        before = None
        for _ in range(_PATIENCE_FRAMES):
            ram = emulator.ram()
            playing = ram[memory.GAME_MODE] == memory.MODE_GAME and ram[memory.GAME_TASK] == memory.TASK_PLAYING
            dead = playing and not ignore_death and memory.is_dead(ram)
            if memory.is_controllable(ram) or dead or (not ignore_end and memory.is_stage_end(ram)):
                if before is not None:
                    emulator.load(before)
                    self._frame(emulator, _NO_BUTTONS)
                return ram
            if ram[memory.BLACK_SCREEN_TIMER]:
                emulator.poke(memory.BLACK_SCREEN_TIMER, 0)
            before = None if draw_all else emulator.save()
            self._frame(emulator, _NO_BUTTONS, draw_all)
        raise RuntimeError(f"Mario did not become controllable within {_PATIENCE_FRAMES} frames")

    def _draws_all(self, emulator: Emulator) -> bool:
        return self._on_frame is not None or not emulator.draws_on_demand

    def _frame(self, emulator: Emulator, buttons: int, draw: bool = True) -> None:
        emulator.frame(buttons, draw)
        if self._on_frame is not None:
            self._on_frame(emulator)
