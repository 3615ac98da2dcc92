"""What `gym_eval.py` does: play episodes with trained weights, show and record them, print a table."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from a3g.config import EvalConfig
from a3g.errors import UserError
from a3g.evaluation import Evaluator
from a3g.files import looking_into, write_atomically
from a3g.game.emulators import FRAMES_PER_SECOND, VISIBLE_HEIGHT, VISIBLE_WIDTH, Emulator
from a3g.game.rules import FrameHook, Outcome
from a3g.game.stages import Stage
from a3g.processes.process import check_gpus, compute_on_one_core, prepare_device
from a3g.reporting.video import VideoWriter
from a3g.reporting.window import Window
from a3g.scores import EpisodeResult, results_to_json, wilson_interval
from a3g.weights import Weights, load_weights, weights_path

# More episodes than this are summed up by stage instead of listed.
MAX_LISTED_EPISODES = 40


def evaluate(config: EvalConfig) -> int:
    """Play the episodes asked for, print and write the results; returns the exit code.

    Raises:
        UserError: if weights, engine, GPU, display or a folder to write into are missing.
    """
    weights = _load(config)
    check_gpus((config.gpu_id,))
    device = prepare_device(config.gpu_id)
    compute_on_one_core()
    torch.manual_seed(config.seed)
    model = weights.build().to(device)
    game = dataclasses.replace(
        weights.game,
        skip_rate=config.skip_rate or weights.game.skip_rate,
        noop_max=config.noop_max,
        sticky_actions=config.sticky_actions,
        time_per_stage=config.time_per_stage,
        max_episode_length=config.max_episode_length,
        episodic_life=False,
    )
    stages = config.episode_stages()
    monitor = config.log_dir / f"{config.env}_monitor"
    json_paths = [path for path in (config.json, monitor / "results.json" if config.new_gym_eval else None) if path]
    for path in json_paths:
        _make_folder(path.parent)  # now, not after an hour of episodes
        with looking_into(path):
            if path.is_dir():
                raise UserError(f"Can't write the results to {path}: it is a folder.")
    console = Console()
    with ExitStack() as stack:
        show = _Show(config, stages, monitor if config.new_gym_eval else config.log_dir / "videos")
        stack.callback(show.close)
        evaluator = Evaluator(config.emulator, game, device)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        progress = stack.enter_context(Progress(*columns, console=console, transient=True))
        task = progress.add_task("playing", total=len(stages))

        def on_result(index: int, result: EpisodeResult) -> None:
            show.end_episode()
            progress.advance(task)

        results = evaluator.play(
            model,
            [(stage, config.seed + i) for i, stage in enumerate(stages)],
            sample=config.sample,
            on_frame=show.hook_for if show.wanted else None,
            on_result=on_result,
        )
    console.print(*_report(results, weights, config))
    for path in show.videos:
        console.print(f"video: {path}", highlight=False, soft_wrap=True)
    for path in json_paths:
        _write_json(path, results)
    return 0


def _load(config: EvalConfig) -> Weights:
    """The weights to play with; a single stage falls back on the whole game's."""
    if config.weights is not None:
        weights = load_weights(config.weights)
    else:
        own, general = (weights_path(config.load_model_dir, env_id) for env_id in (config.env, "SuperMarioBros-v0"))
        with looking_into(config.load_model_dir):
            path = general if general.is_file() and not own.is_file() else own
        weights = load_weights(path)
    if config.hidden_size is not None and config.hidden_size != weights.network.hidden_size:
        raise UserError(
            f"The weights have --hidden-size {weights.network.hidden_size}, not {config.hidden_size}: leave it out."
        )
    return weights


class _Show:
    """The window and the videos of an evaluation."""

    def __init__(self, config: EvalConfig, stages: Sequence[Stage | None], folder: Path) -> None:
        self._config, self._stages, self._folder = config, stages, folder
        self._record = config.record_video or config.new_gym_eval
        self._window = Window("Super Mario Bros", FRAMES_PER_SECOND) if config.render else None
        self._video: VideoWriter | None = None
        self.videos: list[Path] = []
        if self._record:
            _make_folder(folder)

    @property
    def wanted(self) -> bool:
        return self._record or self._window is not None

    def hook_for(self, index: int) -> FrameHook | None:
        """What to do after every frame of episode `index`."""
        actions: list[Callable[[Emulator], None]] = []
        window = self._window
        if window is not None and index % self._config.render_freq == 0:
            actions.append(lambda emulator: window.show(emulator.rgb()))
        if self._record:
            name = self._stages[index] or self._config.env
            path = self._folder / f"{self._config.env}_{index:03}_{name}_seed{self._config.seed + index}.mp4"
            video = self._video = VideoWriter(path, VISIBLE_HEIGHT, VISIBLE_WIDTH, frames_per_second=FRAMES_PER_SECOND)
            self.videos.append(path)
            actions.append(lambda emulator: video.add(emulator.rgb()))

        def after_frame(emulator: Emulator) -> None:
            for action in actions:
                action(emulator)

        return after_frame if actions else None

    def end_episode(self) -> None:
        if self._video is not None:
            self._video.close()
            self._video = None

    def close(self) -> None:
        self.end_episode()
        if self._window is not None:
            self._window.close()


def _report(results: Sequence[EpisodeResult], weights: Weights, config: EvalConfig) -> tuple[Table, str]:
    """A table of episodes, or of stages if there are many episodes, and a closing line."""
    listed = len(results) <= MAX_LISTED_EPISODES
    table = Table(title=f"{config.env}, weights after {weights.agent_steps:,} agent steps", title_justify="left")
    headings = (
        ("stage", "outcome", "x", "reward", "agent steps", "seed")
        if listed
        else ("stage", "cleared", "clear rate", "95% interval", "mean x")
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    if listed:
        for result in results:
            colour = "green" if result.outcome == Outcome.CLEARED else "red"
            row = (
                f"[{colour}]{result.outcome}",
                f"{result.x_pos:,}",
                f"{result.reward:.2f}",
                f"{result.agent_steps:,}",
                f"{result.seed}",
            )
            table.add_row(result.stage, *row)
    else:
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
    cleared = sum(result.outcome == Outcome.CLEARED for result in results)
    stages = {stage for result in results for stage in result.stages_cleared}
    interval = _interval(cleared, len(results))
    share = f"{cleared} of {len(results)} episodes cleared, {cleared / len(results):.1%} (95% interval {interval})"
    return table, f"\n{share}; {len(stages)} different stages cleared."


def _interval(successes: int, trials: int) -> str:
    low, high = wilson_interval(successes, trials)
    return f"{low:.1%} to {high:.1%}"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Can't write into the folder {folder}: {error.strerror}.") from error


def _write_json(path: Path, results: Sequence[EpisodeResult]) -> None:
    try:
        write_atomically(path, json.dumps(results_to_json(results), indent=1).encode())
    except OSError as error:
        raise UserError(f"Can't write the results to {path}: {error.strerror}.") from error
    print(f"results: {path}", file=sys.stderr)
