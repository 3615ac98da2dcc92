"""The process that serves the watch page of a run, and the pages of runs that are over."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import uvicorn
from starlette.websockets import WebSocket

from a3g.config import TrainConfig
from a3g.game.buttons import BUTTON_A, BUTTON_B, BUTTON_DOWN, BUTTON_LEFT, BUTTON_RIGHT, BUTTON_UP
from a3g.game.options import ACTION_SETS, GameOptions
from a3g.processes.counters import Count
from a3g.processes.process import prepare_process
from a3g.processes.run_statistics import Run, read_status
from a3g.processes.shared_run import SharedRun
from a3g.processes.watch_channel import WatchChannel
from a3g.processes.watch_live import LiveGames
from a3g.reporting.metrics_registry import metric
from a3g.reporting.phases import PHASE_NAMES
from a3g.reporting.say import say
from a3g.reporting.status import SavingStatus
from a3g.reporting.step_rate import StepRate
from a3g.reporting.watch.app import make_app
from a3g.reporting.watch.run_files import Curves, read_json, settings_of, without_paths
from a3g.runs.paths import SCORECARD_NAME

TITLE = "a3g watch"
_BUTTON_SIGNS = {BUTTON_LEFT: "←", BUTTON_RIGHT: "→", BUTTON_UP: "↑", BUTTON_DOWN: "↓", BUTTON_A: "A", BUTTON_B: "B"}
# The page gives way to training.
NICENESS = 10
POLL_SECONDS = 0.25
# More connections than this are refused; viewers are fewer, see `MOST_VIEWERS`.
MOST_CONNECTIONS = 192
LARGEST_MESSAGE = 4096


class TrainingRun:
    """A run that goes on, as the page sees it."""

    def __init__(self, config: TrainConfig, shared: SharedRun, folder: Path) -> None:
        assert shared.watch is not None
        self.folder: Path | None = folder
        self._run = Run(config, folder, shared, None, -1)
        self._channel = shared.watch
        self._games = LiveGames(shared.watch, self.status)
        self._curves = Curves(folder)
        self._rate: StepRate | None = None
        self._worker_rates = [StepRate() for _ in range(config.workers)]
        self._beats = [(-1, 0.0)] * (config.workers + 1)

    def description(self) -> dict[str, Any]:
        config, game = self._run.config, self._run.config.game_options()
        return {
            "kind": "training",
            "name": self._run.folder.name,
            "env": config.env,
            "workers": config.workers,
            "lanes": config.lanes,
            "stages": [str(stage) for stage in config.test_stages()],
            "action_names": action_names(game),
            "subtitle": f"{config.env}, {config.algorithm}, {config.workers} workers with {config.lanes} games each",
            "settings": settings_of(config),
            "play": False,
        }

    def status(self) -> dict[str, Any]:
        note = self._channel.read_note()
        status = read_status(self._run, SavingStatus(**note.get("saving", {})), note.get("trouble", ""))
        # The launcher's own counts are not shared.
        seconds = note.get("seconds_before", 0.0) + self._run.shared.counters.seconds_since_first_step
        self._rate = self._rate or StepRate(seconds, status.agent_steps)
        return {
            "agent_steps": status.agent_steps,
            "rate": self._rate.update(seconds, status.agent_steps),
            "seconds": seconds,
            "updates": status.updates,
            "episodes": status.episodes,
            "skipped": status.skipped_updates,
            "restarts": note.get("restarts", 0),
            "restored": note.get("restored", 0),
            "trouble": without_paths(status.last_trouble),
            "saved_at": status.saving.saved_at,
            "not_saving": without_paths(status.saving.trouble),
            "tests": status.tests,
            "tested_agent_steps": status.tested_agent_steps,
            "testing": self._channel.is_testing,
            "rests": self._channel.seconds_to_test,
            "stages": [_stage(stage) for stage in status.stages],
            "metrics": {metric(name).heading: value for name, value in status.metrics.items()},
            "phases": dict(zip(PHASE_NAMES, status.phase_shares, strict=True)),
            "processes": self._processes(note.get("children", {}), seconds),
            "viewers": self._games.viewers,
        }

    def curves(self) -> dict[str, list[tuple[int, float, float]]]:
        return self._curves.read()

    def scorecard(self) -> dict[str, Any]:
        return read_json(self._run.folder / SCORECARD_NAME)

    async def live(self, websocket: WebSocket) -> None:
        await self._games.serve(websocket)

    async def play(self, websocket: WebSocket) -> None:
        await websocket.close(1013)

    def _processes(self, children: dict[str, int], seconds: float) -> list[dict[str, Any]]:
        """The workers and the tester: steps per second, seconds since the last sign of life, restarts."""
        shared, now = self._run.shared, time.monotonic()
        processes = []
        for number, (before, since) in enumerate(self._beats):
            beats = shared.control.heartbeats.count(number)
            if beats != before:
                self._beats[number] = beats, now
                since = now
            is_worker = number < self._run.config.workers
            title = f"a3g train {number}" if is_worker else "a3g test"
            rate = None
            if is_worker:
                rate = self._worker_rates[number].update(now, int(shared.counters.counts[number, Count.AGENT_STEPS]))
            processes.append(
                {"title": title, "rate": rate, "silent": now - since, "started": beats > 0, "restarts": children.get(title, 0)}
            )
        return processes


def action_names(game: GameOptions) -> list[str]:
    """The actions as the buttons that they hold."""
    return [
        "".join(sign for bit, sign in _BUTTON_SIGNS.items() if buttons & bit) or "·" for buttons in ACTION_SETS[game.actions]
    ]


def _stage(status: Any) -> dict[str, Any]:
    names = ("stage", "episodes", "clear_rate", "furthest", "tested", "test_clear_rate", "test_furthest", "best_clears")
    return {name: getattr(status, name) for name in names}


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


def announce(address: str) -> None:
    """Say where the page is."""
    say(f"a3g: the page is at {address}")
