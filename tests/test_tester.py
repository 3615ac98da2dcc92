"""The test process keeps the best weights, not the newest and not the luckiest, and writes down what it saw."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import multiprocessing

from a3g.config import TrainConfig
from a3g.game.packing import unpack_values
from a3g.game.stages import STAGES
from a3g.networks.actor_critic import ActorCritic
from a3g.networks.flat_parameters import FlatParameters
from a3g.processes import tester
from a3g.processes.counters import STAGE_INDEX, Count, StageCount
from a3g.processes.evaluation import PlannedEpisode
from a3g.processes.shared_run import SharedRun
from a3g.processes.tester import BEST_NAME, SCORECARD_NAME, run_tester
from a3g.processes.tester import Tester as StageTester
from a3g.processes.worker import make_worker
from a3g.runs.scores import EpisodeResult, GameSettings, Score, StageScore
from a3g.runs.weights import load_weights, save_weights, weights_path

ROOT = Path(__file__).parent.parent
ENV = "SuperMarioBros-1-1-v0"
# In the a3g action set.
STAND, WALK, RUN = 0, 1, 3


def config(folder: Path, **options: Any) -> TrainConfig:
    """A small network, and so little time that an episode is a second of play."""
    defaults = {"env": ENV, "network": "conv4", "hidden_size": 8, "lstm": False, "time_per_stage": 3, "workers": 1}
    return TrainConfig().with_values({**defaults, "save_model_dir": folder / "models", **options})


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
        self.tester._evaluator.close()


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
    assert running is not None
    assert walking is not None
    assert running.mean_progress > walking.mean_progress > 0

    for worse in (STAND, WALK):
        rig.test(worse, 3_000)
        best = load_weights(rig.folder / BEST_NAME)
        assert rig.best_action == RUN
        assert (best.agent_steps, best.score) == (2_000, running)
        assert rig.scorecard["best"] == running.to_json()
        assert rig.scorecard["test"]["mean_progress"] < running.mean_progress
        assert rig.scorecard["test"]["agent_steps"] == 3_000
    assert int(rig.board.tests) == 4
    assert int(rig.board.agent_steps) == 3_000
    assert load_weights(rig.shipped).agent_steps == 2_000


def test_the_best_weights_say_all_that_is_needed_to_play_with_them(rig: Rig) -> None:
    rig.test(RUN, 1_000)
    weights = load_weights(rig.folder / BEST_NAME)
    assert weights.env_id == ENV
    assert weights.network == rig.config.network_spec()
    assert weights.game == dataclasses.replace(rig.config.game_options(), episodic_life=False)
    assert weights.score is not None
    assert weights.score.is_of(["1-1"], GameSettings.of(weights.game))
    assert (weights.score.stages["1-1"].episodes, weights.score.stages["1-1"].cleared) == (1, 0)
    for name, tensor in weights.build().state_dict().items():
        assert torch.equal(tensor, rig.model.state_dict()[name])


def test_a_test_under_sticky_actions_says_so_in_its_score(tmp_path: Path) -> None:
    """And plays under them, though training does without; the weights still say what they were trained on."""
    results = {}
    for chance in (0.0, 0.5):
        rig = Rig(tmp_path / str(chance), test_sticky_actions=chance)
        rig.test(WALK, 1_000)
        rig.test(RUN, 2_000)
        results[chance] = rig.scorecard["test"]["mean_progress"]
        best = load_weights(rig.folder / BEST_NAME)
        assert best.score is not None
        assert best.score.settings.sticky_actions == rig.scorecard["best"]["settings"]["sticky_actions"] == chance
        assert best.game.sticky_actions == 0.0
        rig.close()
    # To hold one action is not changed by repeating it, but for the first agent step, which repeats standing.
    assert results[0.5] != results[0.0]


def test_tests_are_at_least_as_sticky_as_training() -> None:
    for training, test, expected in ((0.1, 0.0, 0.1), (0.1, 0.2, 0.2), (0.0, 0.0, 0.0)):
        config = TrainConfig(sticky_actions=training, test_sticky_actions=test)
        assert config.test_options().sticky_actions == expected
        assert config.game_options().sticky_actions == training


def test_every_test_has_starts_of_its_own(tmp_path: Path) -> None:
    """And the same --seed gives the same ones."""
    seeds = []
    for folder in (tmp_path / "first", tmp_path / "again"):
        rig = Rig(folder)
        for agent_steps in (1_000, 2_000, 3_000):
            rig.test(STAND, agent_steps)
            seeds += [each["seed"] for each in rig.scorecard["episodes"]]
        rig.close()
    assert len(set(seeds[:3])) == 3
    assert seeds[:3] == seeds[3:]


def test_no_test_plays_with_randomness_that_training_has(tmp_path: Path) -> None:
    """Nor that another test or a confirmation has: what a policy met in training, and what it was chosen by, proves little."""
    rig = Rig(tmp_path, test_episodes=20, workers=2)
    tested = []
    for test in range(3):
        rig.board.tests.fill_(test)
        for phase in tester._Phase:
            tested += [seed for stage in STAGES for _, seed in rig.tester._planned(phase, stage)]
    rig.close()
    assert len(set(tested)) == len(tested) == 3 * 2 * 32 * 20
    trained: list[int] = []
    for number in range(rig.config.workers):
        for restart in range(3):
            worker = make_worker(number, rig.config, rig.shared, torch.device("cpu"), restart)
            games, prefix = worker.collector.state_dict(), "env."
            state = {name.removeprefix(prefix): games[name].numpy() for name in games if name.startswith(prefix)}
            trained += [stream(lane) for lane in unpack_values("random", state)]
            worker.collector.close()
    assert len(set(trained)) == len(trained) == 2 * 3 * rig.config.lanes
    assert not {*trained} & {stream(np.random.default_rng(seed).bit_generator.state) for seed in tested}


def stream(state: Any) -> int:
    """What tells two generators (PCG64) apart, however many numbers they have drawn."""
    return int(state["state"]["inc"])


def test_a_restarted_tester_knows_what_was_best(tmp_path: Path) -> None:
    for action, expected in ((RUN, RUN), (WALK, RUN)):
        rig = Rig(tmp_path)
        rig.test(action, 1_000)
        rig.close()
        assert rig.best_action == expected


def test_the_scorecard_and_the_board_tell_the_same(rig: Rig) -> None:
    rig.test(RUN, 1_234)
    card = rig.scorecard
    assert set(card) == {"test", "confirmation", "best", "episodes"}
    assert card["confirmation"] is None
    (episode,) = card["episodes"]
    assert (episode["stage"], episode["outcome"]) == ("1-1", "timeout")
    assert episode["agent_steps"] <= 3 * 24 / 4 + 1
    assert card["test"]["stages"] == {"1-1": {"episodes": 1, "cleared": 0, "mean_progress": episode["progress"]}}
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
    assert set(results) >= {"episodes", "stages_cleared", "clear_rate"}
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
    """For every stage, which of its episodes in a test are cleared, those of a confirmation behind those of the test;
    all others are not."""
    asked: list[tuple[str, int]]
    """Episodes played: stage and seed."""
    played_at_once: list[int]
    """Episodes that were handed over to be played side by side."""

    def _play(self, episodes: list[PlannedEpisode]) -> list[EpisodeResult]:
        results = []
        self.played_at_once.append(len(episodes))
        for planned, seed in episodes:
            stage = str(planned)
            played = sum(stage == each for each, _ in self.asked)
            cleared = played < len(self.clears.get(stage, [])) and self.clears[stage][played]
            self.asked.append((stage, seed))
            results.append(episode(stage, "cleared" if cleared else "died", seed))
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
    rig.tester.asked, rig.tester.played_at_once = [], []
    rig.test(STAND, agent_steps)


TEN = {"test_episodes": 10, "clear_rate": 0.9}


@pytest.mark.parametrize("scripted", [TEN], indirect=True)
def test_a_first_lucky_episode_is_no_clear(scripted: Rig) -> None:
    """Regression of the third predecessor, whose training ends at the first lucky greedy episode."""
    play(scripted, 1_000, s1_1=[True] + [False] * 9)
    assert not scripted.board.cleared_all
    assert scripted.scorecard["test"]["stages_passed"] == []
    assert scripted.scorecard["test"]["stages"]["1-1"]["cleared"] == 1
    assert not scripted.board.best_cleared.any()

    play(scripted, 2_000, s1_1=[True] * 8 + [False] * 2 + [True] * 8)
    assert not scripted.board.cleared_all
    play(scripted, 3_000, s1_1=[True] * 9 + [False] + [True] * 9)
    assert scripted.board.cleared_all
    assert scripted.scorecard["confirmation"]["stages_passed"] == ["1-1"]
    assert scripted.board.best_cleared.tolist() == [1] + [0] * 31
    assert load_weights(scripted.folder / BEST_NAME).agent_steps == 3_000


@pytest.mark.parametrize("scripted", [TEN], indirect=True)
@pytest.mark.parametrize(("confirmed", "counts"), [(8, False), (9, True)])
def test_a_pass_counts_only_if_fresh_seeds_confirm_it(scripted: Rig, confirmed: int, counts: bool) -> None:
    """Regression: the first lucky pass ended `--until-cleared`, and the best weights were those luckiest in one test."""
    assert isinstance(scripted.tester, ScriptedTester)
    play(scripted, 1_000, s1_1=[True] * 10 + [True] * confirmed)
    assert bool(scripted.board.cleared_all) is counts
    assert bool(scripted.board.best_cleared[0]) is counts
    assert len({seed for _, seed in scripted.tester.asked}) == 20
    best = load_weights(scripted.folder / BEST_NAME).score
    assert best is not None
    assert (best.stages["1-1"].episodes, best.stages["1-1"].cleared) == (10, confirmed)


@pytest.mark.parametrize("scripted", [TEN], indirect=True)
def test_a_pass_is_confirmed_though_the_best_weights_are_better(scripted: Rig) -> None:
    play(scripted, 1_000, s1_1=[True] * 8 + [False] * 2 + [True] * 10)  # the best, but its test did not pass
    assert not scripted.board.cleared_all
    play(scripted, 2_000, s1_1=[True] * 9 + [False] + [True] * 9)
    assert scripted.board.cleared_all
    assert load_weights(scripted.folder / BEST_NAME).agent_steps == 1_000


@pytest.mark.parametrize("scripted", [TEN], indirect=True)
def test_further_episodes_are_played_only_where_the_first_cleared(scripted: Rig) -> None:
    assert isinstance(scripted.tester, ScriptedTester)
    play(scripted, 1_000)
    assert len(scripted.tester.asked) == 1
    play(scripted, 2_000, s1_1=[True])
    assert len(set(scripted.tester.asked)) == 10 + 10  # all with seeds of their own, and confirmed


@pytest.mark.parametrize("scripted", [{**TEN, "env": "SuperMarioBros-v0"}], indirect=True)
def test_all_episodes_of_a_test_are_played_side_by_side(scripted: Rig) -> None:
    """Regression: one of each stage came first and the others after it, each time in small batches."""
    assert isinstance(scripted.tester, ScriptedTester)
    play(scripted, 1_000, s1_1=[True] * 20)  # the first clear of 1-1: the further ones wait for it
    assert scripted.tester.played_at_once == [32, 9, 10]
    play(scripted, 2_000, s1_1=[True] * 20)
    assert scripted.tester.played_at_once == [32 + 9]


STICKY = {**TEN, "env": "SuperMarioBros-v0", "test_sticky_actions": 0.1}


@pytest.mark.parametrize("scripted", [STICKY], indirect=True)
def test_with_sticky_actions_all_stages_are_played_equally_often(scripted: Rig) -> None:
    """Regression: a stage cleared half of the time was 0 of 1 in half of the tests, beside 10 episodes of others."""
    assert isinstance(scripted.tester, ScriptedTester)
    play(scripted, 1_000)
    assert scripted.tester.played_at_once == [32, 32 * 9, 0], "nothing to confirm"
    play(scripted, 2_000, s2_1=[False] * 5 + [True] * 5 + [False] * 7 + [True] * 3, s1_1=[False] * 10 + [True] * 10)
    assert scripted.tester.played_at_once == [32, 32 * 9, 320], "the confirmation is of all stages"
    assert len(set(scripted.tester.asked)) == 640
    confirmed = scripted.scorecard["confirmation"]
    assert {stage["episodes"] for stage in confirmed["stages"].values()} == {10}
    assert [confirmed["stages"][name]["cleared"] for name in ("1-1", "2-1")] == [10, 3]
    assert confirmed["mean_clear_rate"] == pytest.approx(1.3 / 32)
    play(scripted, 3_000)
    assert scripted.tester.played_at_once == [31 + 10, 31 * 9], "all of a stage that was cleared before come first"


@pytest.mark.parametrize("scripted", [{**STICKY, "test_interval": 1e-9}], indirect=True)
def test_stages_never_cleared_are_played_once_where_time_is_short_and_the_interval_tells_it(scripted: Rig) -> None:
    assert isinstance(scripted.tester, ScriptedTester)
    play(scripted, 1_000, s1_1=[True] * 20)
    assert scripted.tester.played_at_once == [32, 9, 10]
    short = scripted.scorecard["test"]
    assert short["stages"]["1-2"]["episodes"] == 1
    assert short["mean_clear_rate_interval"][1] > 0.1, "31 stages with one episode each"


@pytest.mark.parametrize(
    ("options", "clear_rate", "pause"),
    [
        ({"until_cleared": True}, 0.46, 6.0),
        ({"until_cleared": True}, 0.44, 20.0),
        ({"until_cleared": True, "test_interval": 4.0}, 0.46, 4.0),
        ({"until_cleared": False}, 1.0, 20.0),
        ({"until_cleared": True, "env": "SuperMarioBros-v0"}, 1.0, 20.0),  # only one of the 32 stages
    ],
)
def test_a_run_that_may_be_done_soon_is_tested_again_soon(
    tmp_path: Path, options: dict[str, Any], clear_rate: float, pause: float
) -> None:
    """Regression: `--until-cleared` ended long after the policy could clear, since a test came every 20 s only."""
    rig = Rig(tmp_path, **{**TEN, "workers": 2, **options})
    assert rig.tester._pause(3.0) == 20.0 or "test_interval" in options
    for worker, episodes, rate in ((0, 30, clear_rate + 0.1), (1, 10, clear_rate - 0.3)):
        rig.counters.stages[worker, 0, StageCount.EPISODES] = episodes
        rig.counters.stages[worker, 0, StageCount.CLEAR_RATE] = rate
    assert rig.tester._pause(3.0) == pause
    rig.close()


@pytest.mark.parametrize("scripted", [{**TEN, "env": "SuperMarioBros-v0"}], indirect=True)
def test_a_stage_has_the_same_starts_whatever_else_is_cleared(scripted: Rig, tmp_path: Path) -> None:
    """Regression: the starts of a stage's further episodes moved with the stages cleared before it."""
    assert isinstance(scripted.tester, ScriptedTester)
    play(scripted, 1_000, s2_1=[True])
    alone = [each for each in scripted.tester.asked if each[0] == "2-1"]
    other = Rig(tmp_path / "other", ScriptedTester, **TEN, env="SuperMarioBros-v0")
    play(other, 1_000, s1_1=[True], s1_2=[True], s2_1=[True])
    assert isinstance(other.tester, ScriptedTester)
    assert [each for each in other.tester.asked if each[0] == "2-1"] == alone
    assert len(set(other.tester.asked)) == len(other.tester.asked) == 32 + 3 * 9 + 3 * 10
    other.close()


@pytest.mark.parametrize("scripted", [{"env": "SuperMarioBros-v0", "test_episodes": 1}], indirect=True)
def test_everything_is_cleared_only_when_all_32_stages_are(scripted: Rig) -> None:
    names = {f"s{stage.replace('-', '_')}": [True, True] for stage in STAGE_INDEX}
    play(scripted, 1_000, **{name: clears for name, clears in names.items() if name != "s8_4"})
    assert not scripted.board.cleared_all
    assert int(scripted.board.best_cleared.sum()) == 31
    play(scripted, 2_000, **names)
    assert scripted.board.cleared_all
    assert int(scripted.board.best_cleared.sum()) == 32


def ship(rig: Rig, score: Score | None) -> bytes:
    """Put a weights file with a score into --save-model-dir."""
    save_weights(rig.shipped, rig.model, ENV, rig.config.game_options(), 77, score)
    return rig.shipped.read_bytes()


def recorded(cleared: int, episodes: int, progress: float = 100.0, pass_rate: float = 0.9, **settings: Any) -> Score:
    """What 1-1 was tested with, by default under the settings of `TEN`."""
    tested = GameSettings.of(dataclasses.replace(TrainConfig(time_per_stage=3).game_options(), **settings))
    return Score({"1-1": StageScore(episodes, cleared, progress)}, tested, pass_rate, 77)


@pytest.mark.parametrize("scripted", [TEN], indirect=True)
@pytest.mark.parametrize(
    ("there", "replaced"),
    [
        (recorded(10, 10), False),  # better
        (recorded(9, 10), False),  # as good
        (recorded(95, 100), False),  # tested more thoroughly
        (recorded(50, 100), True),
        (recorded(0, 20), True),
        (recorded(8, 10), True),  # worse
        (recorded(1, 1), True),  # one lucky episode
        (recorded(0, 1, progress=3000.0), True),
        (recorded(8, 10, pass_rate=0.2), True),  # the share asked for does not count
        (recorded(0, 10, sticky_actions=0.1), False),  # can't be compared
        (recorded(0, 10, noop_max=0), False),
        (recorded(0, 10, time_per_stage=4), False),
        (None, True),  # never tested
    ],
)
def test_a_better_shipped_file_is_never_overwritten(scripted: Rig, there: Score | None, replaced: bool) -> None:
    """The run at hand clears 9 episodes of 10."""
    before = ship(scripted, there)
    play(scripted, 1_000, s1_1=[True] * 19)
    assert (scripted.shipped.read_bytes() != before) is replaced
    assert load_weights(scripted.shipped).agent_steps == (1_000 if replaced else 77)
    assert load_weights(scripted.folder / BEST_NAME).agent_steps == 1_000  # the run's own best in any case


@pytest.mark.parametrize("scripted", [{"test_episodes": 5, "clear_rate": 0.2}], indirect=True)
def test_an_easier_clear_rate_makes_no_weights_better(scripted: Rig) -> None:
    """Regression: 1 of 5 at --clear-rate 0.2 replaced 4 of 5 at 0.9, since it passed and the other did not."""
    before = ship(scripted, recorded(4, 5))
    play(scripted, 1_000, s1_1=[True] + [False] * 4 + [True])
    assert scripted.board.best_cleared[0]
    assert scripted.shipped.read_bytes() == before


def test_a_lucky_episode_does_not_replace_proven_weights(scripted: Rig) -> None:
    before = ship(scripted, recorded(19, 20))
    play(scripted, 1_000, s1_1=[True] * 10)
    assert scripted.shipped.read_bytes() == before


def test_a_damaged_shipped_file_is_replaced(scripted: Rig) -> None:
    ship(scripted, recorded(10, 10))
    scripted.shipped.write_bytes(b"damaged")
    play(scripted, 1_000, s1_1=[True] * 2)
    assert load_weights(scripted.shipped).agent_steps == 1_000


@pytest.mark.parametrize(
    "earlier",
    [
        Score({f"{world}-1": StageScore(5, 5, 3000.0) for world in range(1, 9)}, recorded(1, 1).settings, 0.9, 50),
        Score({"1-2": StageScore(5, 5, 3000.0)}, recorded(1, 1).settings, 0.9, 50),
        recorded(5, 5, progress=3000.0, sticky_actions=0.1),
        recorded(5, 5, progress=3000.0, noop_max=0),
    ],
)
def test_a_best_that_can_not_be_compared_gives_way_to_the_next_test(tmp_path: Path, earlier: Score) -> None:
    """Regression: a single stage's best beat every score over 32 stages, and one of easier settings all later ones."""
    path = tmp_path / "run" / BEST_NAME
    save_weights(path, ActorCritic(config(tmp_path).network_spec()), ENV, config(tmp_path).game_options(), 50, earlier)
    rig = Rig(tmp_path, ScriptedTester, **TEN)
    play(rig, 1_000)
    rig.close()
    assert load_weights(path).agent_steps == 1_000
    assert rig.scorecard["best"]["stages"]["1-1"]["cleared"] == 0
