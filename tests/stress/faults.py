"""Faults that a run suffers from outside: no hooks in the program are needed for them."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from pathlib import Path

import psutil


def run_processes(launcher: int) -> dict[str, psutil.Process]:
    """The processes that a launcher has started, by their titles."""
    titles: dict[str, psutil.Process] = {}
    try:
        children = psutil.Process(launcher).children(recursive=True)
    except psutil.NoSuchProcess:
        return titles
    for child in children:
        try:
            titles[" ".join(child.cmdline()).strip()] = child
        except psutil.NoSuchProcess:
            continue
    return titles


def shared_memory(pid: int) -> list[tuple[str, int]]:
    """PyTorch's shared memory that a process holds: names of the open files, already unlinked, and their bytes."""
    found = []
    for link in sorted(Path(f"/proc/{pid}/fd").iterdir(), key=lambda path: int(path.name)):
        try:
            if str(link.readlink()).startswith("/dev/shm/torch_"):
                found.append((str(link), link.stat().st_size))
        except OSError:
            continue
    return found


def poison(launcher: int, which: int = 0) -> None:
    """Write a number that is none into the shared weights (which=0) or the optimizer's moments (1, 2)."""
    segments = shared_memory(launcher)
    largest = max(size for _, size in segments)
    name = [name for name, size in segments if size == largest][which]
    descriptor = os.open(name, os.O_RDWR)
    try:
        os.pwrite(descriptor, struct.pack("<f", float("nan")), 400)
    finally:
        os.close(descriptor)


def leftovers() -> set[str]:
    """What programs like this one may leave behind on a machine: shared memory and multiprocessing's sockets.

    Of all programs: to be compared before and after, while no other run begins or ends.
    """
    return {str(path) for pattern in ("dev/shm/*", "tmp/pymp-*") for path in Path("/").glob(pattern)}


def leftovers_of(pids: Iterable[int]) -> set[str]:
    """Shared memory that these processes have made and left."""
    return {str(path) for pid in pids for path in Path("/dev/shm").glob(f"torch_{pid}_*")}
