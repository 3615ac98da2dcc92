"""Evaluation on a Ray cluster: episodes as tasks, played by the code that plays them on one machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from a3g.algorithms import algorithm_class
from a3g.cluster.ray_cluster import connected, load_ray, nodes_for_us
from a3g.errors import UserError
from a3g.eval_config import EvalConfig
from a3g.game.options import GameOptions
from a3g.processes.evaluation import LANES, Evaluator, PlannedEpisode
from a3g.processes.play import evaluate
from a3g.processes.process import compute_on_one_core
from a3g.runs.scores import EpisodeResult
from a3g.runs.weights import Weights

# So many tasks for each processor: fewer leave some idle at the end, more load the weights more often.
TASKS_A_PROCESSOR = 4
POLL_SECONDS = 0.2


def evaluate_on_cluster(config: EvalConfig) -> int:
    """As `a3g.processes.play.evaluate`; the results are the same, since each depends on its episode's seed only."""
    shown = [name for name in ("render", "record_video", "new_gym_eval", "played_starts") if getattr(config, name)]
    shown += ["watch"] if config.watch is not None else []
    if shown:
        raise UserError(f"--{shown[0].replace('_', '-')} needs one machine: leave it out, or --cluster.")
    if config.gpu_id >= 0:
        raise UserError(f"--cluster plays on processors: leave --gpu-id {config.gpu_id} out.")
    with connected(config.cluster):
        nodes = nodes_for_us(config.cluster)
        return evaluate(config, _ClusterPlayer(config, sum(node.cpus for node in nodes)).play)


@dataclass(frozen=True)
class _ClusterPlayer:
    config: EvalConfig
    processors: int

    def play(
        self,
        weights: Weights,
        game: GameOptions,
        episodes: Sequence[PlannedEpisode],
        on_result: Callable[[int, EpisodeResult], None],
        stop: Callable[[], bool],
    ) -> None:
        """Play episodes; the arguments are those of `a3g.processes.play.Play`.

        Raises:
            UserError: if a machine lacks what the episodes need.
        """
        ray = load_ray()
        size = min(max(1, -(-len(episodes) // (TASKS_A_PROCESSOR * self.processors))), LANES)
        common = ray.put((weights, game, self.config.emulator, self.config.sample))
        # Ray repeats what was lost with its machine; an episode gives the same again.
        play = ray.remote(num_cpus=1, max_retries=-1)(play_episodes)
        waiting: dict[Any, int] = {
            play.remote(common, list(episodes[begin : begin + size])): begin for begin in range(0, len(episodes), size)
        }
        while waiting and not stop():
            ready, _ = ray.wait(list(waiting), timeout=POLL_SECONDS)
            for task in ready:
                try:
                    results: list[EpisodeResult] = ray.get(task)
                except ray.exceptions.RayTaskError as error:
                    if isinstance(error.cause, UserError):
                        raise UserError(f"A machine of the cluster can't play: {error.cause}") from error
                    raise
                begin = waiting.pop(task)
                for offset, result in enumerate(results):
                    on_result(begin + offset, result)
        for task in waiting:
            ray.cancel(task, force=True)


def play_episodes(common: tuple[Weights, GameOptions, str, bool], episodes: list[PlannedEpisode]) -> list[EpisodeResult]:
    """One task, on whatever machine."""
    weights, game, emulator, sample = common
    compute_on_one_core()
    evaluator = Evaluator(algorithm_class(weights.algorithm), emulator, game)
    try:
        return evaluator.play(weights.build(), episodes, sample=sample)
    finally:
        evaluator.close()
