"""A Ray cluster on this machine: each node has a raylet of its own."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import psutil
from torch import Tensor

from a3g.errors import UserError
from a3g.files import load_tensors
from a3g.processes.counters import Count
from a3g.runs.paths import checkpoints_in

ENVIRONMENT = {
    **os.environ,
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_worker_niceness": "0",
}
# With this Ray does not take 127.0.0.1 for the machine's address in the network, and lets no second node join.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
START_SECONDS = 240.0


class Nodes:
    """Use as a context manager: afterwards nothing is left running."""

    def __init__(self, cpus: int = 1, loopback: bool = False, environment: Mapping[str, str] = MappingProxyType({})) -> None:
        """
        Args:
            cpus: processors that each node has for us.
            loopback: whether the head listens on loopback only, which leaves it alone in its cluster.
            environment: further variables of all its processes.
        """
        self._cpus = cpus
        self._ip = "127.0.0.1" if loopback else _own_address()
        self._environment = {**ENVIRONMENT, **(LOOPBACK if loopback else {}), **environment}
        self._ray = Path(sys.executable).parent / "ray"
        # Sockets lie in here, and a socket's path must be short.
        self._folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
        self.port = _free_port()
        self.nodes: list[set[psutil.Process]] = []

    @property
    def address(self) -> str:
        return f"{self._ip}:{self.port}"

    def __enter__(self) -> Nodes:
        self.add("--head", "--port", str(self.port), "--include-dashboard=false", "--temp-dir", self._folder)
        return self

    def __exit__(self, *_: object) -> None:
        for node in range(len(self.nodes)):
            self.kill(node)
        shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, *options: str, environment: Mapping[str, str] = MappingProxyType({})) -> int:
        """Start a node, with further variables of its own; returns its number."""
        options = options or ("--address", self.address)
        command = [str(self._ray), "start", *options, "--node-ip-address", self._ip, "--num-cpus", str(self._cpus)]
        command += ["--object-store-memory", "100000000", "--disable-usage-stats", "--include-log-monitor=false"]
        before = set(psutil.process_iter())
        started = subprocess.run(
            command,
            check=False,
            env={**self._environment, **environment},
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            cwd=Path(__file__).parent.parent,
        )
        # They have no parent by now, but all have the session's folder or the head's address in their command line.
        new = {process for process in set(psutil.process_iter()) - before if self._is_ours(process)}
        self.nodes.append(new)
        assert started.returncode == 0, started.stderr
        return len(self.nodes) - 1

    def kill(self, node: int) -> None:
        """SIGKILL the node's raylet, and clear up what it leaves, as when a machine loses its power."""
        everything = set(self.nodes[node])
        for process in self.nodes[node]:
            with contextlib.suppress(psutil.Error):
                everything |= set(process.children(recursive=True))
        for process in sorted(everything, key=lambda each: not _is_raylet(each)):
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(everything, timeout=30)

    def kill_process(self, title: str) -> None:
        """SIGKILL one of Ray's own workers, whose title begins so."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.name().startswith(title[:15]) and any(
                    parent in node for parent in process.parents() for node in self.nodes
                ):
                    process.kill()
                    return
        raise AssertionError(f"there is no {title}")

    def listening_elsewhere(self) -> list[str]:
        """Addresses beyond loopback on which any process of the cluster listens."""
        found = []
        for node in self.nodes:
            for process in node:
                with contextlib.suppress(psutil.Error):
                    for each in (process, *process.children(recursive=True)):
                        for connection in each.net_connections("inet"):
                            ip = connection.laddr.ip.removeprefix("::ffff:") if connection.laddr else "127.0.0.1"
                            if connection.status == psutil.CONN_LISTEN and ip not in ("127.0.0.1", "::1"):
                                found.append(f"{each.name()} on {connection.laddr}")
        return found

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            command = " ".join(process.cmdline())
            return self._folder in command or f"--address={self.address}" in command
        except psutil.Error:
            return False


def newest(folder: Path) -> dict[str, Tensor]:
    """The newest checkpoint of a training on a cluster; nothing if there is none, or it is just being replaced."""
    paths = checkpoints_in(folder)
    if not paths:
        return {}
    try:
        return load_tensors(paths[-1], "checkpoint")[0]
    except UserError:  # it has just been removed
        return {}


def steps(folder: Path) -> list[int]:
    """Agent steps of machines 0, 1, … in the newest checkpoint."""
    tensors = newest(folder)
    return tensors["server.machine_counts"][:, Count.AGENT_STEPS].tolist() if tensors else [0] * 3


def _is_raylet(process: psutil.Process) -> bool:
    try:
        return process.name() == "raylet"
    except psutil.Error:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _own_address() -> str:
    """This machine's IPv4 address in its network; loopback if it has none."""
    addresses = itertools.chain.from_iterable(psutil.net_if_addrs().values())
    found = [each.address for each in addresses if each.family is socket.AF_INET]
    return next((address for address in found if not address.startswith("127.")), "127.0.0.1")
