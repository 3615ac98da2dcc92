"""Joining a Ray cluster and asking what is in it. Everything that imports Ray does so through `load_ray`."""

from __future__ import annotations

import contextlib
import logging
import platform
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import a3g
from a3g.errors import UserError

# Ray itself tries for minutes; a head that is there answers in milliseconds.
CONNECT_SECONDS = 5.0
HEAD_ANSWER_SECONDS = 0.5
# A node that is asked for its version starts a process for that, and imports.
VERSION_SECONDS = 120.0


def load_ray() -> Any:
    """
    Raises:
        UserError: if Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError(f"--cluster needs Ray, which can't be imported ({error}): pip install 'a3g[cluster]'.") from error
    return ray


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
    """Be a part of a Ray cluster for a while.

    Args:
        address: auto, or the head's host:port. This machine has to be one of the cluster's.

    Raises:
        UserError: if Ray is not installed, there is no such cluster, or it runs other versions of Ray or Python.
    """
    ray = load_ray()
    if address != "auto":
        _check_reachable(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        if address == "auto":
            raise UserError(
                "--cluster auto finds no Ray cluster here: start one by `ray start --head --node-ip-address 127.0.0.1`, or "
                "name the head's address."
            ) from error
        raise UserError(
            f"--cluster {address}: can't join this cluster from here ({_first_line(error)}); `ray start --address {address}` "
            "lets this machine be a part of it."
        ) from error
    except (RuntimeError, ray.exceptions.RayError) as error:  # other versions of Ray or Python, or not the cluster's token
        raise UserError(f"--cluster {address}: can't join this cluster: {_first_line(error)}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """
    Raises:
        UserError: if the address is none, or nobody answers there.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise UserError(f"--cluster must be auto or the Ray head's address, such as 10.0.0.1:6379, not {address:.60}.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"--cluster {address}: no Ray head answers there ({reason}): check the address, and that `ray start --head` ran on "
            "that machine."
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]


def head_of_cluster() -> str:
    """host:port of the head of the cluster that this process is connected to."""
    address: str = load_ray().get_runtime_context().gcs_address
    return address


def answers(address: str) -> bool:
    """Whether something at host:port takes connections; says so within HEAD_ANSWER_SECONDS."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), HEAD_ANSWER_SECONDS).close()
    except OSError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster that is alive."""

    number: str
    """Ray's id."""
    address: str
    cpus: int


def alive_nodes() -> list[Node]:
    """The cluster's machines that have processors for us."""
    ray = load_ray()
    found = [
        Node(each["NodeID"], each["NodeManagerAddress"], int(each["Resources"].get("CPU", 0)))
        for each in ray.nodes()
        if each["Alive"]
    ]
    return [node for node in found if node.cpus >= 1]


def on_node(node: str, soft: bool = False) -> Any:
    """A scheduling strategy: on this node, and nowhere else unless `soft`."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node_id=node, soft=soft)


def versions() -> dict[str, str]:
    """What has to be the same on all machines."""
    return {"a3g": a3g.__version__, "python": ".".join(platform.python_version_tuple()[:2])}


def check_versions(theirs: dict[str, str], where: str) -> None:
    """
    Raises:
        UserError: if a machine has another version of something than this one.
    """
    ours = versions()
    for name, version in ours.items():
        if theirs.get(name) != version:
            raise UserError(
                f"The machine {where} has {name} {theirs.get(name)}, this one {version}: install the same version on both."
            )


def nodes_for_us(cluster: str) -> list[Node]:
    """The machines of the cluster that is connected to, at least one, all with this program in this version.

    Args:
        cluster: the option that named it.

    Raises:
        UserError: if there is none, or one has another version.
    """
    nodes = alive_nodes()
    if not nodes:
        raise UserError(f"--cluster {cluster}: no machine of this cluster has a processor to give (see `ray status`).")
    check_nodes(nodes)
    return nodes


def check_nodes(nodes: list[Node]) -> None:
    """See that every machine runs this program in this version.

    Raises:
        UserError: if one does not.
    """
    ray = load_ray()
    ask = ray.remote(num_cpus=0, max_retries=0)(versions)
    asked = [(node, ask.options(scheduling_strategy=on_node(node.number)).remote()) for node in nodes]
    for node, answer in asked:
        try:
            check_versions(ray.get(answer, timeout=VERSION_SECONDS), node.address)
        except ray.exceptions.RayTaskError as error:
            raise UserError(f"The machine {node.address} can't run a3g: {_first_line(error.cause)}.") from error
        except (ray.exceptions.GetTimeoutError, ray.exceptions.RayError):
            continue  # it is slow or has just left: its machine is not started then, or asked again
