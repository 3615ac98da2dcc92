"""What keeps strangers out: other sites' pages in the same browser, requests that are too large, all but reading."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from a3g.reporting.watch.address import is_address

LONGEST_PATH = 256
_OWN_NAMES = frozenset({"localhost", "localhost.localdomain"})
# The page needs nothing from anywhere else.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """ASGI middleware around the page.

    A site that a name server makes point to this machine (DNS rebinding) sends its own name as Host: only addresses and this
    machine's own names are served. A page of another site that opens a WebSocket here sends its own Origin.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        """
        Args:
            app: what is guarded.
            host: name that the page is served at.
        """
        self._app = app
        self._names = {*_OWN_NAMES, host.lower(), socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": refusal[1]})
        else:
            code, reason = refusal
            await PlainTextResponse(reason, code)(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if len(headers.getlist("host")) != 1 or not self._is_own(host):
            return 421, "This page is served under another name."
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return 403, "This page does not talk to other sites."
        if scope["type"] == "websocket":
            return None
        if scope["method"] not in ("GET", "HEAD"):
            return 405, "This page can only be read."
        if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
            return 413, "This page takes no data."
        if len(scope["path"]) > LONGEST_PATH or len(scope["query_string"]) > LONGEST_PATH:
            return 414, "There is no such long address here."
        return None

    def _is_own(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in self._names or is_address(name)


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return send_with_headers
