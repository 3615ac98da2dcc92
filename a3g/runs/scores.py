"""Results of episodes, and scores that are compared only with their like."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from a3g.game.options import OBSERVATIONS, GameOptions
from a3g.game.rules import Outcome

# Numbers in a file beyond this are damage: no episode is so long and no stage so wide.
_LARGEST_NUMBER = 1e15


@dataclass(frozen=True)
class EpisodeResult:
    """One episode played."""

    stage: str
    """Such as ``1-1``; ``SuperMarioBros-v0`` for the whole game."""
    outcome: str
    """cleared, died, warped or timeout; the whole game is cleared with its last stage, and cut off it is a timeout."""
    reward: float
    """Sum of rewards, in the scale that training uses."""
    agent_steps: int
    x_pos: int
    """Where Mario stood in the end, in pixels."""
    seed: int
    """With it (and the same settings) the episode can be played again."""
    progress: int
    """Pixels of new ground in the last attempt at a stage."""
    stages_cleared: tuple[str, ...]
    """In the order in which they were cleared; several only in the whole game."""
    stage_reached: str = ""
    """The stage attempted last; in the whole game it says how far Mario got."""
    lives_lost: int = 0
    """By dying or running out of time; the whole game has three."""


@dataclass(frozen=True)
class GameSettings:
    """What makes the same stage easier or harder; the part of `GameOptions` that scores have to share to be compared."""

    skip_rate: int
    noop_max: int
    sticky_actions: float
    time_per_stage: int
    max_episode_length: int
    observation: str = "pictures"
    """Who sees a map plays another game than who sees pictures."""

    @classmethod
    def of(cls, options: GameOptions) -> GameSettings:
        return cls(**{field.name: getattr(options, field.name) for field in fields(cls)})


@dataclass(frozen=True)
class StageScore:
    """How well one stage was played."""

    episodes: int
    cleared: int
    """Episodes that cleared the stage."""
    mean_progress: float
    """Pixels of new ground, mean over episodes."""

    @property
    def clear_rate(self) -> float:
        return self.cleared / self.episodes

    @property
    def proven_clear_rate(self) -> float:
        """The lower end of the clear rate's 95% interval: one lucky episode proves little, nineteen of twenty prove much."""
        return wilson_interval(self.cleared, self.episodes)[0]


@dataclass(frozen=True)
class Score:
    """How good weights are, and how that was found out.

    Two scores are comparable if they were earned on the same stages under the same game settings (frames per agent
    step, no-ops, sticky actions, time per stage, longest episode). Of two comparable scores the better one has the
    higher proven clear rate, summed over the stages; if those are equal, the one with more progress is better. So the
    number of episodes counts only through the confidence interval. The engine, the age of the weights and the share
    of episodes asked for by `--clear-rate` do not count.
    """

    stages: dict[str, StageScore]
    """By their names, such as ``1-1``."""
    settings: GameSettings
    pass_rate: float
    """Share of a stage's episodes to clear for the stage to be passed (`--clear-rate`)."""
    agent_steps: int
    """Age of the weights, in agent steps of their training."""

    @property
    def stages_passed(self) -> tuple[str, ...]:
        """The stages of which at least the share `pass_rate` of episodes was cleared."""
        return tuple(name for name, stage in self.stages.items() if stage.clear_rate >= self.pass_rate)

    @property
    def mean_clear_rate(self) -> float:
        """Mean over stages, each as much as the others."""
        return sum(stage.clear_rate for stage in self.stages.values()) / len(self.stages)

    @property
    def mean_clear_rate_interval(self) -> tuple[float, float]:
        """The 95% interval of `mean_clear_rate`; a stage with few episodes widens it.

        Made from the stages' own intervals (Zou & Donner 2008, "Construction of confidence limits about effect measures").
        """
        mean, count = self.mean_clear_rate, len(self.stages)
        intervals = [(each.clear_rate, *wilson_interval(each.cleared, each.episodes)) for each in self.stages.values()]
        below = math.sqrt(sum((rate - low) ** 2 for rate, low, _ in intervals)) / count
        above = math.sqrt(sum((high - rate) ** 2 for rate, _, high in intervals)) / count
        return max(0.0, mean - below), min(1.0, mean + above)

    @property
    def mean_progress(self) -> float:
        """Pixels of new ground, mean over stages."""
        return sum(stage.mean_progress for stage in self.stages.values()) / len(self.stages)

    def is_of(self, stages: Collection[str], settings: GameSettings) -> bool:
        """Whether it was earned on these stages under these settings."""
        return set(self.stages) == set(stages) and self.settings == settings

    def is_comparable_with(self, other: Score) -> bool:
        return self.is_of(other.stages, other.settings)

    def is_better_than(self, other: Score) -> bool:
        """Whether it is comparable with the other one and better; see the class."""
        return self.is_comparable_with(other) and self._order() > other._order()

    def _order(self) -> tuple[float, float]:
        proven = sum(stage.proven_clear_rate for stage in self.stages.values())
        return round(proven, 9), round(self.mean_progress, 6)  # sums in another order are the same sums

    def to_json(self) -> dict[str, Any]:
        """As plain values; those behind `agent_steps` are for readers, `from_json` works them out again."""
        return {
            **asdict(self),
            "stages_passed": list(self.stages_passed),
            "mean_clear_rate": self.mean_clear_rate,
            "mean_clear_rate_interval": list(self.mean_clear_rate_interval),
            "mean_progress": self.mean_progress,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any], options: GameOptions, agent_steps: int) -> Score:
        """The reverse of `to_json`; also reads the scores of the first version's weights files.

        Args:
            values: what the file says.
            options, agent_steps: of the weights in the same file. The first version's scores say neither; its tester
                played with the options of the training.

        Raises:
            KeyError, TypeError, ValueError: if the values are no score.
        """
        if "stages" not in values:
            return cls(_stages_of_first_version(values), GameSettings.of(options), 1.0, agent_steps)
        stages = {
            str(name): StageScore(
                episodes=int(_number(stage["episodes"], 1, int)),
                cleared=int(_number(stage["cleared"], 0, int)),
                mean_progress=_number(stage["mean_progress"], -_LARGEST_NUMBER),
            )
            for name, stage in values["stages"].items()
        }
        if not stages or any(stage.cleared > stage.episodes for stage in stages.values()):
            raise ValueError("its score is not made of episodes")
        settings = GameSettings(**values["settings"])
        if settings.observation not in OBSERVATIONS:
            raise ValueError("its score is of another kind of observation")
        for field in fields(settings):
            if field.name != "observation":
                _number(getattr(settings, field.name), 0, *(() if field.name == "sticky_actions" else (int,)))
        return cls(stages, settings, _number(values["pass_rate"], 0), int(_number(values["agent_steps"], 0, int)))


def score_episodes(
    results: Sequence[EpisodeResult], settings: GameSettings, pass_rate: float = 1.0, agent_steps: int = 0
) -> Score:
    """The score of single-stage episodes, at least one."""
    stages = {}
    for stage in dict.fromkeys(result.stage for result in results):
        episodes = [result for result in results if result.stage == stage]
        cleared = sum(result.outcome == Outcome.CLEARED for result in episodes)
        stages[stage] = StageScore(len(episodes), cleared, sum(result.progress for result in episodes) / len(episodes))
    return Score(stages, settings, pass_rate, agent_steps)


def wilson_interval(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """95% confidence interval of a share (Wilson 1927)."""
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials
    centre = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def results_to_json(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    """The contract of `gym_eval.py --json`: episodes, stages cleared at least once, clear rate of every stage."""
    rates = {}
    for stage in dict.fromkeys(result.stage for result in results):
        outcomes = [result.outcome for result in results if result.stage == stage]
        rates[stage] = outcomes.count(Outcome.CLEARED) / len(outcomes)
    cleared = dict.fromkeys(stage for result in results for stage in result.stages_cleared)
    return {"episodes": [asdict(result) for result in results], "stages_cleared": list(cleared), "clear_rate": rates}


def _stages_of_first_version(values: dict[str, Any]) -> dict[str, StageScore]:
    """It wrote clear rates, one number of episodes and one mean progress for all stages."""
    episodes = int(_number(values.get("test_episodes", 1), 1, int))
    progress = _number(values["mean_progress"], -_LARGEST_NUMBER)
    _number(values["mean_clear_rate"], 0)
    rates = {str(stage): _number(rate, 0) for stage, rate in values["clear_rate"].items()}
    if not rates or max(rates.values()) > 1:
        raise ValueError("its score is not made of clear rates")
    return {stage: StageScore(episodes, round(rate * episodes), progress) for stage, rate in rates.items()}


def _number(value: Any, least: float, *kinds: type) -> float:
    """
    Raises:
        TypeError, ValueError: if it is not a finite number of one of `kinds` (int and float), `least` or more.
    """
    if type(value) not in (kinds or (int, float)):
        raise TypeError("its score is not made of numbers")
    if not least <= value <= _LARGEST_NUMBER:
        raise ValueError("its score is out of range")
    return value  # type: ignore[no-any-return]
