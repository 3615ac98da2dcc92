"""The process that serves the watch page of a run, and the pages of runs that are over."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import setproctitle
import uvicorn

from a3g.config import TrainConfig
from a3g.eval_config import EvalConfig
from a3g.files import looking_into
from a3g.game.options import GameOptions
from a3g.processes.process import compute_on_one_core, prepare_process
from a3g.processes.run_end import collect_stop_signals
from a3g.processes.shared_run import SharedRun
from a3g.processes.watch_channel import WatchChannel
from a3g.processes.watch_runs import EvaluationRun, FinishedRun, TrainingRun
from a3g.reporting.say import say
from a3g.reporting.watch.address import bind, url
from a3g.reporting.watch.app import make_app

TITLE = "a3g watch"
# The page gives way to training.
NICENESS = 10
POLL_SECONDS = 0.25
# More connections than this are refused; viewers are fewer, see `MOST_VIEWERS`.
MOST_CONNECTIONS = 192
LARGEST_MESSAGE = 4096


def run_watch_server(config: TrainConfig, shared: SharedRun, folder: Path, listening: socket.socket) -> None:
    """Entry point of the process; runs until the launcher says stop.

    Args:
        folder: the run's.
        listening: the socket to serve at.
    """
    prepare_process(TITLE)
    assert shared.watch is not None
    channel: WatchChannel = shared.watch
    run = TrainingRun(config, shared, folder)
    serve(run, config.watch_host, listening, lambda: bool(shared.control.stop), lambda: channel.heartbeats.beat(0))


def serve(
    run: Any, host: str, listening: socket.socket, should_stop: Callable[[], bool], beat: Callable[[], None] = lambda: None
) -> None:
    """Serve a run's page until told to stop.

    Args:
        run: a `a3g.reporting.watch.app.WatchedRun`.
        host: name that it is served at.
        listening: socket to serve at.
        should_stop: asked several times a second.
        beat: called as often, as a sign of life.
    """
    os.nice(NICENESS)
    cv2.setNumThreads(1)
    server = _Server(
        uvicorn.Config(
            make_app(run, host),
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            lifespan="off",
            proxy_headers=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_keep_alive=5,
            ws_max_size=LARGEST_MESSAGE,
            ws_max_queue=4,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=1,
        )
    )

    async def main() -> None:
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        while not serving.done() and not should_stop():
            beat()
            await asyncio.wait({serving}, timeout=POLL_SECONDS)
        server.should_exit = True
        await asyncio.wait({serving}, timeout=3.0)

    asyncio.run(main())


class _Server(uvicorn.Server):
    """Leaves signals to those who know what they mean."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run_evaluation_server(
    config: EvalConfig, channel: WatchChannel, game: GameOptions, weights: Path, agent_steps: int, listening: socket.socket
) -> None:
    """Entry point of the process that shows an evaluation; it ends with the evaluation. Arguments as in `EvaluationRun`."""
    prepare_process(TITLE)
    serve(EvaluationRun(config, channel, game, weights, agent_steps), config.watch_host, listening, lambda: False)


def serve_finished_run(folder: Path, host: str, port: int) -> int:
    """Show a run's folder until Ctrl-C; returns the exit code.

    Raises:
        UserError: if it is no run's folder, or the address can't be used.
    """
    setproctitle.setproctitle(TITLE)
    compute_on_one_core()
    with looking_into(folder):
        run = FinishedRun(folder)
    received: list[signal.Signals] = []
    with bind(host, port) as listening, collect_stop_signals(received):
        say(f"a3g: watch it at {url(listening, host)}, Ctrl-C ends the page")
        serve(run, host, listening, lambda: bool(received))
    return 0 if received and received[0] == signal.SIGINT else 128 + received[0] if received else 0
