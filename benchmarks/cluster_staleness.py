"""Learning against staleness on many machines: they are simulated in one process, and their messages are delayed.

    python -m benchmarks.cluster_staleness --machines 2 8 64 --delays 0 4 16 --json FILE --picture FILE

Every simulated machine is a real worker on the real game with a shared model of its own; the server and both halves of the
exchange are those of `--cluster`. Machines take turns, a rollout each, so that nothing depends on this machine's speed: a delay
is counted in rollouts that a machine plays between sending a difference and getting the reply. All machines are equally fast,
so that each merges once between two of another's: what a delay changes is how old a difference is. All runs learn stage 1-1
for the same number of agent steps, summed over their machines.
"""

from __future__ import annotations

import json
import math
import shlex
import statistics
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
import tyro

from a3g.algorithms import algorithm_class
from a3g.cluster.compression import Packed
from a3g.cluster.exchange import Exchanger
from a3g.cluster.rules import make_rule
from a3g.cluster.server import ParameterShard, Reply, RuleSettings
from a3g.command_line import parse_train
from a3g.config import TrainConfig
from a3g.processes.counters import STAGE_INDEX, StageCount
from a3g.processes.shared_run import SharedRun
from a3g.processes.worker import make_worker
from benchmarks.training_run import machine as describe_machine

mpl.use("Agg")
from matplotlib import pyplot

STAGE = "1-1"


@dataclass(frozen=True)
class Options:
    """Measure what staleness across machines costs."""

    machines: tuple[int, ...] = (2, 4, 8, 16, 32, 64)
    delays: tuple[int, ...] = (0, 4, 16)
    """Rollouts that a machine plays between sending a difference and getting the reply."""
    rules: tuple[str, ...] = ("additive", "downpour", "easgd", "diloco")
    seeds: tuple[int, ...] = (1, 2)
    updates: int = 8
    """Of a machine between two exchanges."""
    flags: str = "--preset quick"
    """Flags of main.py, in one string."""
    total_steps: int = 300_000
    """Agent steps of each run, summed over its machines."""
    json: Path | None = None
    """Write the figures here."""
    picture: Path | None = None
    """Draw them here."""


class Turns:
    """Lets threads run one at a time, in a fixed order."""

    def __init__(self, number: int) -> None:
        self._changed, self._playing, self._place = threading.Condition(), list(range(number)), 0

    def wait(self, machine: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._playing[self._place] == machine)

    def pass_on(self, machine: int, leaves: bool = False) -> None:
        with self._changed:
            if leaves:
                self._playing.remove(machine)
            else:
                self._place += 1
            self._place = self._place % len(self._playing) if self._playing else 0
            self._changed.notify_all()


class Machine:
    """One worker with a model of its own, as a thread."""

    def __init__(self, number: int, config: TrainConfig, simulation: Simulation) -> None:
        self.number, self.simulation, self.updates = number, simulation, 0
        model = algorithm_class(config.algorithm).build_model(config.network_spec())
        self.shared = SharedRun(model, config)
        self.worker = make_worker(0, replace(config, seed=config.seed + 1_000_003 * number), self.shared, torch.device("cpu"))
        weights = self.shared.model.weights.detach()
        elastic = make_rule(simulation.rule, 0, 1.0, 1.0).is_elastic
        self.exchanger = Exchanger(weights, [slice(0, len(weights))], elastic, self.send)
        self.staleness: list[float] = []
        self.ages: list[int] = []
        """Of each difference when it was merged: agent steps, of all machines, since the parameters that it began with."""
        self.began_at = 0

    def run(self) -> None:
        turns, options = self.simulation.turns, self.simulation.options
        turns.wait(self.number)
        self.is_joining = True
        self.exchanger.exchange(0)
        self.is_joining = False
        while self.simulation.agent_steps < options.total_steps:
            self.play_rollout()
            if self.updates >= options.updates:
                self.exchanger.exchange(self.updates)
                self.staleness.append(self.exchanger.staleness)
                self.updates = 0
        self.worker.collector.close()
        turns.pass_on(self.number, leaves=True)

    def play_rollout(self) -> None:
        """One turn: what `Worker.run` does once."""
        worker, simulation = self.worker, self.simulation
        worker.store.pull()
        worker.algorithm.begin_rollout(simulation.agent_steps)
        rollout = worker.collector.collect()
        for metrics in worker.algorithm.updates(rollout):
            if math.isfinite(metrics["gradient_norm"]):
                worker.store.push(worker.algorithm.learning_rate)
            worker.store.pull()
            self.updates += 1
        worker.store.report(agent_steps=rollout.actions.numel(), episodes=rollout.episodes)
        simulation.agent_steps += rollout.actions.numel()
        simulation.note()
        simulation.turns.pass_on(self.number)
        simulation.turns.wait(self.number)

    def send(self, updates: int, messages: Sequence[tuple[int, Packed | None]]) -> list[Reply | None]:
        """Half of the delay before the server, half behind it; the machine plays on meanwhile."""
        delay = 0 if self.is_joining else self.simulation.delay
        for _ in range(delay // 2):
            self.play_rollout()
        if not self.is_joining:
            self.ages.append(self.simulation.agent_steps - self.began_at)
        self.began_at = self.simulation.agent_steps
        replies = [self.simulation.shard.exchange(str(self.number), messages[0][0], updates, messages[0][1])]
        for _ in range(delay - delay // 2):
            self.play_rollout()
        return replies


class Simulation:
    """One run."""

    def __init__(self, options: Options, rule: str, machines: int, delay: int, seed: int) -> None:
        self.options, self.rule, self.delay = options, rule, delay
        flags = [*shlex.split(options.flags), "--env", f"SuperMarioBros-{STAGE}-v0", "--workers", "1", "--seed", str(seed)]
        config = parse_train(flags)
        self.turns, self.agent_steps = Turns(machines), 0
        self.curve: list[tuple[int, float]] = []
        self.shard = ParameterShard(RuleSettings(rule, config.lr, config.adam_eps))
        torch.manual_seed(seed)
        self.machines = [Machine(number, config, self) for number in range(machines)]
        self.shard.load(self.machines[0].shared.model.weights.detach().numpy(), {}, 0)
        self.shard.set_machines(tuple(map(str, range(machines))))

    def run(self) -> dict[str, float]:
        threads = [threading.Thread(target=machine.run) for machine in self.machines]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        last = [progress for steps, progress in self.curve if steps > 0.75 * self.options.total_steps]
        merges = [number for machine in self.machines for number in machine.staleness]
        ages = [age for machine in self.machines for age in machine.ages]
        means = {name: statistics.mean(values or [0.0]) for name, values in (("staleness", merges), ("age", ages))}
        return {"progress": statistics.mean(last or [0.0]), **means}

    def note(self) -> None:
        """A point of the curve every hundredth of the run: how far episodes come, over the machines that have ended any."""
        if self.agent_steps * 100 // self.options.total_steps <= len(self.curve):
            return
        rows = [machine.shared.counters.stages[0, STAGE_INDEX[STAGE]] for machine in self.machines]
        known = [float(row[StageCount.MEAN_PROGRESS]) for row in rows if row[StageCount.EPISODES]]
        self.curve.append((self.agent_steps, statistics.mean(known or [0.0])))


def draw(figures: list[dict[str, Any]], options: Options, picture: Path) -> None:
    figure, axes = pyplot.subplots(1, len(options.rules), figsize=(4 * len(options.rules), 4), sharey=True, squeeze=False)
    for axis, rule in zip(axes[0], options.rules, strict=True):
        for delay in options.delays:
            chosen = [each for each in figures if each["rule"] == rule and each["delay"] == delay]
            axis.plot(
                [each["machines"] for each in chosen], [each["progress"] for each in chosen], "o-", label=f"delay {delay}"
            )
        axis.set_xscale("log", base=2)
        axis.set(title=rule, xlabel="simulated machines")
        axis.grid(alpha=0.3)
    axes[0][0].set(ylabel=f"{STAGE}: pixels of new ground, last quarter")
    axes[0][0].set_ylim(bottom=0)  # of all, once everything is drawn
    axes[0][0].legend()
    figure.suptitle(f"{options.flags}, {options.total_steps:,} agent steps, {len(options.seeds)} seeds", fontsize=9)
    figure.tight_layout()
    figure.savefig(picture, dpi=110)


def main() -> None:
    options = tyro.cli(Options)
    torch.set_num_threads(1)
    figures: list[dict[str, Any]] = []
    for rule in options.rules:
        for machines in options.machines:
            for delay in options.delays:
                runs = [Simulation(options, rule, machines, delay, seed).run() for seed in options.seeds]
                means = {name: statistics.mean(run[name] for run in runs) for name in runs[0]}
                figures.append({"rule": rule, "machines": machines, "delay": delay, **means, "runs": runs})
                print(
                    f"{rule}, {machines} machines, delay {delay} rollouts: x {means['progress']:,.0f} in the last quarter, "
                    f"differences {means['age']:,.0f} agent steps old, {means['staleness']:.1f} merges of others in between",
                    flush=True,
                )
    if options.json is not None:
        content = {"machine": describe_machine(), "flags": options.flags, "updates": options.updates, "results": figures}
        options.json.write_text(json.dumps(content, indent=1))
    if options.picture is not None:
        draw(figures, options, options.picture)


if __name__ == "__main__":
    main()
