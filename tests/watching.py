"""A watch page in a thread of the test's process, games that are played on it, and viewers of it."""

from __future__ import annotations

import contextlib
import json
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from websockets.sync.client import ClientConnection, connect

from a3g.algorithms import algorithm_class
from a3g.config import TrainConfig
from a3g.eval_config import EvalConfig
from a3g.game.emulators import resolve_emulator
from a3g.game.stages import STAGES
from a3g.processes.evaluation import Evaluator
from a3g.processes.watch_channel import WatchChannel
from a3g.processes.watch_runs import EvaluationRun
from a3g.processes.watch_server import serve
from a3g.processes.watch_views import EvaluationView
from a3g.reporting.watch.address import bind, url

PATIENCE_SECONDS = 120.0
SMALL = TrainConfig(network="conv4", hidden_size=16, lstm=False, time_per_stage=20)
SHIPPED = Path(__file__).parent.parent / "trained_models" / "SuperMarioBros-1-1-v0.safetensors"


def wait_for(what: Callable[[], Any]) -> Any:
    """Wait until `what` gives something."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("waited in vain")


class Page:
    """A page that is served until the end of the test."""

    def __init__(self, run: Any) -> None:
        self.run = run
        self._listening = bind("127.0.0.1", 0)
        self.port: int = self._listening.getsockname()[1]
        self.url = url(self._listening, "127.0.0.1").rstrip("/")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=serve, args=(run, "127.0.0.1", self._listening, self._stop.is_set), daemon=True)
        self._thread.start()

    def viewer(self, where: str = "live", **options: Any) -> ClientConnection:
        """A connection to `live` or `play`."""
        return connect(f"ws://127.0.0.1:{self.port}/{where}", open_timeout=PATIENCE_SECONDS, **options)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(PATIENCE_SECONDS)
        self._listening.close()


def unpack(message: Any) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A binary message of the page."""
    (length,) = struct.unpack_from(">I", message)
    header, at = json.loads(message[4 : 4 + length]), 4 + length
    parts = {}
    for name, size in header["parts"]:
        parts[name], at = message[at : at + size], at + size
    assert at == len(message)
    return header, parts


def ask(viewer: ClientConnection, **request: Any) -> tuple[dict[str, Any], dict[str, bytes]]:
    """One request and its answer."""
    viewer.send(json.dumps(request))
    return unpack(viewer.recv(PATIENCE_SECONDS))


class PlayedPage(Page):
    """An evaluation's page; a thread plays the first four stages with a small network until the end of the test."""

    def __init__(self) -> None:
        game = SMALL.test_options()
        stages = STAGES[:4]
        self.channel = WatchChannel(0, resolve_emulator("auto"), game.observation_shape, game.num_actions)
        config = EvalConfig(num_episodes=len(stages))
        self._ends = threading.Event()

        def play() -> None:
            torch.manual_seed(1)
            algorithm = algorithm_class("a3c")
            model = algorithm.build_model(SMALL.network_spec()).eval()
            view = EvaluationView(self.channel, stages)
            evaluator = Evaluator(algorithm, "auto", game)
            self.channel.test_begins()
            episodes = ((stages[i % len(stages)], i) for i in range(1_000_000))
            # Sampled, so that every game goes on in another way; and as slow as people play, or nothing else would have time.
            evaluator.play(model, episodes, sample=True, stop=lambda: self._ends.wait(0.03), observer=view)
            evaluator.close()

        self._player = threading.Thread(target=play, daemon=True)
        self._player.start()
        super().__init__(EvaluationRun(config, self.channel, game, SHIPPED, 1000))

    def close(self) -> None:
        self._ends.set()
        self._player.join(PATIENCE_SECONDS)
        super().close()


@contextlib.contextmanager
def closing(page: Any) -> Iterator[Any]:
    """Close a page at the end."""
    try:
        yield page
    finally:
        page.close()
