"""The test process: plays every stage in question with the newest weights and keeps the best."""

from __future__ import annotations

import copy
import json
import os
import signal
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from a3g.algorithms import algorithm_class
from a3g.config import TrainConfig
from a3g.errors import UserError
from a3g.evaluation import Arena, EpisodeResult, Score, results_to_json, score_episodes, sort_key, wilson_interval
from a3g.files import write_atomically
from a3g.game.emulators import make_emulator
from a3g.game.rules import Outcome
from a3g.networks.flat_parameters import FlatParameters
from a3g.processes.counters import STAGE_INDEX, StageCount
from a3g.processes.process import prepare_process
from a3g.processes.shared_run import SharedRun
from a3g.reporting.say import say
from a3g.runs.paths import BEST_NAME, SCORECARD_NAME
from a3g.weights import load_weights, save_weights, weights_path

# The tester gives way to the workers, which share its cores.
NICENESS = 10
# Best weights that could not be saved are tried again this soon.
SAVE_AGAIN_SECONDS = 10.0
# Distance between the seeds of two stages' further episodes.
FURTHER_SEEDS = 1_000


def run_tester(config: TrainConfig, shared: SharedRun, folder: Path) -> None:
    """Entry point of the test process; runs until the launcher says stop, or a signal."""
    device = prepare_process("a3g test", config.gpu_ids[0])
    os.nice(NICENESS)
    tester = Tester(config, shared, folder, device)
    signal.signal(signal.SIGTERM, lambda *_: tester.leave())
    tester.run()
    if tester.leaves:  # told by a signal of its own, not by the launcher
        sys.exit(128 + signal.SIGTERM)


class Tester:
    """Plays greedily: an episode per stage, and further ones of the stages cleared in this test or an earlier one."""

    def __init__(
        self,
        config: TrainConfig,
        shared: SharedRun,
        folder: Path,
        device: torch.device,
    ) -> None:
        """
        Args:
            folder: the run's folder, for the best weights and the scorecard.
        """
        self._config, self._shared, self._board, self._folder = config, shared, shared.results, folder
        self._device = device
        self.leaves = False
        self._unsaved = False  # whether the best weights are only in memory
        self._algorithm = algorithm_class(config.loss)
        self._model: Any = self._algorithm.build_model(shared.model.spec).to(device).eval()
        self._flat = FlatParameters(self._model)
        # Without episodic life a stage is an episode, as in gym_eval.py.
        self._options = replace(config.game_options(), episodic_life=False)
        self._arena = Arena(make_emulator(config.emulator), self._options, device)
        self._best = _load_best(folder / BEST_NAME)
        for name, rate in self._best_score.get("clear_rate", {}).items():
            if rate > 0 and name in STAGE_INDEX:
                self._board.ever_cleared[STAGE_INDEX[name]] = 1

    def run(self) -> None:
        """Test until told to stop; the best weights are saved then, if they were not."""
        while not self._ends:
            self.test()
            now = time.monotonic()
            wake, save_again = now + self._config.test_interval, now + SAVE_AGAIN_SECONDS
            while time.monotonic() < wake and not self._beat():
                if self._unsaved and time.monotonic() >= save_again:
                    self._save_best()
                    save_again = time.monotonic() + SAVE_AGAIN_SECONDS
                time.sleep(0.1)
        if self._unsaved:
            self._save_best()

    def leave(self) -> None:
        """End as soon as possible."""
        self.leaves = True

    @property
    def _ends(self) -> bool:
        return self.leaves or bool(self._shared.control.stop)

    def test(self) -> None:
        """One test of the newest weights."""
        self._shared.model.copy_to(self._flat)
        agent_steps = self._shared.counters.agent_steps
        stages = list(self._config.test_stages())
        # The same starts in every test, so that scores can be compared: seeds are the stage's own.
        results = self._play(stages, seed=self._config.seed)
        for result in results:
            if result.outcome == Outcome.CLEARED:
                self._board.ever_cleared[STAGE_INDEX[result.stage]] = 1
        for stage in stages if self._config.test_episodes > 1 else []:
            if not self._board.ever_cleared[STAGE_INDEX[str(stage)]]:
                continue
            further = [stage] * (self._config.test_episodes - 1)
            results += self._play(further, seed=self._config.seed + FURTHER_SEEDS * (1 + STAGE_INDEX[str(stage)]))
        if self._ends:  # interrupted, not a whole test
            return
        score = score_episodes(results, self._config.clear_rate)
        if sort_key(score.to_json()) > sort_key(self._best_score):
            described = {**score.to_json(), "test_episodes": self._config.test_episodes}
            self._best = _Best(copy.deepcopy(self._model), described, agent_steps)
            for name, i in STAGE_INDEX.items():
                self._board.best_cleared[i] = name in score.stages_cleared
        self._save_best()
        self._publish(score, results, agent_steps)

    def _play(self, stages: list[Any], seed: int) -> list[EpisodeResult]:
        # In float32, whatever the workers compute in: as gym_eval.py plays.
        return self._arena.play(self._model, stages, seed, stop=self._beat)

    def _beat(self) -> bool:
        """A sign of life before every step; returns whether to stop."""
        self._shared.control.heartbeats.beat(self._config.workers)
        return self._ends

    @property
    def _best_score(self) -> dict[str, Any]:
        return self._best.score if self._best is not None else {}

    def _save_best(self) -> None:
        """See that the best weights are in the run's folder, and in --save-model-dir unless those there are proven as good.

        After every test, since a disk may have been full or a folder gone.
        """
        self._unsaved = False
        if self._best is None:
            return
        if sort_key(self._best.score) > sort_key(recorded_score(self._folder / BEST_NAME)):
            self._save(self._folder / BEST_NAME, self._best)
        shipped = weights_path(self._config.save_model_dir, self._config.env)
        if _is_better_proven(self._best.score, recorded_score(shipped)):
            self._save(shipped, self._best)

    def _save(self, path: Path, best: _Best) -> None:
        try:
            save_weights(path, best.model, self._config.env, self._options, best.agent_steps, best.score)
        except OSError as error:
            self._unsaved = True
            say(f"a3g test: could not save the best weights to {path}: {error}")

    def _publish(self, score: Score, results: list[EpisodeResult], agent_steps: int) -> None:
        """Write the scorecard and tell the launcher."""
        for stage, rate in score.clear_rate:
            row = self._board.stages[STAGE_INDEX[stage]]
            episodes = [result for result in results if result.stage == stage]
            row[StageCount.EPISODES] += len(episodes)
            row[StageCount.CLEARED] += sum(result.outcome == Outcome.CLEARED for result in episodes)
            row[StageCount.FURTHEST] = max(float(row[StageCount.FURTHEST]), *(result.progress for result in episodes), 0)
            row[StageCount.MEAN_PROGRESS] = sum(result.progress for result in episodes) / len(episodes)
            row[StageCount.CLEAR_RATE] = rate
        scorecard = {"agent_steps": agent_steps, "score": score.to_json(), "best": self._best_score, **results_to_json(results)}
        try:
            write_atomically(self._folder / SCORECARD_NAME, json.dumps(scorecard, indent=1).encode())
        except OSError as error:
            say(f"a3g test: could not write the scorecard: {error}")
        if score.num_cleared == len(self._config.test_stages()):
            self._board.cleared_all.fill_(1)
        self._board.agent_steps.fill_(agent_steps)
        self._board.tests += 1


@dataclass(frozen=True)
class _Best:
    """The best weights so far, kept in memory too: a disk may fail."""

    model: Any
    score: dict[str, Any]
    agent_steps: int


def _load_best(path: Path) -> _Best | None:
    """The best weights in a file, None if there are none that can be read."""
    try:
        weights = load_weights(path)
        return _Best(weights.build(), weights.score, weights.agent_steps) if weights.score else None
    except UserError:
        return None


def recorded_score(path: Path) -> dict[str, Any]:
    """What the weights in a file scored; empty if there is none or it can't be read."""
    try:
        return load_weights(path).score
    except UserError:
        return {}


def _is_better_proven(score: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether a score is the better one when those of less thorough tests are not taken at their word.

    One lucky episode shows a clear rate of 100%. So clear rates count at the lower end of their 95% interval, and
    nothing is replaced by what was tested less.
    """
    if score.get("test_episodes", 1) < other.get("test_episodes", 1):
        return False
    return _proven_key(score) > _proven_key(other)


def _proven_key(score: dict[str, Any]) -> tuple[int, float, float]:
    cleared, _, progress = sort_key(score)
    episodes = score.get("test_episodes", 1)
    rates = score.get("clear_rate", {}).values()
    return cleared, sum(wilson_interval(round(rate * episodes), episodes)[0] for rate in rates), progress
