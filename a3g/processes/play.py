"""What `gym_eval.py` does: play episodes with trained weights, show and record them, print a table."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from a3g.algorithms import algorithm_class
from a3g.config_json import to_json
from a3g.errors import UserError
from a3g.eval_config import EvalConfig
from a3g.exploration.played_starts import PlayedStarts
from a3g.files import looking_into, standard_stream, write_output
from a3g.game.emulators import FRAMES_PER_SECOND, VISIBLE_HEIGHT, VISIBLE_WIDTH, Emulator, resolve_emulator
from a3g.game.options import GameOptions
from a3g.game.rules import FrameHook
from a3g.game.stages import WHOLE_GAME, Stage
from a3g.processes.evaluation import Evaluator, PlannedEpisode
from a3g.processes.play_report import report
from a3g.processes.process import check_gpus, compute_on_one_core, prepare_device
from a3g.processes.watch_evaluation import EvaluationPage
from a3g.reporting.video import VideoWriter
from a3g.reporting.watch.address import bind
from a3g.reporting.window import Window
from a3g.runs.playable import default_weights_path, find_weights
from a3g.runs.scores import EpisodeResult, results_to_json
from a3g.runs.weights import Weights


class Play(Protocol):
    """Plays episodes with weights, on other machines."""

    def __call__(
        self,
        weights: Weights,
        game: GameOptions,
        episodes: Sequence[PlannedEpisode],
        on_result: Callable[[int, EpisodeResult], None],
        stop: Callable[[], bool],
    ) -> None:
        """
        Args:
            weights: of the network that plays.
            game: as it is played.
            episodes: stages and seeds.
            on_result: called with each episode's number and result, in the order in which they end.
            stop: asked again and again; if true, what has not ended is left.
        """


def evaluate(config: EvalConfig, play_elsewhere: Play | None = None) -> int:
    """Play the episodes asked for, print and write the results; returns the exit code.

    Args:
        config: the options.
        play_elsewhere: plays on other machines, without pictures; by default this process plays.

    Raises:
        UserError: if weights, engine, GPU, display or a folder to write into are missing.
    """
    with ExitStack() as pages:
        listening = None if config.watch is None else pages.enter_context(bind(config.watch_host, config.watch))
        return _evaluate(config, play_elsewhere, listening, pages)


def _evaluate(config: EvalConfig, play_elsewhere: Play | None, listening: socket.socket | None, pages: ExitStack) -> int:
    """As `evaluate`.

    Args:
        listening: the socket to serve the watch page at; None without one.
        pages: the page ends with it.
    """
    weights_file, weights = _load(config)
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
            if not os.access(path if path.exists() and not path.is_file() else path.parent, os.W_OK):
                raise UserError(f"Can't write the results to {path}: {os.strerror(errno.EACCES)}.")
    # A table has no place in between the results that a program reads.
    console = Console(stderr=any(standard_stream(path) == 1 for path in json_paths))
    results: dict[int, EpisodeResult] = {}
    with ExitStack() as stack:
        show = _Show(config, stages, monitor if config.new_gym_eval else config.log_dir / "videos")
        stack.callback(show.close)
        played_starts = _played_starts(config, stages)
        if played_starts is not None:
            stack.callback(played_starts.close)
        evaluator = Evaluator(algorithm_class(weights.algorithm), config.emulator, game, device, played_starts)
        stack.callback(evaluator.close)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        progress = stack.enter_context(Progress(*columns, console=console, transient=True))
        task = progress.add_task("playing", total=len(stages))
        interrupted = stack.enter_context(_first_interrupt())

        page = None
        if listening is not None:
            page = pages.enter_context(EvaluationPage(config, listening, game, weights_file, weights.agent_steps))
            console.print(f"watch it at {page.url}", highlight=False)

        def on_result(index: int, result: EpisodeResult) -> None:
            results[index] = result
            if page is not None:
                page.note(results.values())
            show.end_episode()
            progress.advance(task)

        planned = [(stage, config.seed + i) for i, stage in enumerate(stages)]
        if play_elsewhere is not None:
            play_elsewhere(weights, game, planned, on_result, lambda: bool(interrupted))
        else:
            evaluator.play(
                model,
                planned,
                sample=config.sample,
                on_frame=show.hook_for if show.wanted else None,
                on_result=on_result,
                stop=lambda: bool(interrupted) or (page is not None and page.pace()),
                observer=None if page is None else page.view,
            )
    ended = [results[i] for i in sorted(results)]
    if interrupted:
        console.print(f"Stopped: {len(ended)} of {len(stages)} episodes ended.")
    if ended:
        console.print(*report(ended, weights, config))
    for video in show.videos:
        console.print(f"video: {video}", highlight=False, soft_wrap=True)
    content = {
        **results_to_json(ended),
        "weights": {
            "path": str(weights_file),
            "env": weights.env_id,
            "agent_steps": weights.agent_steps,
            "network": dataclasses.asdict(weights.network),
            "score": weights.score.to_json() if weights.score is not None else None,
        },
        "game": dataclasses.asdict(game),
        "settings": {**to_json(config), "emulator": resolve_emulator(config.emulator)},
    }
    for path in json_paths:
        _write_json(path, content)
    if page is not None and not interrupted:
        console.print("The page stays until Ctrl-C.")
        with _first_interrupt() as ends:
            page.wait(lambda: bool(ends))
    return 128 + signal.SIGINT if interrupted else 0


@contextlib.contextmanager
def _first_interrupt() -> Iterator[list[int]]:
    """Collect a first Ctrl-C instead of ending by it; a second one ends the program at once."""
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield received
    finally:
        signal.signal(signal.SIGINT, previous)


def _load(config: EvalConfig) -> tuple[Path, Weights]:
    """The weights to play with and their file; a single stage falls back on the whole game's."""
    path = config.weights or default_weights_path(config.load_model_dir, (config.env, WHOLE_GAME))
    path, weights = find_weights(path)
    if config.hidden_size is not None and config.hidden_size != weights.network.hidden_size:
        raise UserError(
            f"The weights have --hidden-size {weights.network.hidden_size}, not {config.hidden_size}: leave it out."
        )
    return path, weights


def _played_starts(config: EvalConfig, stages: Sequence[Stage | None]) -> PlayedStarts | None:
    """Where stages begin with --played-starts."""
    if not config.played_starts:
        return None
    return PlayedStarts(config.demos_dir, sorted({stage for stage in stages if stage is not None}), config.emulator)


class _Show:
    """The window and the videos of an evaluation."""

    def __init__(self, config: EvalConfig, stages: Sequence[Stage | None], folder: Path) -> None:
        self._config, self._stages, self._folder = config, stages, folder
        self._record = config.record_video or config.new_gym_eval
        self._window = Window("Super Mario Bros", FRAMES_PER_SECOND) if config.render else None
        self._video: VideoWriter | None = None
        self._path = folder
        self.videos: list[Path] = []
        if self._record:
            _make_folder(folder)

    @property
    def wanted(self) -> bool:
        return self._record or self._window is not None

    def hook_for(self, index: int) -> FrameHook | None:
        """What to do after every frame of episode `index`."""
        watched = self._window is not None and not self._window.is_closed and index % self._config.render_freq == 0
        if self._record:
            name = self._stages[index] or self._config.env
            path = self._folder / f"{self._config.env}_{index:03}_{name}_seed{self._config.seed + index}.mp4"
            with self._failing_without_end():
                self._video = VideoWriter(path, VISIBLE_HEIGHT, VISIBLE_WIDTH, frames_per_second=FRAMES_PER_SECOND)
                self._path = path

        def after_frame(emulator: Emulator) -> None:
            if watched and self._window is not None:
                self._window.show(emulator.rgb())
            if self._video is not None:
                with self._failing_without_end():
                    self._video.add(emulator.rgb())

        return after_frame if watched or self._video is not None else None

    def end_episode(self) -> None:
        if self._video is None:
            return
        with self._failing_without_end():
            self._video.close()
            self.videos.append(self._path)
            self._video = None

    def close(self) -> None:
        self.end_episode()
        if self._window is not None:
            self._window.close()

    @contextlib.contextmanager
    def _failing_without_end(self) -> Iterator[None]:
        """What can't be written, on a full disk say, ends the videos and not the evaluation."""
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            print(f"gym_eval.py: Can't write the video, goes on without: {reason}.", file=sys.stderr)
            if self._video is not None:
                self._video.abandon()
                self._path.unlink(missing_ok=True)
            self._video, self._record = None, False


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Can't write into the folder {folder}: {error.strerror}.") from error


def _write_json(path: Path, content: dict[str, Any]) -> None:
    try:
        write_output(path, json.dumps(content, indent=1).encode())
    except OSError as error:
        raise UserError(f"Can't write the results to {path}: {error.strerror}.") from error
    print(f"results: {path}", file=sys.stderr)
