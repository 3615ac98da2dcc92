"""The test process keeps the best weights, not the newest and not the luckiest, and writes down what it saw."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import multiprocessing

from a3g.config import TrainConfig
from a3g.evaluation import EpisodeResult, Score, results_to_json, score_episodes, sort_key, wilson_interval
from a3g.game.stages import Stage
from a3g.networks.actor_critic import ActorCritic
from a3g.networks.flat_parameters import FlatParameters
from a3g.processes import tester
from a3g.processes.counters import STAGE_INDEX, Count, StageCount
from a3g.processes.shared_run import SharedRun
from a3g.processes.tester import Tester as StageTester
from a3g.processes.tester import run_tester
from a3g.runs.paths import BEST_NAME, SCORECARD_NAME
from a3g.weights import load_weights, save_weights, weights_path

ROOT = Path(__file__).parent.parent
ENV = "SuperMarioBros-1-1-v0"
# In the a3g action set.
STAND, WALK, RUN = 0, 1, 3


def config(folder: Path, **options: Any) -> TrainConfig:
    """A small network, and so little time that an episode is a second of play."""
    defaults = {"env": ENV, "network": "conv4", "hidden_size": 8, "lstm": False, "time_per_stage": 3, "workers": 1}
    return TrainConfig(**{**defaults, "save_model_dir": folder / "models", **options})


class Rig:
    """A tester and what it is connected to."""

    def __init__(self, folder: Path, kind: type[StageTester] = StageTester, **options: Any) -> None:
        self.folder = folder / "run"
        self.config = config(folder, **options)
        torch.manual_seed(0)
        self.model = ActorCritic(self.config.network_spec())
        self.shared = SharedRun(self.model, self.config)
        self.counters, self.board = self.shared.counters, self.shared.results
        self.tester = kind(self.config, self.shared, self.folder, torch.device("cpu"))

    def test(self, action: int, agent_steps: int) -> None:
        """Put weights that always take `action` into the shared model, as if training had got there, and test them."""
        with torch.no_grad():
            self.model.actor.weight.zero_()
            self.model.actor.bias.zero_()
            self.model.actor.bias[action] = 1.0
            self.shared.model.weights.copy_(FlatParameters(self.model).parameters)
        self.counters.counts[0, Count.AGENT_STEPS] = agent_steps
        self.tester.test()

    @property
    def best_action(self) -> int:
        """What the best weights on disk do."""
        return int(load_weights(self.folder / BEST_NAME).tensors["actor.bias"].argmax())

    @property
    def shipped(self) -> Path:
        return weights_path(self.config.save_model_dir, ENV)

    @property
    def scorecard(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / SCORECARD_NAME).read_text())
        return content

    def close(self) -> None:
        self.tester._arena._emulator.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.close()


# -- on the real game


def test_the_best_weights_are_kept_and_not_the_newest(rig: Rig) -> None:
    """Regression of the original A3G, which saves after every test."""
    rig.test(WALK, 1_000)
    assert rig.best_action == WALK
    walking = load_weights(rig.folder / BEST_NAME).score
    rig.test(RUN, 2_000)
    assert rig.best_action == RUN
    running = load_weights(rig.folder / BEST_NAME).score
    assert running["mean_progress"] > walking["mean_progress"] > 0

    for worse in (STAND, WALK):
        rig.test(worse, 3_000)
        best = load_weights(rig.folder / BEST_NAME)
        assert rig.best_action == RUN
        assert (best.agent_steps, best.score) == (2_000, running)
        assert rig.scorecard["best"] == running
        assert rig.scorecard["score"]["mean_progress"] < running["mean_progress"]
        assert rig.scorecard["agent_steps"] == 3_000
    assert int(rig.board.tests) == 4
    assert int(rig.board.agent_steps) == 3_000
    assert load_weights(rig.shipped).agent_steps == 2_000


def test_the_best_weights_say_all_that_is_needed_to_play_with_them(rig: Rig) -> None:
    rig.test(RUN, 1_000)
    weights = load_weights(rig.folder / BEST_NAME)
    assert weights.env_id == ENV
    assert weights.network == rig.config.network_spec()
    assert weights.game == dataclasses.replace(rig.config.game_options(), episodic_life=False)
    assert weights.score["clear_rate"] == {"1-1": 0.0}
    for name, tensor in weights.build().state_dict().items():
        assert torch.equal(tensor, rig.model.state_dict()[name])


def test_every_test_has_the_same_starts(rig: Rig) -> None:
    rig.test(RUN, 1_000)
    first = rig.scorecard
    rig.test(STAND, 2_000)
    rig.test(RUN, 3_000)
    assert rig.scorecard["episodes"] == first["episodes"]
    assert rig.scorecard["score"] == first["score"]


def test_a_restarted_tester_knows_what_was_best(tmp_path: Path) -> None:
    for action, expected in ((RUN, RUN), (WALK, RUN)):
        rig = Rig(tmp_path)
        rig.test(action, 1_000)
        rig.close()
        assert rig.best_action == expected


def test_the_scorecard_and_the_board_tell_the_same(rig: Rig) -> None:
    rig.test(RUN, 1_234)
    card = rig.scorecard
    assert set(card) == {"agent_steps", "score", "best", "episodes", "stages_cleared", "clear_rate"}
    (episode,) = card["episodes"]
    assert (episode["stage"], episode["outcome"], episode["seed"]) == ("1-1", "timeout", rig.config.seed)
    assert episode["agent_steps"] <= 3 * 24 / 4 + 1
    assert card["clear_rate"] == {"1-1": 0.0}
    row = rig.board.stages[STAGE_INDEX["1-1"]]
    assert row[StageCount.EPISODES] == 1
    assert row[StageCount.FURTHEST] == row[StageCount.MEAN_PROGRESS] == episode["progress"] > 50
    assert not rig.board.cleared_all
    assert int(rig.board.stages.count_nonzero(dim=1).count_nonzero()) == 1  # no other stage has an entry


def test_an_interrupted_test_counts_for_nothing(rig: Rig) -> None:
    rig.shared.control.stop.fill_(1)
    rig.test(RUN, 1_000)
    assert int(rig.board.tests) == 0
    assert not rig.folder.exists()
    assert not rig.shipped.exists()


def test_a_failed_save_forgets_nothing(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    """A full disk, say: the best weights are kept in memory, and saved after a later test, whatever that one brings."""
    rig.folder.parent.mkdir(exist_ok=True)
    rig.folder.write_text("a file where the folder should be")
    rig.test(RUN, 1_000)
    assert "could not save the best weights" in capsys.readouterr().out
    assert int(rig.board.tests) == 1
    rig.folder.unlink()
    rig.test(WALK, 2_000)
    assert rig.best_action == RUN
    assert load_weights(rig.folder / BEST_NAME).agent_steps == 1_000
    (rig.folder / BEST_NAME).unlink()  # lost meanwhile
    rig.test(STAND, 3_000)
    assert rig.best_action == RUN


def test_what_could_not_be_saved_is_saved_when_the_tester_is_told_to_end(tmp_path: Path) -> None:
    """By SIGTERM, though no further test comes; it leaves its loop as a worker does."""
    rig = Rig(tmp_path, test_interval=1e6)
    rig.folder.write_text("a file where the folder should be")
    arguments = (rig.config, rig.shared, rig.folder)
    process = multiprocessing.get_context("fork").Process(target=run_tester, args=arguments)
    process.start()
    while not rig.board.tests:
        assert process.is_alive()
        time.sleep(0.01)
    rig.folder.unlink()
    process.terminate()
    process.join()
    assert process.exitcode == 128 + signal.SIGTERM
    assert load_weights(rig.folder / BEST_NAME).score
    rig.close()


def test_what_could_not_be_saved_is_tried_again_between_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tester, "SAVE_AGAIN_SECONDS", 0.0)
    rig = Rig(tmp_path, test_interval=1e6)
    rig.folder.write_text("a file where the folder should be")
    thread = threading.Thread(target=rig.tester.run)
    thread.start()
    try:
        while not rig.board.tests:
            time.sleep(0.01)
        rig.folder.unlink()
        deadline = time.monotonic() + 30.0
        while not (rig.folder / BEST_NAME).exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (rig.folder / BEST_NAME).exists()
        assert int(rig.board.tests) == 1
    finally:
        rig.tester.leave()
        thread.join()
        rig.close()


def test_an_episode_can_be_played_again_with_gym_eval(rig: Rig, tmp_path: Path) -> None:
    """And `--json` keeps its contract."""
    rig.test(RUN, 1_000)
    (tested,) = rig.scorecard["episodes"]
    out = tmp_path / "new" / "results.json"
    command = [sys.executable, str(ROOT / "gym_eval.py"), "--env", ENV, "--weights", str(rig.folder / BEST_NAME)]
    command += ["-tps", "3", "--num-episodes", "2", "--seed", str(tested["seed"]), "--json", str(out)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(out.read_text())
    assert set(results) == {"episodes", "stages_cleared", "clear_rate"}
    assert len(results["episodes"]) == 2
    for episode in results["episodes"]:
        assert {"stage", "outcome", "reward", "agent_steps", "x_pos", "seed"} <= set(episode)
        assert episode["outcome"] in ("cleared", "died", "warped", "timeout")
    assert results["episodes"][0] == tested
    assert results["episodes"][1]["seed"] == tested["seed"] + 1
    assert (results["stages_cleared"], results["clear_rate"]) == ([], {"1-1": 0.0})


# -- with outcomes written down beforehand, since a small network clears nothing


class ScriptedTester(StageTester):
    """Everything but the playing is real."""

    clears: dict[str, list[bool]]
    """For every stage, which of its episodes in a test are cleared; all others are not."""
    asked: list[tuple[str, int]]
    """Episodes played: stage and seed."""

    def _play(self, stages: Sequence[Stage | None], seed: int) -> list[EpisodeResult]:
        results = []
        for i, stage in enumerate(map(str, stages)):
            played = sum(stage == each for each, _ in self.asked)
            cleared = played < len(self.clears.get(stage, [])) and self.clears[stage][played]
            self.asked.append((stage, seed + i))
            results.append(episode(stage, "cleared" if cleared else "died", seed + i))
        return results


def episode(stage: str, outcome: str, seed: int = 1, progress: int = 100) -> EpisodeResult:
    cleared = (stage,) if outcome == "cleared" else ()
    return EpisodeResult(stage, outcome, 1.5, 10, 140, seed, progress, cleared)


@pytest.fixture
def scripted(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Rig]:
    rig = Rig(tmp_path, ScriptedTester, **getattr(request, "param", {}))
    yield rig
    rig.close()


def play(rig: Rig, agent_steps: int, **clears: list[bool]) -> None:
    """A test in which stages, as in s1_1=[True, False], are cleared as said."""
    assert isinstance(rig.tester, ScriptedTester)
    rig.tester.clears = {name[1:].replace("_", "-"): outcomes for name, outcomes in clears.items()}
    rig.tester.asked = []
    rig.test(STAND, agent_steps)


TEN = {"test_episodes": 10, "clear_rate": 0.9}


@pytest.mark.parametrize("scripted", [TEN], indirect=True)
def test_a_first_lucky_episode_is_no_clear(scripted: Rig) -> None:
    """Regression of seed 003, whose training ends at the first lucky greedy episode."""
    play(scripted, 1_000, s1_1=[True])
    assert not scripted.board.cleared_all
    assert scripted.scorecard["score"]["stages_cleared"] == []
    assert scripted.scorecard["score"]["clear_rate"] == {"1-1": 0.1}
    assert not scripted.board.best_cleared.any()

    play(scripted, 2_000, s1_1=[True] * 8)
    assert not scripted.board.cleared_all
    play(scripted, 3_000, s1_1=[True] * 9)
    assert scripted.board.cleared_all
    assert scripted.scorecard["score"]["stages_cleared"] == ["1-1"]
    assert scripted.board.best_cleared.tolist() == [1] + [0] * 31
    assert load_weights(scripted.folder / BEST_NAME).agent_steps == 3_000


@pytest.mark.parametrize("scripted", [TEN], indirect=True)
def test_further_episodes_are_played_only_where_the_first_cleared(scripted: Rig) -> None:
    assert isinstance(scripted.tester, ScriptedTester)
    play(scripted, 1_000)
    assert len(scripted.tester.asked) == 1
    play(scripted, 2_000, s1_1=[True])
    assert len(set(scripted.tester.asked)) == 10  # all with seeds of their own


@pytest.mark.parametrize("scripted", [{**TEN, "env": "SuperMarioBros-v0"}], indirect=True)
def test_a_stage_has_the_same_starts_whatever_else_is_cleared(scripted: Rig) -> None:
    """Regression: the starts of a stage's further episodes moved with the stages cleared before it."""
    assert isinstance(scripted.tester, ScriptedTester)
    play(scripted, 1_000, s2_1=[True])
    alone = [each for each in scripted.tester.asked if each[0] == "2-1"]
    play(scripted, 2_000, s1_1=[True], s1_2=[True], s2_1=[True])
    assert [each for each in scripted.tester.asked if each[0] == "2-1"] == alone
    assert len(set(scripted.tester.asked)) == len(scripted.tester.asked) == 32 + 3 * 9


@pytest.mark.parametrize("scripted", [{"env": "SuperMarioBros-v0", "test_episodes": 1}], indirect=True)
def test_everything_is_cleared_only_when_all_32_stages_are(scripted: Rig) -> None:
    names = {f"s{stage.replace('-', '_')}": [True] for stage in STAGE_INDEX}
    play(scripted, 1_000, **{name: clears for name, clears in names.items() if name != "s8_4"})
    assert not scripted.board.cleared_all
    assert int(scripted.board.best_cleared.sum()) == 31
    play(scripted, 2_000, **names)
    assert scripted.board.cleared_all
    assert int(scripted.board.best_cleared.sum()) == 32


def ship(rig: Rig, score: dict[str, Any]) -> bytes:
    """Put a weights file with a score into --save-model-dir."""
    save_weights(rig.shipped, rig.model, ENV, rig.config.game_options(), 77, score)
    return rig.shipped.read_bytes()


def recorded(rate: float, episodes: int, cleared: bool, progress: float = 100.0) -> dict[str, Any]:
    stages = ["1-1"] if cleared else []
    score = {"stages_cleared": stages, "clear_rate": {"1-1": rate}, "mean_clear_rate": rate, "mean_progress": progress}
    return {**score, "test_episodes": episodes}


@pytest.mark.parametrize("scripted", [TEN], indirect=True)
@pytest.mark.parametrize(
    ("there", "replaced"),
    [
        (recorded(1.0, 10, True), False),  # better
        (recorded(0.9, 10, True), False),  # as good
        (recorded(0.95, 100, True), False),  # tested more thoroughly
        (recorded(0.5, 100, False), False),
        (recorded(0.8, 10, False), True),  # worse
        (recorded(1.0, 1, True), True),  # one lucky episode
        (recorded(0.0, 1, False, progress=3000.0), True),
        ({}, True),  # never tested
    ],
)
def test_a_better_shipped_file_is_never_overwritten(scripted: Rig, there: dict[str, Any], replaced: bool) -> None:
    """The run at hand clears 9 episodes of 10."""
    before = ship(scripted, there)
    play(scripted, 1_000, s1_1=[True] * 9)
    assert (scripted.shipped.read_bytes() != before) is replaced
    assert load_weights(scripted.shipped).agent_steps == (1_000 if replaced else 77)
    assert load_weights(scripted.folder / BEST_NAME).agent_steps == 1_000  # the run's own best in any case


def test_a_lucky_episode_does_not_replace_proven_weights(scripted: Rig) -> None:
    """A run with one episode a test, which is the default, and a shipped file that cleared 19 of 20."""
    before = ship(scripted, recorded(0.95, 20, True))
    play(scripted, 1_000, s1_1=[True])
    assert scripted.shipped.read_bytes() == before


def test_a_damaged_shipped_file_is_replaced(scripted: Rig) -> None:
    ship(scripted, recorded(1.0, 10, True))
    scripted.shipped.write_bytes(b"damaged")
    play(scripted, 1_000, s1_1=[True])
    assert load_weights(scripted.shipped).agent_steps == 1_000


# -- scores


def test_scores_are_shares_of_episodes_and_means_over_stages() -> None:
    results = [
        episode("1-1", "cleared", progress=3000),
        episode("1-1", "died", progress=1000),
        episode("1-2", "warped", progress=400),
        episode("1-3", "cleared", progress=2000),
    ]
    score = score_episodes(results, clear_rate=0.5)
    assert score.clear_rate == (("1-1", 0.5), ("1-2", 0.0), ("1-3", 1.0))
    assert (score.num_cleared, score.stages_cleared) == (2, ("1-1", "1-3"))
    assert score.mean_clear_rate == 0.5
    assert score.mean_progress == pytest.approx((2000 + 400 + 2000) / 3)
    assert score_episodes(results, clear_rate=0.6).stages_cleared == ("1-3",)
    assert score_episodes(results).stages_cleared == ("1-3",)


def test_scores_are_ordered_by_stages_cleared_then_rate_then_progress() -> None:
    ascending = [
        score_episodes([episode("1-1", "died", progress=10)]),
        score_episodes([episode("1-1", "died", progress=20)]),
        score_episodes([episode("1-1", "cleared", progress=5), episode("1-1", "died", progress=5)]),
        score_episodes([episode("1-1", "cleared", progress=5)]),
        score_episodes([episode("1-1", "cleared", progress=15)]),
        score_episodes([episode("1-1", "cleared"), episode("1-2", "cleared")]),
    ]
    assert all(worse < better for worse, better in pairwise(ascending))
    keys = [sort_key({}), *(sort_key(score.to_json()) for score in ascending)]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)


def test_a_score_survives_json() -> None:
    score: Score = score_episodes([episode("1-1", "cleared"), episode("1-2", "died")])
    assert sort_key(json.loads(json.dumps(score.to_json()))) == sort_key(score.to_json())


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # From Wilson's formula worked by hand; the middle three as in tables of the score interval.
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (50, 100, 0.4038, 0.5962),
        (95, 100, 0.8882, 0.9785),
        (1, 1, 0.2065, 1.0),
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilson_interval(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=1e-4)


def test_results_to_json_is_the_contract() -> None:
    results = [episode("1-1", "cleared", 7), episode("1-1", "timeout", 8), episode("4-2", "warped", 9)]
    content = json.loads(json.dumps(results_to_json(results)))
    assert set(content) == {"episodes", "stages_cleared", "clear_rate"}
    assert content["stages_cleared"] == ["1-1"]
    assert content["clear_rate"] == {"1-1": 0.5, "4-2": 0.0}
    first = content["episodes"][0]
    assert {key: first[key] for key in ("stage", "outcome", "reward", "agent_steps", "x_pos", "seed")} == {
        "stage": "1-1",
        "outcome": "cleared",
        "reward": 1.5,
        "agent_steps": 10,
        "x_pos": 140,
        "seed": 7,
    }
