"""Scores: what they are made of, which are compared, and that they survive files."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from a3g.game.lane import GameOptions
from a3g.runs.scores import EpisodeResult, GameSettings, Score, StageScore, results_to_json, score_episodes, wilson_interval
from a3g.runs.weights import load_weights

SETTINGS = GameSettings.of(GameOptions())


def episode(stage: str, outcome: str, seed: int = 1, progress: int = 100) -> EpisodeResult:
    cleared = (stage,) if outcome == "cleared" else ()
    return EpisodeResult(stage, outcome, 1.5, 10, 140, seed, progress, cleared)


def of_stage(cleared: int, episodes: int, progress: float = 100.0, stage: str = "1-1") -> Score:
    return Score({stage: StageScore(episodes, cleared, progress)}, SETTINGS, 0.9, 5)


def test_scores_are_shares_of_episodes_and_means_over_stages() -> None:
    results = [
        episode("1-1", "cleared", progress=3000),
        episode("1-1", "died", progress=1000),
        episode("1-2", "warped", progress=400),
        episode("1-3", "cleared", progress=2000),
    ]
    score = score_episodes(results, SETTINGS, pass_rate=0.5)
    assert score.stages == {"1-1": StageScore(2, 1, 2000.0), "1-2": StageScore(1, 0, 400.0), "1-3": StageScore(1, 1, 2000.0)}
    assert score.stages_passed == ("1-1", "1-3")
    assert score.mean_progress == pytest.approx((2000 + 400 + 2000) / 3)
    assert score_episodes(results, SETTINGS, pass_rate=0.6).stages_passed == ("1-3",)
    assert score_episodes(results, SETTINGS).stages_passed == ("1-3",)


def test_scores_are_ordered_by_proven_clear_rate_then_progress() -> None:
    ascending = [
        of_stage(0, 20, progress=10),
        of_stage(0, 1, progress=20),  # nothing cleared is nothing proven, however often it was tried
        of_stage(1, 5, progress=5),
        of_stage(1, 1, progress=5),
        of_stage(4, 5),
        of_stage(5, 5),
        of_stage(5, 5, progress=101),
        of_stage(19, 20),
    ]
    for worse, better in pairwise(ascending):
        assert better.is_better_than(worse)
        assert not worse.is_better_than(better)
        assert not better.is_better_than(better)


def test_the_share_asked_for_and_the_age_of_the_weights_do_not_count() -> None:
    easier = dataclasses.replace(of_stage(1, 5), pass_rate=0.2, agent_steps=9)
    assert easier.stages_passed
    assert of_stage(4, 5).is_better_than(easier)
    assert not easier.is_better_than(of_stage(4, 5))


@pytest.mark.parametrize(
    "other",
    [
        of_stage(0, 5, stage="1-2"),
        Score({"1-1": StageScore(5, 0, 1.0), "1-2": StageScore(5, 0, 1.0)}, SETTINGS, 0.9, 5),
        *(
            dataclasses.replace(of_stage(0, 5), settings=dataclasses.replace(SETTINGS, **{name: value}))
            for name, value in (
                ("skip_rate", 2),
                ("noop_max", 0),
                ("sticky_actions", 0.25),
                ("time_per_stage", 400),
                ("max_episode_length", 50),
            )
        ),
    ],
)
def test_only_like_is_compared_with_like(other: Score) -> None:
    score = of_stage(5, 5)
    assert not score.is_comparable_with(other)
    assert not score.is_better_than(other)
    assert not other.is_better_than(score)


def test_the_mean_clear_rate_has_an_interval_that_few_episodes_widen() -> None:
    def score(*stages: tuple[int, int]) -> Score:
        return Score(
            {str(i): StageScore(episodes, cleared, 0.0) for i, (cleared, episodes) in enumerate(stages)}, SETTINGS, 1, 0
        )

    alone = score((7, 20))
    assert alone.mean_clear_rate == pytest.approx(0.35)
    assert alone.mean_clear_rate_interval == pytest.approx(wilson_interval(7, 20))
    assert score((7, 20), (7, 20)).mean_clear_rate == pytest.approx(0.35)
    low, high = score((7, 20), (7, 20)).mean_clear_rate_interval
    assert high - low == pytest.approx((wilson_interval(7, 20)[1] - wilson_interval(7, 20)[0]) / 2**0.5)
    assert score((10, 10), (0, 10)).mean_clear_rate_interval[1] < score((10, 10), (0, 1)).mean_clear_rate_interval[1]
    assert score((10, 10), (0, 10)).mean_clear_rate_interval[0] == score((10, 10), (0, 1)).mean_clear_rate_interval[0]
    # How often the interval holds the truth: 32 stages of different difficulty, 10 episodes each.
    random = np.random.default_rng(1)
    truth = random.random(32)
    held = 0
    for _ in range(400):
        low, high = score(*((int(random.binomial(10, p)), 10) for p in truth)).mean_clear_rate_interval
        held += low <= truth.mean() <= high
    assert held / 400 > 0.92


def test_a_score_survives_json() -> None:
    score = score_episodes([episode("1-1", "cleared"), episode("1-2", "died")], SETTINGS, 0.75, 1_234)
    assert Score.from_json(json.loads(json.dumps(score.to_json())), GameOptions(noop_max=7), 9) == score


def test_who_sees_a_map_is_not_compared_with_who_sees_pictures() -> None:
    """Weights of the one must never replace the other's in a folder of trained models."""
    results = [episode("1-1", "cleared")] * 20
    pictures = score_episodes([*results[1:], episode("1-1", "died")], GameSettings.of(GameOptions()))
    maps = score_episodes(results, GameSettings.of(GameOptions(observation="map")))
    assert not maps.is_better_than(pictures)
    again = Score.from_json(json.loads(json.dumps(maps.to_json())), GameOptions(), 0)
    assert again.settings.observation == "map"
    without = maps.to_json()
    del without["settings"]["observation"]  # as files had it before there were maps
    assert Score.from_json(without, GameOptions(), 0).settings.observation == "pictures"
    without["settings"]["observation"] = "smell"
    with pytest.raises(ValueError, match="another kind of observation"):
        Score.from_json(without, GameOptions(), 0)


def test_a_score_of_the_first_version_is_read() -> None:
    """It said neither how the game was set nor how old the weights were; the file around it does."""
    old = {
        "stages_cleared": ["1-1"],
        "clear_rate": {"1-1": 0.95, "1-2": 0.0},
        "mean_clear_rate": 0.475,
        "mean_progress": 1500.5,
        "test_episodes": 20,
    }
    score = Score.from_json(old, GameOptions(noop_max=7), 9)
    assert score.stages == {"1-1": StageScore(20, 19, 1500.5), "1-2": StageScore(20, 0, 1500.5)}
    assert (score.settings.noop_max, score.agent_steps) == (7, 9)


def test_the_shipped_files_have_scores() -> None:
    folder = Path(__file__).parent.parent / "trained_models"
    folders = [folder / name for name in (".", "experts", "campaign", "polished")]
    shipped = [path for each in folders for path in sorted(each.glob("*.safetensors"))]
    assert shipped
    for path in shipped:
        score = load_weights(path).score
        assert score is not None
        assert any(stage.cleared for stage in score.stages.values())
        if path.name == "SuperMarioBros-1-1-v0.safetensors":
            assert score.settings.sticky_actions == 0.1
            assert score.stages["1-1"].clear_rate > 0.5


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
