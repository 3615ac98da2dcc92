"""What `gym_eval.py` prints of the episodes that it played."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from a3g.eval_config import EvalConfig
from a3g.game.rules import Outcome
from a3g.game.stages import STAGES, WHOLE_GAME
from a3g.runs.scores import EpisodeResult, wilson_interval
from a3g.runs.weights import Weights

# More episodes than this are summed up by stage instead of listed.
MAX_LISTED_EPISODES = 40
_POSITIONS = {str(stage): i for i, stage in enumerate(STAGES)}


def report(results: Sequence[EpisodeResult], weights: Weights, config: EvalConfig) -> tuple[Table, str]:
    """A table of episodes, or of stages if there are many episodes, and closing lines.

    Args:
        results: of at least one episode.
        weights: that played.
        config: the evaluation's options.
    """
    table = Table(title=f"{config.env}, weights after {weights.agent_steps:,} agent steps", title_justify="left")
    whole_game = results[0].stage == WHOLE_GAME
    if len(results) > MAX_LISTED_EPISODES:
        _list_stages(table, results)
    else:
        _list_episodes(table, results, whole_game)
    cleared = sum(result.outcome == Outcome.CLEARED for result in results)
    stages = {stage for result in results for stage in result.stages_cleared}
    share = f"{cleared} of {len(results)} episodes cleared, {cleared / len(results):.1%}"
    lines = [f"{share} (95% interval {_interval(cleared, len(results))}); {len(stages)} different stages cleared."]
    if whole_game:
        lines.append(_furthest_game(results))
    return table, "\n" + "\n".join(lines)


def _list_episodes(table: Table, results: Sequence[EpisodeResult], whole_game: bool) -> None:
    game_headings = ("stages cleared", "lives lost") if whole_game else ()
    for heading in ("reached" if whole_game else "stage", "outcome", *game_headings, "x", "reward", "agent steps", "seed"):
        table.add_column(heading, justify="right")
    for result in results:
        colour = "green" if result.outcome == Outcome.CLEARED else "red"
        game = (str(len(result.stages_cleared)), str(result.lives_lost)) if whole_game else ()
        table.add_row(
            result.stage_reached if whole_game else result.stage,
            f"[{colour}]{result.outcome}",
            *game,
            f"{result.x_pos:,}",
            f"{result.reward:.2f}",
            f"{result.agent_steps:,}",
            f"{result.seed}",
        )


def _list_stages(table: Table, results: Sequence[EpisodeResult]) -> None:
    for heading in ("stage", "cleared", "clear rate", "95% interval", "mean x"):
        table.add_column(heading, justify="right")
    for stage in dict.fromkeys(result.stage for result in results):
        episodes = [result for result in results if result.stage == stage]
        cleared = sum(result.outcome == Outcome.CLEARED for result in episodes)
        mean_x = sum(result.progress for result in episodes) / len(episodes)
        table.add_row(
            stage,
            f"{cleared} of {len(episodes)}",
            f"{cleared / len(episodes):.1%}",
            _interval(cleared, len(episodes)),
            f"{mean_x:,.0f}",
        )


def _furthest_game(results: Sequence[EpisodeResult]) -> str:
    """How far the best whole game got, and whether it skipped stages through warp zones."""
    best = max(results, key=lambda result: (len(result.stages_cleared), _POSITIONS.get(result.stage_reached, 0)))
    cleared = ", ".join(best.stages_cleared) or "no stage"
    before = [stage for stage, position in _POSITIONS.items() if position < _POSITIONS.get(best.stage_reached, 0)]
    skipped = len(set(before) - set(best.stages_cleared))
    warps = f"{skipped} stages skipped through warp zones" if skipped else "no warp zone used"
    lives = f"{best.lives_lost} {'life' if best.lives_lost == 1 else 'lives'} lost"
    return f"The furthest game reached {best.stage_reached}: it cleared {cleared}; {lives}, {warps}."


def _interval(successes: int, trials: int) -> str:
    low, high = wilson_interval(successes, trials)
    return f"{low:.1%} to {high:.1%}"
