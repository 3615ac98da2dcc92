"""Starts of stages reached by playing through the stage before, along a demonstration, as in the whole game."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from a3g.errors import UserError
from a3g.exploration.demonstrations import ACTION_SET, FRAME_SKIP, TIME_PER_STAGE, Demonstration, load_demonstrations
from a3g.game.emulators import Emulator, emulator_class, make_emulator, resolve_emulator
from a3g.game.options import ACTION_SETS
from a3g.game.rules import Episode, Outcome
from a3g.game.stage_starts import StartStates
from a3g.game.stages import STAGES, Stage


class PlayedStarts:
    """States in which Mario first obeys in a stage, after a demonstration of the stage before has cleared that one.

    Mario comes as the demonstration leaves him: tall, say, with other random numbers and another frame counter than in a
    game just switched on. 1-1 has no stage before it and begins as always.
    """

    def __init__(self, folder: Path, stages: Sequence[Stage], emulator: str) -> None:
        """
        Args:
            folder: of the demonstrations.
            stages: that are to be begun.
            emulator: engine whose states are wanted.

        Raises:
            UserError: if there is no demonstration of a stage before one of `stages`, or a process can't have another
                emulator of that engine.
        """
        name = resolve_emulator(emulator)
        if emulator_class(name).one_per_process:
            raise UserError(f"--played-starts needs an emulator of its own in the process: choose another one than {name}.")
        before = {stage: STAGES[STAGES.index(stage) - 1] for stage in stages if stage != STAGES[0]}
        self._demonstrations = load_demonstrations(folder, sorted(set(before.values())))
        for stage, previous in before.items():
            if not self._demonstrations[previous]:
                raise UserError(
                    f"There is no demonstration of {previous} in {folder}, which --played-starts needs for {stage}."
                )
        self._before = before
        self._emulator = make_emulator(name)
        self._stage_starts = StartStates(self._emulator)
        self._states: dict[tuple[Stage, int], bytes] = {}

    def draw(self, stage: Stage, rng: np.random.Generator) -> bytes | None:
        """The state at the start of a stage, as `Start.state`, after a demonstration chosen at random; None for 1-1.

        Raises:
            UserError: if the demonstration does not clear its stage.
        """
        if stage not in self._before:
            return None
        demonstrations = self._demonstrations[self._before[stage]]
        number = int(rng.integers(len(demonstrations)))
        if (stage, number) not in self._states:
            played = play_through(self._emulator, self._stage_starts, demonstrations[number])
            if played != stage:
                raise UserError(f"Demonstration {number} of {self._before[stage]} does not lead to {stage}.")
            self._states[stage, number] = self._emulator.to_bytes()
        return self._states[stage, number]

    def close(self) -> None:
        """Free the engine."""
        self._emulator.close()


def play_through(emulator: Emulator, stage_starts: StartStates, demonstration: Demonstration) -> Stage | None:
    """Play a demonstration in the whole game and run on to where Mario obeys again.

    Returns:
        the stage that the emulator is at the start of then; None if the demonstration does not clear its own
    """
    stage_starts.load(demonstration.stage)
    for _ in range(1 + demonstration.idle_frames):  # one frame more, as in `Lane`
        emulator.frame(0, draw=False)
    episode = Episode(emulator.ram(), None, TIME_PER_STAGE)
    for action in demonstration.actions.tolist():
        result = episode.step(emulator, ACTION_SETS[ACTION_SET][action], FRAME_SKIP)
        if result.outcome is not None:
            return episode.attempted_stage if result.outcome is Outcome.CLEARED else None
    return None
