"""How many processor cores this process may use, which can be fewer than the machine has."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import psutil

from a3g.errors import UserError

# What Slurm sets for a job's processes, see "Output environment variables" in sbatch(1): of one task, and of all tasks on this
# machine. The first is there only if the job asked for it.
_SLURM_CPUS = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE")
_CGROUPS = Path("/sys/fs/cgroup")
_CPUS = Path("/sys/devices/system/cpu")


class Grant(NamedTuple):
    """Processors that a scheduler granted."""

    cpus: int
    """As the scheduler counts them: cores, or hardware threads where a core has several."""
    variable: str
    """The environment variable that says so."""


def usable_cores() -> int:
    """Physical cores that this process may use; 1 or more.

    They are those that it may run on (affinity), within what its control groups allow and what Slurm granted.
    """
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    count = len({_core_of(cpu) for cpu in allowed}) or psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    quota = cgroup_cores(_CGROUPS, _read(Path("/proc/self/cgroup")))
    grant = granted_cpus(os.environ)
    return max(1, min([count, *(int(limit) for limit in (quota, grant and grant.cpus) if limit is not None)]))


def granted_cpus(environment: Mapping[str, str]) -> Grant | None:
    """What Slurm granted to the job that this process belongs to; None outside of jobs.

    Args:
        environment: the process's environment variables.
    """
    if "SLURM_JOB_ID" not in environment:
        return None
    for variable in _SLURM_CPUS:
        value = environment.get(variable, "")
        if value.isdecimal() and int(value) > 0:
            return Grant(int(value), variable)
    return None


def check_workers(workers: int, environment: Mapping[str, str]) -> None:
    """See that a job has a processor for each worker. On a machine of one's own more workers than cores are allowed.

    Raises:
        UserError: if Slurm granted fewer.
    """
    grant = granted_cpus(environment)
    if grant is not None and workers > grant.cpus:
        job = environment["SLURM_JOB_ID"]
        raise UserError(
            f"--workers {workers} is more than Slurm granted job {job}, {grant.cpus} ({grant.variable}): "
            f"use --workers {grant.cpus}, or ask Slurm for more by --cpus-per-task."
        )


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
