"""How many processor cores this process may use, which can be fewer than the machine has."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

_CGROUPS = Path("/sys/fs/cgroup")
_CPUS = Path("/sys/devices/system/cpu")


def usable_cores() -> int:
    """Physical cores among those that this process may run on (affinity), within what its control groups allow; 1 or more."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    count = len({_core_of(cpu) for cpu in allowed}) or psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    quota = cgroup_cores(_CGROUPS, _read(Path("/proc/self/cgroup")))
    return max(1, count if quota is None else min(count, int(quota)))


def _core_of(cpu: int) -> str:
    """A physical core by the logical processors on it; `cpu` itself where the kernel doesn't tell."""
    return _read(_CPUS / f"cpu{cpu}" / "topology" / "thread_siblings_list") or str(cpu)


def cgroup_cores(root: Path, membership: str) -> float | None:
    """The processor time that control groups leave a process, in cores; None if they don't limit it.

    Args:
        root: where the groups are mounted.
        membership: what /proc/<pid>/cgroup says, see cgroups(7).
    """
    limits = []
    for line in membership.splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers not in ("", "cpu", "cpu,cpuacct", "cpuacct,cpu"):
            continue
        top = root if not controllers else root / controllers
        # A group's limit holds for all below it. Inside a container the groups above are not to be seen.
        group = Path(path.lstrip("/"))
        limits += [_limit(top / each) for each in (group, *group.parents)]
    return min((limit for limit in limits if limit is not None), default=None)


def _limit(group: Path) -> float | None:
    """One group's limit in cores: version 2 says "quota period" in one file, version 1 has a file for each."""
    texts = _read(group / "cpu.max").split() or [_read(group / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
    try:
        quota, period = map(int, texts)
    except ValueError:  # "max", or no such files
        return None
    return quota / period if quota > 0 and period > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
