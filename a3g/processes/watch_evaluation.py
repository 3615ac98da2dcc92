"""The watch page of an evaluation, which plays at the game's own speed while it is shown."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType

from a3g.eval_config import EvalConfig
from a3g.game.emulators import FRAMES_PER_SECOND, resolve_emulator
from a3g.game.options import GameOptions
from a3g.processes.fork_server import process_context, start_process
from a3g.processes.watch_channel import WatchChannel
from a3g.processes.watch_server import TITLE, run_evaluation_server
from a3g.processes.watch_views import EvaluationView
from a3g.reporting.watch.address import url
from a3g.runs.scores import EpisodeResult

_END_SECONDS = 2.0
_POLL_SECONDS = 0.1


class EvaluationPage:
    """Use as a context manager around the evaluation."""

    def __init__(
        self, config: EvalConfig, listening: socket.socket, game: GameOptions, weights: Path, agent_steps: int
    ) -> None:
        """
        Args:
            listening: the socket to serve at.
            game: that is played.
            weights: file of the weights that play.
            agent_steps: their age.
        """
        self.url = url(listening, config.watch_host)
        channel = WatchChannel(0, resolve_emulator(config.emulator), game.observation_shape, game.num_actions)
        self.view = EvaluationView(channel, config.episode_stages(), always=True)
        """To be told of the episodes."""
        self._channel = channel
        arguments = (config, channel, game, weights, agent_steps, listening)
        self._process = process_context().Process(target=run_evaluation_server, args=arguments, name=TITLE, daemon=True)
        self._step_seconds, self._next_at = game.skip_rate / FRAMES_PER_SECOND, 0.0

    def __enter__(self) -> EvaluationPage:
        start_process(self._process)
        self._channel.test_begins()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            self._process.terminate()
            self._process.join(_END_SECONDS)

    def note(self, results: Iterable[EpisodeResult]) -> None:
        """Tell the page which episodes have ended."""
        ended = list(results)
        cleared = sorted({stage for result in ended for stage in result.stages_cleared})
        self._channel.write_note({"episodes": len(ended), "cleared": cleared})

    def pace(self) -> bool:
        """Wait for the next agent step; returns False."""
        now = time.monotonic()
        self._next_at = max(self._next_at + self._step_seconds, now - self._step_seconds)
        time.sleep(max(self._next_at - now, 0.0))
        return False

    def wait(self, stop: Callable[[], bool]) -> None:
        """Leave the page up until told to stop."""
        self._channel.test_ended(0.0)
        note = self._channel.read_note()
        self._channel.write_note({**note, "over": True})
        while not stop() and self._process.is_alive():
            time.sleep(_POLL_SECONDS)
