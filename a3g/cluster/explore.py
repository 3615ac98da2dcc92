"""Exploration on a Ray cluster: each task of the search runs on some machine, and its messages come back one by one."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from a3g.cluster.ray_cluster import connected, load_ray, nodes_for_us
from a3g.exploration.search import SearchOptions
from a3g.exploration.tasks import Task
from a3g.exploration.verification import Verifier
from a3g.explore_config import ExploreConfig
from a3g.processes.exploration import explore
from a3g.processes.explore_worker import Message, messages_of
from a3g.processes.process import compute_on_one_core


def explore_on_cluster(config: ExploreConfig) -> int:
    """As `a3g.processes.exploration.explore`, with as many tasks at a time as the cluster has processors."""
    with connected(config.cluster):
        nodes = nodes_for_us(config.cluster)
        return explore(replace(config, workers=sum(node.cpus for node in nodes)), RemoteProcess.start)


class RemoteProcess:
    """Stands for a process of the exploration; its tasks run on the cluster. A thread here passes messages on."""

    def __init__(self, connection: Connection, options: SearchOptions) -> None:
        self.exitcode: int | None = None
        self._connection, self._options, self._ray = connection, options, load_ray()
        self._running: Any = None
        self._thread = threading.Thread(target=self._pass_on, daemon=True)
        self._thread.start()

    @classmethod
    def start(cls, number: int, options: SearchOptions) -> tuple[RemoteProcess, Connection]:
        """The "process" with this number and the end of the connection through which it gets tasks."""
        ours, theirs = Pipe()
        return cls(theirs, options), ours

    def kill(self) -> None:
        """End it, whatever it does."""
        running = self._running
        if running is not None:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.cancel(running)

    def join(self) -> None:
        """Nothing to wait for: its thread ends with its connection or with this process."""

    def _pass_on(self) -> None:
        explore_task = self._ray.remote(num_cpus=1, max_retries=0)(run_task)
        try:
            while True:
                task: Task = self._connection.recv()
                self._running = explore_task.options(num_returns="streaming").remote(task, self._options)
                for each in self._running:
                    self._connection.send(self._ray.get(each))
        except (EOFError, OSError):
            pass  # the exploration has ended
        except self._ray.exceptions.RayError:
            self.exitcode = os.EX_UNAVAILABLE  # its machine was lost
        finally:  # whatever happened: the exploration must not wait for it
            self._connection.close()


def run_task(task: Task, options: SearchOptions) -> Iterator[Message]:
    """One task, on whatever machine."""
    compute_on_one_core()
    yield from messages_of(task, options, Verifier())  # Ray streams what a generator function gives, not an iterator
