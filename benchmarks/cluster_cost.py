"""What a training on many machines costs: a model of bytes and throughput for 1 to 1,000 machines, from measured pieces.

    python -m benchmarks.cluster_cost                                 # measures the pieces, prints the model
    python -m benchmarks.cluster_cost --check 1 2 4 --json FILE       # and compares it with real Ray nodes on this machine

Pieces: time that a shard needs for an exchange, time that a machine needs for its half, size of a message, round trip of a
call, and how many updates a machine makes. The server is saturated, and has to be cut into shards, when its processors or its
network would be busy for more than UTILISATION of the time. With `--check`, the same number of workers trains under the
ordinary launcher and on 1, 2, 4 nodes, by turns. Agent steps per second vary by 5% from run to run, whatever the launcher; so
what counts beside them is how much processor time the workers get each second, which all else on the machine takes from them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
import tyro

from a3g.algorithms import algorithm_class
from a3g.cluster.compression import pack
from a3g.cluster.exchange import Exchanger
from a3g.cluster.server import ParameterShard, RuleSettings, ranges
from a3g.command_line import parse_train
from a3g.networks.flat_parameters import FlatParameters
from benchmarks.training_run import TrainingRun, machine, train

MACHINES = (1, 2, 4, 8, 16, 32, 64, 128, 250, 500, 1_000)
# A queue before a server that is busier than this grows long.
UTILISATION = 0.7
# Seconds until a training that has begun runs as it will.
SETTLING_SAMPLES = 10


@dataclass(frozen=True)
class Options:
    """Work out what many machines cost."""

    flags: str = "--preset quick"
    """Flags of main.py, in one string: the network."""
    rule: str = "additive"
    updates: int = 32
    """--cluster-updates."""
    workers: int = 32
    """Of each machine in the model."""
    updates_per_second: float = 2.0
    """Of each worker; --check measures it."""
    agent_steps_per_update: float = 320.0
    gigabits: float = 10.0
    """The network at the server, in each direction."""
    latency: float = 0.001
    """Seconds of a call and its reply between two machines."""
    repetitions: int = 20
    check: tuple[int, ...] = ()
    """Numbers of real nodes to train on, on this machine."""
    check_workers: int = 4
    """Workers together in each of those runs."""
    check_updates: int = 32
    """--cluster-updates of those runs."""
    check_minutes: float = 1.0
    json: Path | None = None
    """Write the figures here."""


@dataclass(frozen=True)
class Pieces:
    """What was measured."""

    parameters: int
    message_bytes: int
    """In each direction."""
    merge_seconds: float
    """Of one shard for all parameters."""
    machine_seconds: float
    """Of a machine, without waiting."""


@dataclass(frozen=True)
class Prediction:
    """The model for one number of machines."""

    machines: int
    exchanges_per_second: float
    megabytes_per_second: float
    """At the server, in each direction, all shards together."""
    shards: int
    """Fewest with which no shard is saturated."""
    reply_seconds: float
    staleness: float
    """Merges of other machines while a machine makes its difference and waits for the reply."""
    overhead: float
    """Share of a machine's processor time that exchanges take."""
    agent_steps_per_second: float


def median_seconds(call: Callable[[], Any], repetitions: int) -> float:
    """Processor time, which other programs on this machine change little."""
    times = []
    for _ in range(repetitions):
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    return statistics.median(times)


def measure(options: Options) -> Pieces:
    config = parse_train(shlex.split(options.flags))
    flat = FlatParameters(algorithm_class(config.algorithm).build_model(config.network_spec())).parameters
    shard = ParameterShard(RuleSettings(options.rule, config.lr, config.adam_eps))
    shard.load(flat.numpy(), {}, 0)
    weights, waited, replies = flat.clone(), [0.0], [0]
    change = pack(1e-4 * torch.randn_like(flat))[0]

    def merge() -> None:
        shard.exchange("merged", replies[0], 1, None if replies[0] == 0 else change)
        replies[0] += 1

    def send(updates: int, messages: Any) -> list[Any]:
        began = time.process_time()
        reply = shard.exchange("machine", messages[0][0], updates, messages[0][1])
        waited[0] += time.process_time() - began
        return [reply]

    exchanger = Exchanger(weights, ranges(len(flat), 1), False, send)
    exchanger.exchange(0)
    merge()
    merge_seconds = median_seconds(merge, options.repetitions)
    waited[0], began = 0.0, time.process_time()
    for _ in range(options.repetitions):
        weights += 1e-5
        exchanger.exchange(1)
    machine_seconds = (time.process_time() - began - waited[0]) / options.repetitions
    return Pieces(len(flat), change.nbytes, merge_seconds, machine_seconds)


def predict(machines: int, pieces: Pieces, options: Options) -> Prediction:
    """Exchanges come at random moments (a queue with Poisson arrivals and a fixed service time, Pollaczek-Khinchine)."""
    updates = options.workers * options.updates_per_second
    rate = machines * updates / options.updates
    bytes_per_second = rate * pieces.message_bytes
    limit = options.gigabits * 1e9 / 8
    shards = max(1, -int(-rate * pieces.merge_seconds // UTILISATION), -int(-bytes_per_second // (UTILISATION * limit)))
    service = pieces.merge_seconds / shards
    busy = rate * service
    queue = busy * service / (2 * (1 - busy))
    reply = options.latency + service + queue + 2 * pieces.message_bytes / shards / limit
    interval = options.updates / updates
    overhead = pieces.machine_seconds / interval / options.workers
    return Prediction(
        machines,
        rate,
        bytes_per_second / 1e6,
        shards,
        reply,
        (machines - 1) / machines * rate * (interval + reply),
        overhead,
        machines * updates * options.agent_steps_per_update * (1 - overhead),
    )


class WorkerTime:
    """How many cores the workers on this machine have while this is entered, once they have all begun."""

    def __init__(self) -> None:
        self.cores = 0.0
        self._samples: list[tuple[float, dict[int, float]]] = []
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> WorkerTime:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()
        most = max((len(taken) for _, taken in self._samples), default=0)
        whole = [(at, taken) for at, taken in self._samples if len(taken) == most]
        if len(whole) > SETTLING_SAMPLES + 1:
            (began, before), (ended, after) = whole[SETTLING_SAMPLES], whole[-1]
            self.cores = sum(after[pid] - before.get(pid, 0.0) for pid in after) / (ended - began)

    def _sample(self) -> None:
        while not self._ends.wait(1.0):
            taken: dict[int, float] = {}
            for process in psutil.process_iter():
                with contextlib.suppress(psutil.Error):
                    if " ".join(process.cmdline()).startswith("a3g train"):
                        times = process.cpu_times()
                        taken[process.pid] = times.user + times.system
            if taken:
                self._samples.append((time.monotonic(), taken))


def check(options: Options, folder: Path) -> list[dict[str, Any]]:
    """The same workers under the ordinary launcher and on real nodes."""
    from tests.ray_nodes import ENVIRONMENT, Nodes

    os.environ.update(ENVIRONMENT)
    flags = [*shlex.split(options.flags), "--env", "SuperMarioBros-1-1-v0", "--max-minutes", str(options.check_minutes)]
    found = []
    for number in options.check:
        workers = max(options.check_workers // number, 1)
        with WorkerTime() as time_alone:
            alone = train(folder, f"{number}-alone", [*flags, "--workers", str(workers * number)])
        with Nodes(cpus=workers) as nodes:
            for _ in range(number - 1):
                nodes.add()
            more = ["--workers", str(workers), "--cluster", nodes.address, "--cluster-rule", options.rule]
            more += ["--cluster-updates", str(options.check_updates)]
            with WorkerTime() as time_together:
                together = train(folder, f"{number}-nodes", [*flags, *more])
        shares = {"alone_worker_cores": time_alone.cores, "cluster_worker_cores": time_together.cores}
        found.append({**compare(number, workers, alone, together), **shares})
        print(json.dumps(found[-1]), flush=True)
    return found


def compare(nodes: int, workers: int, alone: TrainingRun, together: TrainingRun) -> dict[str, Any]:
    """Speeds as a ratio of two runs, one after the other, and the server's bytes as the model's share of them."""

    def rate(name: str) -> float:
        values = [value for _, _, value in together.curve(name)]
        return statistics.median(values) if values else 0.0

    updates = together.summary["updates"] / together.summary["seconds"]
    return {
        "nodes": nodes,
        "workers_per_node": workers,
        "alone_agent_steps_per_second": alone.agent_steps_per_second,
        "cluster_agent_steps_per_second": together.agent_steps_per_second,
        "ratio": together.agent_steps_per_second / alone.agent_steps_per_second,
        "updates_per_second": updates,
        "received_mb_per_second": rate("cluster/received_mb_per_second"),
        "sent_mb_per_second": rate("cluster/sent_mb_per_second"),
        "staleness": rate("cluster/staleness"),
        "exchange_seconds": rate("cluster/exchange_seconds"),
    }


def main() -> None:
    options = tyro.cli(Options)
    torch.set_num_threads(1)
    pieces = measure(options)
    print(
        f"{pieces.parameters:,} parameters: {pieces.message_bytes / 1e6:.2f} MB a message; an exchange takes the server "
        f"{1e3 * pieces.merge_seconds:.1f} ms and the machine {1e3 * pieces.machine_seconds:.1f} ms"
    )
    predictions = [predict(machines, pieces, options) for machines in MACHINES]
    heading = "machines", "exchanges/s", "MB/s each way", "shards", "reply ms", "staleness", "overhead", "agent steps/s"
    print("".join(f"{name:>15}" for name in heading))
    for each in predictions:
        cells = (
            f"{each.machines:,}",
            f"{each.exchanges_per_second:,.1f}",
            f"{each.megabytes_per_second:,.1f}",
            f"{each.shards}",
            f"{1e3 * each.reply_seconds:.1f}",
            f"{each.staleness:,.1f}",
            f"{each.overhead:.2%}",
            f"{each.agent_steps_per_second:,.0f}",
        )
        print("".join(f"{cell:>15}" for cell in cells))
    checked: list[dict[str, Any]] = []
    if options.check:
        with tempfile.TemporaryDirectory() as folder:
            checked = check(options, Path(folder))
        for found in checked:
            expected = found["updates_per_second"] / options.check_updates * pieces.message_bytes / 1e6
            found["model_mb_per_second"] = expected
            print(
                f"{found['nodes']} nodes: {found['ratio']:.0%} of one launcher's agent steps/s with as many workers, whose "
                f"processes get {found['cluster_worker_cores']:.2f} cores instead of {found['alone_worker_cores']:.2f}; the "
                f"server gets {found['received_mb_per_second']:.3f} MB/s, the model says {expected:.3f}"
            )
    if options.json is not None:
        content = {
            "machine": machine(),
            "options": {name: value for name, value in asdict(options).items() if name != "json"},
            "pieces": asdict(pieces),
            "model": [asdict(each) for each in predictions],
            "checked": checked,
        }
        options.json.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
