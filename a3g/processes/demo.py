"""What `a3g demo` does: one film of all 32 stages, a small animation of it, and the scorecard as a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from a3g.algorithms import algorithm_class
from a3g.demo_config import DemoConfig
from a3g.errors import UserError
from a3g.files import write_atomically
from a3g.game.emulators import resolve_emulator
from a3g.game.rules import Outcome
from a3g.game.stages import STAGES, WHOLE_GAME
from a3g.processes.evaluation import Evaluator
from a3g.processes.films import GRID_FRAMES_PER_SECOND, film_grid
from a3g.processes.process import compute_on_one_core
from a3g.reporting.animation import Animation
from a3g.reporting.say import say
from a3g.reporting.scorecard import StageCard, draw_scorecard
from a3g.runs.playable import default_weights_path, find_weights
from a3g.runs.recordings import RecordedEpisode, Recording
from a3g.runs.scores import EpisodeResult, results_to_json, wilson_interval

FILM, ANIMATION, PICTURE, RESULTS = "stages.mp4", "stages.webp", "scorecard.png", "scorecard.json"
_COLUMNS = 8
# The animation: five pictures of each second of the game, shown twice as fast, the first 40 seconds.
_PICTURES_PER_SECOND, _SPEED, _SECONDS, _WIDTH = 5, 2, 40, 640
# The seed of the first episodes of all stages; further ones are so far apart that none meets another's.
_SEEDS_APART = 1_000


def demo(config: DemoConfig) -> int:
    """Play and draw; returns the exit code.

    Raises:
        UserError: if weights, engine or results are missing, or the folder can't be written into.
    """
    try:
        config.output.mkdir(parents=True, exist_ok=True)
        if config.scorecard is not None:
            _draw(_read_results(config.scorecard), config.output, config.scorecard.name)
            return 0
        return _play_and_film(config)
    except OSError as error:
        raise UserError(f"Can't write into the folder {config.output}: {error.strerror or error}.") from error


def _play_and_film(config: DemoConfig) -> int:
    path, weights = find_weights(config.weights or default_weights_path(config.load_model_dir, (WHOLE_GAME,)))
    engine = resolve_emulator(config.emulator)
    compute_on_one_core()
    game = replace(
        weights.game,
        sticky_actions=config.sticky_actions,
        time_per_stage=config.time_per_stage,
        noop_max=30,
        episodic_life=False,
    )
    seeds = {stage: config.seed + i for i, stage in enumerate(STAGES)}
    first: dict[int, RecordedEpisode] = {}

    def note(result: EpisodeResult, actions: list[int]) -> None:
        if result.seed in seeds.values():
            first[result.seed] = RecordedEpisode.of(result, actions)

    say(f"a3g demo: plays {config.episodes} episodes of each of the {len(STAGES)} stages with {path}, on {engine}")
    evaluator = Evaluator(algorithm_class(weights.algorithm), engine, game)
    planned = [(stage, seeds[stage] + number * _SEEDS_APART) for number in range(config.episodes) for stage in STAGES]
    try:
        results = evaluator.play(weights.build().to(torch.device("cpu")), planned, on_actions=note)
    finally:
        evaluator.close()
    write_atomically(config.output / RESULTS, json.dumps(results_to_json(results), indent=1).encode())
    say(f"results: {config.output / RESULTS}")
    sticky = f", {config.sticky_actions:.0%} sticky actions" if config.sticky_actions else ""
    _draw(results_to_json(results), config.output, f"{path.name} after {weights.agent_steps:,} agent steps{sticky}")
    say("a3g demo: films the first episode of every stage")
    every = GRID_FRAMES_PER_SECOND // _PICTURES_PER_SECOND
    animation = Animation(_WIDTH, every, _SECONDS * _PICTURES_PER_SECOND, round(1000 / (_SPEED * _PICTURES_PER_SECOND)))
    recording = Recording(weights.agent_steps, game, engine, tuple(first[seeds[stage]] for stage in STAGES))
    film_grid(recording, config.output / FILM, _COLUMNS, animation.add)
    say(f"film: {config.output / FILM}")
    size = animation.write(config.output / ANIMATION)
    say(f"animation: {config.output / ANIMATION} ({size / 1e6:.1f} MB)")
    return 0


def _draw(results: Mapping[str, Any], folder: Path, what: str) -> None:
    cards = cards_of(results["episodes"])
    cleared = sum(card.cleared > 0 for card in cards)
    title = f"{what}: {cleared} of {len(cards)} stages cleared at least once"
    draw_scorecard(cards, [str(stage) for stage in STAGES], title, folder / PICTURE)
    say(f"scorecard: {folder / PICTURE}")


def cards_of(episodes: Sequence[Mapping[str, Any]]) -> list[StageCard]:
    """Results of single-stage episodes, summed up by stage.

    Raises:
        KeyError, TypeError: if they are none.
    """
    cards = []
    for stage in dict.fromkeys(str(each["stage"]) for each in episodes):
        played = [each for each in episodes if each["stage"] == stage]
        cleared = sum(each["outcome"] == Outcome.CLEARED for each in played)
        furthest = max(int(each["progress"]) for each in played)
        cards.append(StageCard(stage, len(played), cleared, wilson_interval(cleared, len(played)), furthest))
    return cards


def _read_results(path: Path) -> Mapping[str, Any]:
    """The content of a file of results.

    Raises:
        UserError: if there is none.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        if not cards_of(content["episodes"]):
            raise ValueError("it has no episodes")
    except OSError as error:
        raise UserError(f"Can't read the results {path}: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is no file of results (gym_eval.py --json writes one, and a run's scorecard.json is one): {error}."
        ) from error
    return content
