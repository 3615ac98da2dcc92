"""The addresses of the watch page."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from a3g.reporting.watch.guard import Guard
from a3g.reporting.watch.run_files import films_in

_STATIC = Path(__file__).parent / "static"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_NO_FOLDER = Path("/nonexistent")


class WatchedRun(Protocol):
    """What the page asks about a run; all of it without paths."""

    folder: Path | None
    """Whose films are served; None if there are none."""

    def description(self) -> dict[str, Any]:
        """What does not change: title, kind, settings, what can be played."""

    def status(self) -> dict[str, Any]:
        """Where it stands now."""

    def curves(self) -> dict[str, list[tuple[int, float, float]]]:
        """Points (agent steps, seconds, value) by the curves' names."""

    def scorecard(self) -> dict[str, Any]:
        """The newest and the best test."""

    async def live(self, websocket: WebSocket) -> None:
        """Show games to a viewer until it leaves."""

    async def play(self, websocket: WebSocket) -> None:
        """Let a viewer play until it leaves."""


def make_app(run: WatchedRun, host: str) -> Starlette:
    """The page of a run.

    Args:
        run: what is shown.
        host: name that it is served at.
    """
    # Read once: no address of a request ever becomes a path.
    files = {path.name: (path.read_bytes(), _TYPES[path.suffix]) for path in _STATIC.iterdir() if path.suffix in _TYPES}

    async def static(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in files:
            raise HTTPException(404)
        content, kind = files[name]
        return Response(content, media_type=kind, headers={"cache-control": "no-cache"})

    async def description(request: Request) -> Response:
        return _json(run.description())

    async def status(request: Request) -> Response:
        return _json(run.status())

    async def curves(request: Request) -> Response:
        return _json(await asyncio.to_thread(run.curves))

    async def scorecard(request: Request) -> Response:
        return _json(await asyncio.to_thread(run.scorecard))

    async def films(request: Request) -> Response:
        found = await asyncio.to_thread(films_in, run.folder or _NO_FOLDER)
        return _json([{"key": film.key, "name": film.name, "bytes": film.bytes} for film in found])

    async def film(request: Request) -> Response:
        for each in await asyncio.to_thread(films_in, run.folder or _NO_FOLDER):
            if each.key == request.path_params["key"]:
                return FileResponse(each.path, media_type="video/mp4")
        raise HTTPException(404)

    routes = [
        Route("/", static),
        Route("/static/{name}", static),
        Route("/api/run", description),
        Route("/api/status", status),
        Route("/api/curves", curves),
        Route("/api/scorecard", scorecard),
        Route("/api/films", films),
        Route("/films/{key}.mp4", film),
        WebSocketRoute("/live", run.live),
        WebSocketRoute("/play", run.play),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guard, host=host)])


def _json(content: Any) -> Response:
    return Response(json.dumps(finite(content), separators=(",", ":"), allow_nan=False), media_type="application/json")


def finite(content: Any) -> Any:
    """The same with None for numbers that JSON does not know."""
    if isinstance(content, float):
        return content if abs(content) < float("inf") else None
    if isinstance(content, dict):
        return {str(name): finite(value) for name, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [finite(value) for value in content]
    return content
