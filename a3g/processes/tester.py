"""The test process: plays every stage in question with the newest weights and keeps the best."""

from __future__ import annotations

import copy
import json
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from enum import IntEnum
from pathlib import Path

import numpy as np
import torch

from a3g.algorithms import algorithm_class
from a3g.config import TrainConfig
from a3g.files import write_atomically
from a3g.game.emulators import resolve_emulator
from a3g.game.rules import Outcome
from a3g.game.stages import Stage
from a3g.networks.flat_parameters import FlatParameters
from a3g.processes.counters import STAGE_INDEX, StageCount
from a3g.processes.evaluation import Evaluator, PlannedEpisode
from a3g.processes.process import prepare_process
from a3g.processes.shared_run import SharedRun
from a3g.processes.watch_views import EvaluationView
from a3g.reporting.say import say
from a3g.runs.best_weights import BestWeights, load_best, read_score
from a3g.runs.history import append_to_history, history_entry
from a3g.runs.paths import BEST_NAME, SCORECARD_NAME
from a3g.runs.recordings import RecordedEpisode, Recording, recording_path
from a3g.runs.scores import EpisodeResult, GameSettings, Score, score_episodes
from a3g.runs.weights import save_weights, weights_path

# Best weights that could not be saved are tried again this soon.
SAVE_AGAIN_SECONDS = 10.0
# When training clears this share of --clear-rate, weights may pass a test: playing greedily, they clear more than that.
CLOSE = 0.5
# Tests follow each other then after pauses of so many times their own length.
PAUSE_FACTOR = 2.0
# The branch of the run's seed from which all episodes of the tester are seeded; the workers' seeds are in no branch of it.
_EVALUATION = 0x7E57


class _Phase(IntEnum):
    """Which part of a test an episode belongs to; each has seeds of its own."""

    TEST = 0
    CONFIRMATION = 1


def run_tester(config: TrainConfig, shared: SharedRun, folder: Path) -> None:
    """Entry point of the test process; runs until the launcher says stop, or a signal."""
    device = prepare_process("a3g test", config.gpu_ids[0])
    tester = Tester(config, shared, folder, device)
    signal.signal(signal.SIGTERM, lambda *_: tester.leave())
    tester.run()
    if tester.leaves:  # told by a signal of its own, not by the launcher
        sys.exit(128 + signal.SIGTERM)


class Tester:
    """Plays greedily: an episode per stage, and further ones of the stages cleared in this test or an earlier one.

    Of several stages with sticky actions, all are played equally often if the time allows: clear rates between 0 and 1 are
    usual then, and a single episode says nothing about a low one.
    """

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
        self._config, self._shared, self._results, self._folder = config, shared, shared.results, folder
        self._device = device
        self.leaves = False
        self._stop: Callable[[], bool] = lambda: bool(shared.control.stop)
        self._unsaved = False  # whether the best weights are only in memory
        self._algorithm = algorithm_class(config.algorithm)
        self._model = self._algorithm.build_model(shared.model.spec).to(device).eval()
        self._flat = FlatParameters(self._model)
        self._options = config.test_options()
        self._settings = GameSettings.of(self._options)
        self._evaluator = Evaluator(self._algorithm, config.emulator, self._options, device)
        self._view = None if shared.watch is None else EvaluationView(shared.watch, config.test_stages())
        self._recorded: list[RecordedEpisode] = []
        self._best = load_best(folder / BEST_NAME)
        for name, stage in self._best.score.stages.items() if self._best is not None else ():
            if stage.cleared and name in STAGE_INDEX:
                self._results.ever_cleared[STAGE_INDEX[name]] = 1

    def run(self) -> None:
        """Test until told to stop; the best weights are saved then, if they were not."""
        while not self._ends:
            began = time.monotonic()
            if self._shared.watch is not None:
                self._shared.watch.test_begins()
            self.test()
            ended = time.monotonic()
            if self._shared.watch is not None:
                self._shared.watch.test_ended(self._pause(ended - began))
            save_again = ended + SAVE_AGAIN_SECONDS
            while time.monotonic() < ended + self._pause(ended - began) and not self._beat():
                if self._unsaved and time.monotonic() >= save_again:
                    self._save_best()
                    save_again = time.monotonic() + SAVE_AGAIN_SECONDS
                time.sleep(0.1)
        if self._unsaved:
            self._save_best()

    def test_last(self, stop: Callable[[], bool]) -> None:
        """Test weights that are not trained on any more, unless they were already, whether or not the run stops.

        Args:
            stop: asked before every step; if true, the test ends and counts for nothing.
        """
        if not self._results.tests or int(self._results.agent_steps) != self._shared.counters.agent_steps:
            self._stop = stop
            self.test()

    def leave(self) -> None:
        """End as soon as possible."""
        self.leaves = True

    @property
    def _ends(self) -> bool:
        return self.leaves or self._stop()

    def _pause(self, seconds: float) -> float:
        """Seconds from the end of a test that took `seconds` to the beginning of the next.

        A run that ends by being tested is tested all the time once it may be good enough, but for what training needs too.
        """
        config = self._config
        stages = [STAGE_INDEX[str(stage)] for stage in config.test_stages()]
        is_close = bool((self._shared.counters.training_clear_rates()[stages] >= CLOSE * config.clear_rate).all())
        return min(config.test_interval, PAUSE_FACTOR * seconds) if config.until_cleared and is_close else config.test_interval

    def test(self) -> None:
        """One test of the newest weights.

        Weights that pass all that is asked for, or are to be the best, are tested a second time with fresh seeds, and
        only that confirmation counts: the best of many tests is also the luckiest.
        """
        self._recorded.clear()
        self._shared.model.copy_to(self._flat)
        if self._shared.average is not None:
            self._flat.parameters.copy_(self._shared.average.weights)
        began = self._shared.counters.progress()
        agent_steps, began_at = began.agent_steps, time.monotonic()
        results = self._play_test(_Phase.TEST)
        if self._ends:  # interrupted, not a whole test
            return
        score = self._score(results, agent_steps)
        confirmation: Score | None = None
        counted = results
        if self._is_better(score) or (self._passes(score) and not self._results.cleared_all):
            confirmed = self._play_test(_Phase.CONFIRMATION, score)
            if self._ends:
                return
            # What has none keeps the result of the test.
            again = {result.stage for result in confirmed}
            counted = [*confirmed, *(result for result in results if result.stage not in again)]
            results = [*results, *confirmed]
            confirmation = self._score(counted, agent_steps) if confirmed else None
        final = confirmation or score
        if self._is_better(final):
            self._best = BestWeights(copy.deepcopy(self._model), final)
            for name, i in STAGE_INDEX.items():
                self._results.best_cleared[i] = name in final.stages_passed
        if self._passes(score) and confirmation is not None and self._passes(confirmation):
            self._results.cleared_all.fill_(1)
        self._save_best()
        self._save_recording(agent_steps)
        self._publish(score, confirmation, results)
        entry = history_entry(final, began.seconds / 3600, time.monotonic() - began_at)
        try:
            append_to_history(self._folder, entry)
        except OSError as error:
            say(f"a3g test: could not write the history of tests: {error}")

    def _play_test(self, phase: _Phase, score: Score | None = None) -> list[EpisodeResult]:
        """Play every stage once, and further episodes of the stages that are cleared at times, or of all, see the class.

        Args:
            score: of the test that is to be confirmed. Each stage cleared in it is played as often as a test does, or every
                stage if that test did so; none if none was cleared.
        """
        stages, ever_cleared, most = self._config.test_stages(), self._results.ever_cleared, self._config.test_episodes
        equally = len(stages) > 1 and self._options.sticky_actions > 0
        if score is not None:
            again = [stage for stage in stages if score.stages[str(stage)].cleared]
            if again and equally and all(each.episodes == most for each in score.stages.values()):
                again = list(stages)
            return self._play([planned for stage in again for planned in self._planned(phase, stage)])
        began = time.monotonic()
        once = [stage for stage in stages if not ever_cleared[STAGE_INDEX[str(stage)]]]
        # All side by side. The further episodes of a stage that is cleared for the first time are the only ones that wait.
        first = [each for stage in stages for each in self._planned(phase, stage)[: 1 if stage in once else None]]
        results = self._note_clears(self._play(first))
        seconds_each = (time.monotonic() - began) / max(len(results), 1)
        has_time = seconds_each * len(once) * (most - 1) <= self._config.test_interval
        go_on = once if equally and has_time else [stage for stage in once if ever_cleared[STAGE_INDEX[str(stage)]]]
        further = [planned for stage in go_on for planned in self._planned(phase, stage)[1:]]
        return results + self._note_clears(self._play(further)) if further else results

    def _planned(self, phase: _Phase, stage: Stage) -> list[PlannedEpisode]:
        """A stage's episodes in this test, with seeds that no other test of the run has and no worker ever."""
        branch = (_EVALUATION, int(self._results.tests), phase, STAGE_INDEX[str(stage)])
        seeds = np.random.SeedSequence(self._config.seed, spawn_key=branch).generate_state(self._config.test_episodes)
        return [(stage, int(seed)) for seed in seeds]

    def _play(self, episodes: list[PlannedEpisode]) -> list[EpisodeResult]:
        # In float32, whatever the workers compute in: as gym_eval.py plays.
        record = self._record if self._config.record else None
        return self._evaluator.play(self._model, episodes, stop=self._beat, on_actions=record, observer=self._view)

    def _record(self, result: EpisodeResult, actions: list[int]) -> None:
        self._recorded.append(RecordedEpisode.of(result, actions))

    def _save_recording(self, agent_steps: int) -> None:
        """Leave the test's episodes to the process that films them."""
        if not self._recorded:
            return
        engine = resolve_emulator(self._config.emulator)
        recording = Recording(agent_steps, self._options, engine, tuple(self._recorded))
        try:
            recording.save(recording_path(self._folder, agent_steps))
        except OSError as error:
            say(f"a3g test: could not record the test: {error}")

    def _note_clears(self, results: list[EpisodeResult]) -> list[EpisodeResult]:
        """Note which stages were cleared for once; returns the results."""
        for result in results:
            if result.outcome == Outcome.CLEARED:
                self._results.ever_cleared[STAGE_INDEX[result.stage]] = 1
        return results

    def _score(self, results: list[EpisodeResult], agent_steps: int) -> Score:
        return score_episodes(results, self._settings, self._config.clear_rate, agent_steps)

    def _is_better(self, score: Score) -> bool:
        """Whether weights with this score are to be the run's best; what can't be compared gives way to what is new."""
        if self._best is None or not score.is_comparable_with(self._best.score):
            return True
        return score.is_better_than(self._best.score)

    def _passes(self, score: Score) -> bool:
        return len(score.stages_passed) == len(self._config.test_stages())

    def _beat(self) -> bool:
        """A sign of life before every step; returns whether to stop."""
        self._shared.control.heartbeats.beat(self._config.workers)
        if self._shared.average is not None:
            self._shared.average.update(self._shared.counters.agent_steps)
        return self._ends

    def _save_best(self) -> None:
        """See that the best weights are in the run's folder, and in --save-model-dir unless those there are as good or
        can't be compared with them.

        After every test, since a disk may have been full or a folder gone.
        """
        self._unsaved = False
        if self._best is None:
            return
        score = self._best.score
        own = read_score(self._folder / BEST_NAME)
        if own is None or not score.is_comparable_with(own) or score.is_better_than(own):
            self._save(self._folder / BEST_NAME, self._best)
        shipped = weights_path(self._config.save_model_dir, self._config.env)
        there = read_score(shipped)
        if there is None or score.is_better_than(there):
            self._save(shipped, self._best)

    def _save(self, path: Path, best: BestWeights) -> None:
        try:
            trained_on = replace(self._config.game_options(), episodic_life=False)
            save_weights(
                path, best.model, self._config.env, trained_on, best.score.agent_steps, best.score, self._config.algorithm
            )
        except OSError as error:
            self._unsaved = True
            say(f"a3g test: could not save the best weights to {path}: {error}")

    def _publish(self, score: Score, confirmation: Score | None, results: list[EpisodeResult]) -> None:
        """Write the scorecard and tell the launcher."""
        for stage, scored in (confirmation or score).stages.items():
            row = self._results.stages[STAGE_INDEX[stage]]
            episodes = [result for result in results if result.stage == stage]
            row[StageCount.EPISODES] += len(episodes)
            row[StageCount.CLEARED] += sum(result.outcome == Outcome.CLEARED for result in episodes)
            row[StageCount.FURTHEST] = max(float(row[StageCount.FURTHEST]), *(result.progress for result in episodes), 0)
            row[StageCount.MEAN_PROGRESS] = scored.mean_progress
            row[StageCount.CLEAR_RATE] = scored.clear_rate
        scorecard = {
            "test": score.to_json(),
            "confirmation": confirmation.to_json() if confirmation is not None else None,
            "best": self._best.score.to_json() if self._best is not None else None,
            "episodes": [asdict(result) for result in results],
        }
        try:
            write_atomically(self._folder / SCORECARD_NAME, json.dumps(scorecard, indent=1).encode())
        except OSError as error:
            say(f"a3g test: could not write the scorecard: {error}")
        self._results.agent_steps.fill_(score.agent_steps)
        self._results.tests += 1
