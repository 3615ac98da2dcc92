"""Training on a Ray cluster, seen from the machine that started it: places machines, keeps the server and what it knows."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import setproctitle
from torch import Tensor

from a3g.cluster.ledger import MAX_MACHINES, Ledger
from a3g.cluster.machine import Machine
from a3g.cluster.ray_cluster import (
    Node,
    alive_nodes,
    answers,
    connected,
    head_of_cluster,
    load_ray,
    nodes_for_us,
    on_node,
    versions,
)
from a3g.cluster.reports import Coordinator, Directions
from a3g.cluster.rules import make_rule
from a3g.cluster.server_mirror import ServerMirror
from a3g.config import TrainConfig
from a3g.errors import UserError
from a3g.files import load_tensors
from a3g.processes.companion import MachineStatus
from a3g.processes.heartbeat import STARTING_FACTOR
from a3g.processes.launcher import launch
from a3g.processes.prepare import prepare_run
from a3g.processes.process import compute_on_one_core
from a3g.processes.run_statistics import Run
from a3g.processes.supervisor import MAX_DEATHS_WITHOUT_WORK, QUICK_DEATH_SECONDS, STOP_TIMEOUT_SECONDS, backoff
from a3g.reporting.say import say
from a3g.reporting.watch.address import bind
from a3g.runs.checkpoint import SERVER

NODES_SECONDS = 1.0
COLLECT_SECONDS = 0.5
# Ray's own driver ends itself, with nothing saved, when the head has been gone for a minute.
HEAD_SECONDS = 10.0
# A machine that is told to stop ends its rollout, hands over what it has learnt and clears up.
MACHINE_STOP_SECONDS = STOP_TIMEOUT_SECONDS + 14.0


def train_on_cluster(config: TrainConfig) -> int:
    """Run a training on all machines of a Ray cluster to its end and return the exit code.

    Raises:
        UserError: if something asked for isn't there; nothing has been changed then.
    """
    setproctitle.setproctitle("a3g launch")
    compute_on_one_core()
    with contextlib.ExitStack() as closing:
        # First of all, so that a port that is taken is said before anything is changed.
        listening = None if config.watch is None else closing.enter_context(bind(config.watch_host, config.watch))
        closing.enter_context(connected(config.cluster))
        nodes = nodes_for_us(config.cluster)
        run = prepare_run(config)
        try:
            processors = sum(min(node.cpus, config.workers) for node in nodes)
            say(f"a3g: {len(nodes)} machines with {processors} workers together; rule {config.cluster_rule}")
            training = ClusterTraining(run)
            code = launch(run, workers=False, companion=training, listening=listening)
        finally:
            run.close()
        if training.is_headless:  # Ray would wait for its head for a minute, and then kill this process
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        return code


@dataclass
class _Placed:
    """A machine that is running, as far as we know."""

    number: int
    key: str
    node: Node
    actor: Any
    result: Any
    placed_at: float
    reported_at: float


@dataclass
class _History:
    """How machines on a node have ended before."""

    quick_deaths: int = 0
    deaths_without_work: int = 0
    due_at: float = 0.0

    @property
    def is_hopeless(self) -> bool:
        """Whether nothing is started there any more."""
        return self.deaths_without_work >= MAX_DEATHS_WITHOUT_WORK


class ClusterTraining:
    """The driver's companion: all calls to Ray are started here and looked at when they are done, so nothing blocks."""

    def __init__(self, run: Run) -> None:
        self.messages: list[str] = []
        self._run, self._config, self._ray = run, run.config, load_ray()
        saved: dict[str, Tensor] = {}
        if run.resumed_from is not None:
            saved, _ = load_tensors(run.resumed_from, "checkpoint")
            saved = {name: tensor for name, tensor in saved.items() if name.startswith(SERVER)}
        self._ledger = Ledger(run.shared.counters, saved.get("server.machine_counts"))
        self._mirror = ServerMirror(run, saved, self.messages)
        self._is_elastic = make_rule(self._config.cluster_rule, 0, 1.0, 1.0).is_elastic
        self._placed: dict[str, _Placed] = {}
        self._history: dict[str, _History] = {}
        self._starts = 0
        self.is_headless = False
        """Whether Ray's head was lost; nothing is asked of Ray then."""
        self._head = head_of_cluster()
        self._asked_head_at, self._silent_since = -math.inf, math.inf
        self._coordinator: Any = None
        self._collecting: Any = None
        self._collected_at = -math.inf
        self._looked_at = 0.0
        self._says_none = False
        self._refused: UserError | None = None

    def tensors(self) -> Mapping[str, Tensor]:
        return {**self._ledger.tensors(), **self._mirror.tensors()}

    def start(self) -> None:
        """Start server and coordinator here, and a machine on every node."""
        here = on_node(self._ray.get_runtime_context().get_node_id(), soft=True)
        options = {"num_cpus": 0, "max_restarts": -1, "scheduling_strategy": here}
        self._coordinator = self._ray.remote(Coordinator).options(**options).remote()
        self._mirror.start(here)
        self._place_machines(time.monotonic())

    def poll(self, now: float) -> tuple[str, bool] | None:
        self._ask_head(now)
        if now >= self._silent_since:  # much of what follows would wait for it
            self.is_headless = now - self._silent_since >= HEAD_SECONDS
            return (f"Ray's head at {self._head} has not answered for {HEAD_SECONDS:g} s", True) if self.is_headless else None
        self._collect(now)
        self._mirror.poll(now)
        self._ledger.note_bytes(now, self._mirror.received_bytes, self._mirror.sent_bytes)
        self._ledger.publish()
        limit = self._config.total_steps
        if limit and self._run.shared.counters.agent_steps >= limit:
            return f"total_steps {limit} reached", False
        trouble = self._look_after_machines(now)
        if trouble is not None:
            return trouble, True
        if now - self._looked_at >= NODES_SECONDS:
            self._looked_at = now
            self._place_machines(now)
        return None

    def note(self, message: str) -> None:
        """Nobody else has to know."""

    def machines(self) -> Sequence[MachineStatus]:
        now = time.monotonic()
        return [
            MachineStatus(
                self._name(machine),
                self._ledger.agent_steps(machine.number),
                now - machine.reported_at,
                machine.reported_at > machine.placed_at,
            )
            for machine in self._placed.values()
        ]

    def stop(self) -> None:
        """Let the machines end, and take what they handed over."""
        if self._coordinator is None or self.is_headless:
            return
        self._finish_collecting(stop=True)
        results = [machine.result for machine in self._placed.values()]
        if results:
            self._ray.wait(results, num_returns=len(results), timeout=MACHINE_STOP_SECONDS)
        self._finish_collecting(stop=True)
        for machine in self._placed.values():
            self._ray.kill(machine.actor)
        self._mirror.stop()
        self._ledger.publish()

    def _ask_head(self, now: float) -> None:
        if now - self._asked_head_at >= NODES_SECONDS:
            self._asked_head_at = now
            self._silent_since = math.inf if answers(self._head) else min(self._silent_since, now)

    # -- reports

    def _directions(self, stop: bool = False) -> Directions:
        return Directions(stop, self._run.shared.counters.agent_steps)

    def _collect(self, now: float) -> None:
        """Take the machines' newest reports, and let them know what is to be done."""
        if self._collecting is None:
            if now - self._collected_at < COLLECT_SECONDS:
                return
            self._collected_at = now
            self._collecting = self._coordinator.collect.remote(self._directions())
        ready, _ = self._ray.wait([self._collecting], timeout=0)
        if ready:
            self._take_reports(now)

    def _finish_collecting(self, stop: bool) -> None:
        """Collect once more and wait for it."""
        if self._collecting is not None:
            self._ray.wait([self._collecting], timeout=MACHINE_STOP_SECONDS)
            self._take_reports(time.monotonic())
        self._collecting = self._coordinator.collect.remote(self._directions(stop))
        self._ray.wait([self._collecting], timeout=MACHINE_STOP_SECONDS)
        self._take_reports(time.monotonic())

    def _take_reports(self, now: float) -> None:
        collecting, self._collecting = self._collecting, None
        try:
            reports = self._ray.get(collecting, timeout=0)
        except (self._ray.exceptions.RayError, TimeoutError):
            return  # the coordinator is being started again; the machines' next reports have all that counts
        for key, report in reports.items():
            machine = self._placed.get(key)
            if machine is None:
                continue
            machine.reported_at = now
            self._ledger.enter(machine.number, report)
            self.messages += [f"{self._name(machine)}: {message}" for message in report.messages]

    # -- machines

    def _name(self, machine: _Placed) -> str:
        return f"machine {machine.number} ({machine.node.address})"

    def _place_machines(self, now: float) -> None:
        """Start a machine on every node that has none."""
        taken = {machine.node.number for machine in self._placed.values()}
        for node in alive_nodes():
            history = self._history.setdefault(node.number, _History())
            if node.number in taken or now < history.due_at or history.is_hopeless:
                continue
            self._place(node, now)
        self._mirror.set_machines(tuple(self._placed))
        if not self._placed and not self._says_none:
            self.messages.append("no machine is left; training goes on when one joins")
        self._says_none = not self._placed

    def _place(self, node: Node, now: float) -> None:
        used = {machine.number for machine in self._placed.values()}
        number = next((each for each in range(MAX_MACHINES) if each not in used), None)
        if number is None:
            return
        self._starts += 1
        resumed = self._run.shared.counters.resumed
        key = f"{number}.{resumed}.{self._starts}"
        config = self._config
        workers = min(config.workers, node.cpus)
        # Every worker of every machine plays with a seed of its own, and with another one after every start.
        seed = (config.seed + 1_000_003 * config.workers * number + 7_919 * self._starts) % 2**62
        gpus = len({gpu for gpu in config.gpu_ids if gpu >= 0})
        actor = (
            self._ray.remote(Machine)
            .options(num_cpus=workers, num_gpus=gpus, max_restarts=0, scheduling_strategy=on_node(node.number))
            .remote()
        )
        title = f"a3g machine {number}"
        own = replace(config, workers=workers, seed=seed)
        result = actor.run.remote(versions(), title, key, own, self._coordinator, self._mirror.shards, self._is_elastic)
        self._placed[key] = _Placed(number, key, node, actor, result, now, now)
        self._ledger.join(number)
        self.messages.append(f"machine {number} starts on {node.address} with {workers} workers")

    def _look_after_machines(self, now: float) -> str | None:
        """See which have ended or hang; returns why the run can't go on."""
        results = {machine.result: machine for machine in self._placed.values()}
        ready, _ = self._ray.wait(list(results), num_returns=len(results), timeout=0) if results else ([], [])
        ended = [(results[each], self._how_it_ended(each)) for each in ready]
        for machine in self._placed.values():
            started = self._ledger.has_worked(machine.number)
            patience = self._config.heartbeat_timeout * (1.0 if started else STARTING_FACTOR)
            if now - machine.reported_at > patience and machine.result not in ready:
                self._ray.kill(machine.actor)
                ended.append((machine, f"gave no sign of life for {patience:g} s and was killed"))
        if ended:  # what they reported last counts: one that reaches --total-steps ends by itself
            self._finish_collecting(stop=False)
        for machine, what in ended:
            trouble = self._note_end(machine, what, now)
            if trouble is not None:
                return trouble
        return None

    def _how_it_ended(self, result: Any) -> str:
        errors = self._ray.exceptions
        try:
            self._ray.get(result, timeout=0)
        except errors.RayTaskError as error:
            return f"ended: {str(error.cause).splitlines()[0] if str(error.cause) else error.cause!r}"
        except errors.RayError as error:
            return "was lost" if isinstance(error, errors.RayActorError) else f"was lost ({type(error).__name__})"
        return "ended by itself"

    def _note_end(self, machine: _Placed, what: str, now: float) -> str | None:
        del self._placed[machine.key]
        history = self._history[machine.node.number]
        history.quick_deaths = history.quick_deaths + 1 if now - machine.placed_at < QUICK_DEATH_SECONDS else 1
        worked = self._ledger.has_worked(machine.number)
        self._ledger.leave(machine.number)
        history.deaths_without_work = 0 if worked else history.deaths_without_work + 1
        history.due_at = now + backoff(history.quick_deaths)
        self._run.shared.counters.note_restart()
        left_out = "; nothing is started there any more" if history.is_hopeless else ""
        self.messages.append(f"{self._name(machine)} {what}{left_out}")
        if not self._placed and all(each.is_hopeless for each in self._history.values()):
            return f"no machine can train; the last one {what}"
        return None
