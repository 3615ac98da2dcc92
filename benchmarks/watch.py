"""What the watch page costs training, and how long a key takes to its picture.

    python -m benchmarks.watch --json FILE

Trainings take turns: without the page, with the page and nobody looking, with one viewer that asks for every picture. Several
workers never do the same twice, and how fast they are varies by more than the page costs. So it is one worker with the same
seed, which repeats exactly, and the training with all its processes has to make do with one core: what the page takes, the
worker lacks. With more cores the page's share is smaller. The viewer's own work, a browser's, is on another core: it mostly
runs on another machine, so here it decodes nothing.
Then a player presses a key again and again, while a training uses all cores and on a machine that does nothing else.
"""

from __future__ import annotations

import json
import os
import re
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

import tyro
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from benchmarks.training_run import machine

ROOT = Path(__file__).resolve().parent.parent
_URL = re.compile(r"watch it at http://([\d.:]+)/")
_RIGHT = 128


@dataclass(frozen=True)
class Options:
    """Measure what the watch page costs."""

    flags: str = "--preset quick --env SuperMarioBros-1-1-v0"
    """Flags of main.py, in one string."""
    agent_steps: int = 25_000
    """Of each training."""
    rounds: int = 5
    """How often the three take turns."""
    presses: int = 100
    """Keys pressed for the latency."""
    json: Path | None = None
    """Write the figures here."""


@contextmanager
def running(command: list[str], core: int | None = None) -> Iterator[str]:
    """A program that says where its page is; gives host and port, empty without a page. Ends with the program.

    Args:
        core: the only one that it may use; None: all.
    """
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if core is not None:
        os.sched_setaffinity(process.pid, {core})  # before it starts any other process
    assert process.stdout is not None
    address = ""
    if "--watch" in command or "watch" in command:
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


def train(folder: Path, name: str, options: Options, page: bool, viewer: bool) -> float:
    """Agent steps per second of a training."""
    command = [sys.executable, "main.py", *options.flags.split(), "--total-steps", str(options.agent_steps)]
    command += ["--workers", "1", "--test-interval", "100000"]
    command += ["--log-dir", str(folder), "--save-model-dir", str(folder / "models"), "--run-name", name]
    command += ["--watch", "0"] if page else []
    ends = threading.Event()
    with running(command, min(os.sched_getaffinity(0))) as address:
        looking = threading.Thread(target=look_on, args=(address, ends), daemon=True)
        if viewer:
            looking.start()
    ends.set()
    summary: dict[str, Any] = json.loads((folder / name / "summary.json").read_text())
    return float(summary["agent_steps_per_second"])


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
    rates: dict[str, list[float]] = {"off": [], "nobody": [], "one viewer": []}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for turn in range(options.rounds):
            for name, page, viewer in (("off", False, False), ("nobody", True, False), ("one viewer", True, True)):
                rates[name].append(train(folder, f"{name.replace(' ', '-')}-{turn}", options, page, viewer))
                print(f"{name}: {rates[name][-1]:,.0f} agent steps/s", flush=True)
        command = [sys.executable, "main.py", *options.flags.split(), "--max-minutes", "2", "--log-dir", place]
        command += ["--save-model-dir", str(folder / "models"), "--run-name", "played", "--watch", "0"]
        with running(command) as address:
            busy = describe(latencies(address, options.presses))
        with running([sys.executable, "-m", "a3g", "watch", str(folder / "played"), "--port", "0"]) as address:
            idle = describe(latencies(address, options.presses))
    # Each round's ratio is of trainings that ran after one another.
    ratios = {
        name: [rate / off for rate, off in zip(rates[name], rates["off"], strict=True)] for name in ("nobody", "one viewer")
    }
    results = {
        "machine": machine(),
        "cores": os.cpu_count(),
        "agent_steps_per_second": rates,
        "ratio_to_off": {name: statistics.median(values) for name, values in ratios.items()},
        "key_to_picture_while_training": busy,
        "key_to_picture": idle,
    }
    print(f"{machine()}, one core for the training and its page")
    for name, values in ratios.items():
        rounds = f"rounds {min(values):.3f} to {max(values):.3f}"
        print(f"{name}: {1 - statistics.median(values):.1%} slower than without the page ({rounds})")
    for name, latency in (("while a training runs", busy), ("on an idle machine", idle)):
        print(f"key to picture {name}: median {latency['median_ms']:.0f} ms, 95% within {latency['p95_ms']:.0f} ms")
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main(tyro.cli(Options))
