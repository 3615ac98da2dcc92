"""What the watch page costs training, and how long a key takes to its picture.

    python -m benchmarks.watch --json FILE

How many agent steps a second a training makes varies by more than the page costs, from run to run and, on rented machines, from
minute to minute. So the two parts of the cost are measured where they arise. What a worker does for the page is timed in one
process, in which short stretches without the page, with nobody looking and with a viewer take turns many times. What the page's
own process takes is its processor time while a training uses all cores, with nobody looking and with one viewer, who asks for
every picture. The viewer's own work, a browser's, mostly runs on another machine; here it decodes nothing. The cost is the
worker's share, and the page's time as a share of all cores.

Then a player presses a key again and again, while a training uses all cores and on a machine that does nothing else.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
import tyro
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from a3g.algorithms import make_algorithm
from a3g.command_line import parse_train
from a3g.experience.make import make_collector
from a3g.game.emulators import resolve_emulator
from a3g.processes.watch_channel import WatchChannel
from a3g.processes.watch_views import WorkerView
from a3g.reporting.phases import PhaseClock
from benchmarks.training_run import machine

ROOT = Path(__file__).resolve().parent.parent
_URL = re.compile(r"watch it at http://([\d.:]+)/")
_RIGHT = 128


@dataclass(frozen=True)
class Options:
    """Measure what the watch page costs."""

    flags: str = "--preset quick --env SuperMarioBros-1-1-v0"
    """Flags of main.py, in one string."""
    seconds: float = 40.0
    """That the page's process is measured with nobody looking, and as long with a viewer."""
    rounds: int = 40
    """How often the worker's three kinds of stretches take turns."""
    rollouts: int = 1
    """In each stretch."""
    presses: int = 100
    """Keys pressed for the latency."""
    json: Path | None = None
    """Write the figures here."""


@contextmanager
def running(command: list[str]) -> Iterator[str]:
    """A program that says where its page is; gives host and port. Ends with the program."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    address = ""
    for line in process.stdout:
        if found := _URL.search(line):
            address = found[1]
            break
    drain = threading.Thread(target=process.stdout.read, daemon=True)
    drain.start()
    try:
        yield address
        if "watch" in command:
            process.send_signal(signal.SIGINT)
        process.wait()
    finally:
        process.kill()
        process.wait()


def look_on(address: str, ends: threading.Event) -> None:
    """One viewer, who asks for the next picture as soon as the last one is there."""
    while not ends.is_set():
        try:
            with connect(f"ws://{address}/live") as viewer:
                while not ends.is_set():
                    viewer.send("{}")
                    viewer.recv(5.0)
        except (OSError, WebSocketException, TimeoutError):
            time.sleep(0.5)  # the training has not begun, or has ended


def worker_costs(options: Options) -> dict[str, list[float]]:
    """How much longer a worker's rollout takes than without the page, as a share, for each round."""
    torch.set_num_threads(1)
    config = parse_train([*shlex.split(options.flags), "--workers", "1"])
    game = config.game_options()
    algorithm = make_algorithm(config, torch.device("cpu"))
    channel = WatchChannel(1, resolve_emulator(config.emulator), game.observation_shape, game.num_actions)
    view = WorkerView(channel, 0)
    is_shown = False

    def after_step(*arguments: Any) -> None:
        if is_shown:
            view.after_step(*arguments)

    collector = make_collector(config, 0, algorithm, 1, PhaseClock(), lambda: None, after_step=after_step)

    def stretch(page: bool, viewer: bool) -> float:
        nonlocal is_shown
        is_shown = page
        channel.want({0: {0}} if viewer else {})
        began = time.process_time()
        for _ in range(options.rollouts):
            rollout = collector.collect()
            if page:
                view.rollout_ended(rollout, algorithm)
            for _ in algorithm.updates(rollout):
                pass
        return time.process_time() - began

    kinds = {"off": (False, False), "nobody": (True, False), "one viewer": (True, True)}
    times = {name: [stretch(*kind)] for name, kind in kinds.items()}  # not counted: everything gets warm
    for turn in range(options.rounds):
        for name in (list(kinds), list(reversed(kinds)))[turn % 2]:
            times[name].append(stretch(*kinds[name]))
    collector.close()
    return {
        name: [after / before - 1 for after, before in zip(times[name][1:], times["off"][1:], strict=True)]
        for name in ("nobody", "one viewer")
    }


def page_costs(folder: Path, options: Options) -> dict[str, float]:
    """Processor seconds that the page's process takes: to start, and for each second with nobody and with one viewer."""
    minutes = (2 * options.seconds + 40) / 60
    command = [sys.executable, "main.py", *shlex.split(options.flags), "--max-minutes", str(minutes), "--watch", "0"]
    command += ["--log-dir", str(folder), "--save-model-dir", str(folder / "models"), "--run-name", "watched"]
    ends = threading.Event()
    with running(command) as address:
        time.sleep(20)
        page = next(each for each in psutil.process_iter() if " ".join(each.cmdline()).startswith("a3g watch"))
        found = {"start": taken(page)}
        for name, looks in (("nobody", False), ("one viewer", True)):
            if looks:
                threading.Thread(target=look_on, args=(address, ends), daemon=True).start()
                time.sleep(5)
            before, began = taken(page), time.monotonic()
            time.sleep(options.seconds)
            found[name] = (taken(page) - before) / (time.monotonic() - began)
        ends.set()
    return found


def taken(process: psutil.Process) -> float:
    """Processor seconds of a process so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def latencies(address: str, presses: int) -> list[float]:
    """Milliseconds from each key to the picture that was drawn with it."""
    times: list[float] = []
    with connect(f"ws://{address}/play?stage=1-1&ghost=demo", open_timeout=60) as player:
        player.recv(120)

        def header() -> dict[str, Any]:
            message = player.recv(10.0)
            assert isinstance(message, bytes)
            (length,) = struct.unpack_from(">I", message)
            content: dict[str, Any] = json.loads(message[4 : 4 + length])
            return content

        seen = header()["number"]
        for number in range(1, presses + 1):
            # Right and left in turn, so that Mario stays near the start.
            buttons = _RIGHT if number % 2 else _RIGHT >> 1
            began = time.perf_counter()
            player.send(json.dumps({"buttons": buttons, "input": number, "seen": seen}))
            while True:
                answer = header()
                seen = answer["number"]
                player.send(json.dumps({"buttons": buttons, "input": number, "seen": seen}))
                if answer["input"] == number and answer["frame"]:
                    break
                if answer["outcome"]:
                    return times
            times.append(1000 * (time.perf_counter() - began))
            time.sleep(0.013 * (number % 5))  # keys come at any time between two frames
    return times


def describe(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {"median_ms": statistics.median(ordered), "p95_ms": ordered[int(0.95 * (len(ordered) - 1))], "keys": len(ordered)}


def main(options: Options) -> None:
    worker = {name: statistics.median(shares) for name, shares in worker_costs(options).items()}
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        page = page_costs(folder, options)
        command = [sys.executable, "main.py", *shlex.split(options.flags), "--max-minutes", "2", "--log-dir", place]
        command += ["--save-model-dir", str(folder / "models"), "--run-name", "played", "--watch", "0"]
        with running(command) as address:
            busy = describe(latencies(address, options.presses))
        with running([sys.executable, "-m", "a3g", "watch", str(folder / "played"), "--port", "0"]) as address:
            idle = describe(latencies(address, options.presses))
    results = {
        "machine": machine(),
        "cores": cores,
        "worker": worker,
        "page_seconds": page,
        "cost": {name: worker[name] + page[name] / cores for name in worker},
        "key_to_picture_while_training": busy,
        "key_to_picture": idle,
    }
    print(f"{machine()}; the page's process takes {page['start']:.1f} s to start")
    for name, share in worker.items():
        print(
            f"{name}: {share + page[name] / cores:.1%} of {cores} cores: a worker takes {share:.1%} longer, the page's process "
            f"{page[name]:.1%} of one core"
        )
    for name, latency in (("while a training runs", busy), ("on an idle machine", idle)):
        print(f"key to picture {name}: median {latency['median_ms']:.0f} ms, 95% within {latency['p95_ms']:.0f} ms")
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main(tyro.cli(Options))
