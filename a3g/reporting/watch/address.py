"""The address that the page is served at."""

from __future__ import annotations

import errno
import ipaddress
import socket

from a3g.errors import UserError

_BACKLOG = 128


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens at an address; port 0 takes a free one.

    Raises:
        UserError: if there is no such address here, or the port is taken or not allowed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise UserError(f"--watch-host must be an address of this machine, not {host!r:.60}.") from error
    family, kind, protocol, _, address = found[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"--watch: port {port} is taken by another program: choose another one, or 0 for a free one."
            ) from error
        if error.errno == errno.EACCES:
            raise UserError(
                f"--watch: port {port} needs the rights of the administrator: choose one from 1024 to 65535."
            ) from error
        if error.errno == errno.EADDRNOTAVAIL:
            raise UserError(f"--watch-host must be an address of this machine, not {host!r:.60}.") from error
        raise UserError(f"--watch: can't listen at {host} port {port}: {error.strerror}.") from error
    return listening


def url(listening: socket.socket, host: str) -> str:
    """What to type into a browser on this machine."""
    port = listening.getsockname()[1]
    if host in ("0.0.0.0", "::", ""):
        host = "127.0.0.1"
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def is_address(name: str) -> bool:
    """Whether a name is an IP address, and no name that somebody else's name server may point here."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
