"""The lock of `--no-hogwild`: one at a time, and free again when its holder is killed."""

from __future__ import annotations

import os
import signal
from multiprocessing import get_context
from typing import Any

import pytest

from a3g.processes.process_lock import ProcessLock


def hold(lock: ProcessLock, held: Any) -> None:
    with lock:
        held.send("held")
        signal.pause()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_holder_that_is_killed_stops_nobody(method: str) -> None:
    context = get_context(method)
    lock, (held, sender) = ProcessLock(), context.Pipe(duplex=False)
    holder = context.Process(target=hold, args=(lock, sender), daemon=True)
    holder.start()
    assert held.recv() == "held"
    assert not lock.is_free()
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    with lock:  # would wait for ever
        pass
    holder.join()
    assert lock.is_free()


def count(lock: ProcessLock, number: Any) -> None:
    for _ in range(500):
        with lock:
            number.value = number.value + 1


def test_one_at_a_time() -> None:
    context = get_context("fork")
    lock, number = ProcessLock(), context.Value("q", lock=False)
    processes = [context.Process(target=count, args=(lock, number)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert number.value == 2000
