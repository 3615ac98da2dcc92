"""Shows games to viewers of the page: each asks for one picture after the other, so none can be flooded."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from starlette.websockets import WebSocket, WebSocketDisconnect

from a3g.game.stages import STAGES
from a3g.game.views import ViewRenderer
from a3g.processes.watch_channel import OUTCOMES, TILES, Tile, WatchChannel, WatchSlot
from a3g.reporting.watch.app import finite

MOST_VIEWERS = 64
TILE_WIDTH, TILE_HEIGHT = 120, 112
COLUMNS = 8
STEPS_SHOWN = 150
# A viewer whose next request does not come is gone; one that does not take what it asked for is sent away.
REQUEST_SECONDS = 30.0
SEND_SECONDS = 10.0
# An answer comes at the latest after so long, whether or not there is a new picture.
ANSWER_SECONDS = 0.5
STATUS_SECONDS = 1.0
_POLL_SECONDS = 0.03
# The chosen game is drawn as often as it is shown, the mosaic of all only so often: it is most of the page's work.
_MOSAIC_SECONDS = 0.3
# However many look on, so many answers a second are sent altogether.
_MOST_ANSWERS = 240.0
_LARGEST_REQUEST = 1024
_JPEG_MOSAIC = [cv2.IMWRITE_JPEG_QUALITY, 82]
# Without the coarse colours that JPEG allows itself: a red Mario before a green hill would fade.
JPEG_LARGE = [cv2.IMWRITE_JPEG_QUALITY, 92, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
AUTO = "auto"
TEST = "test"


def pack(header: dict[str, Any], parts: dict[str, bytes]) -> bytes:
    """A binary message: length of the header (4 bytes, big-endian), header as JSON, then the parts that it names."""
    header = {**header, "parts": [[name, len(part)] for name, part in parts.items()]}
    text = json.dumps(finite(header), separators=(",", ":")).encode()
    return b"".join((struct.pack(">I", len(text)), text, *parts.values()))


def jpeg(picture: NDArray[np.uint8], options: list[int]) -> bytes:
    """Of a picture (height, width, 3) in RGB, or (height, width)."""
    swapped = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", swapped, options)[1].tobytes()


@dataclass
class _Request:
    source: str = AUTO
    tile: int = 0
    known: int = 0
    """Steps of the tile's history that the viewer has."""

    @classmethod
    def parse(cls, text: str) -> _Request:
        """
        Raises:
            ValueError: if it is no request.
        """
        if len(text) > _LARGEST_REQUEST:
            raise ValueError("too long")
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError("no request")
        source, tile, known = values.get("source", AUTO), values.get("tile", 0), values.get("known", 0)
        if not (isinstance(source, str) and type(tile) is int and type(known) is int and 0 <= tile < TILES and known >= 0):
            raise ValueError("no request")
        return cls(source, tile, known)


@dataclass(eq=False)
class _Viewer:
    request: _Request = field(default_factory=_Request)
    source: int = -1
    seen: tuple[int, int, int] = (-1, -1, -1)
    """Source, tile and sequence of the newest answer."""
    mosaic: tuple[int, int] = (-1, -1)
    """Source and number of the newest mosaic sent."""
    status_at: float = 0.0


@dataclass
class _Encoded:
    """The newest pictures of a source."""

    sequence: int = -1
    mosaic: bytes = b""
    mosaic_number: int = -1
    """The sequence that the mosaic shows."""
    mosaic_at: float = -math.inf
    large: dict[int, bytes] = field(default_factory=dict)
    """Of the tiles that somebody has chosen."""
    seen: dict[int, bytes] = field(default_factory=dict)


class LiveGames:
    """The games of a run that viewers look at."""

    def __init__(self, channel: WatchChannel, status: Callable[[], dict[str, Any]]) -> None:
        """
        Args:
            channel: what the processes show.
            status: where the run stands, sent along once a second.
        """
        self._channel, self._status = channel, status
        self._status_at, self._newest_status = 0.0, dict[str, Any]()
        self._viewers: set[_Viewer] = set()
        self._encoded: dict[int, _Encoded] = {}
        self._slots: dict[int, WatchSlot] = {}
        self._renderer = ViewRenderer()
        self._polling: asyncio.Task[None] | None = None
        self._news = asyncio.Condition()

    @property
    def viewers(self) -> int:
        return len(self._viewers)

    async def serve(self, websocket: WebSocket) -> None:
        """Answer a viewer's requests until it leaves, or does not behave."""
        await websocket.accept()
        if len(self._viewers) >= MOST_VIEWERS:
            await websocket.close(1013, "Too many viewers: try again later.")
            return
        viewer = _Viewer()
        self._viewers.add(viewer)
        if self._polling is None:
            self._polling = asyncio.create_task(self._poll())
        code = 1000
        try:
            while True:
                text = await asyncio.wait_for(websocket.receive_text(), REQUEST_SECONDS)
                viewer.request = _Request.parse(text)
                answer = await self._answer(viewer)
                await asyncio.wait_for(websocket.send_bytes(answer), SEND_SECONDS)
        except (ValueError, KeyError):
            code = 1008
        except TimeoutError:
            code = 1001
        except (WebSocketDisconnect, RuntimeError):
            return
        finally:
            self._viewers.discard(viewer)
        with contextlib.suppress(Exception):
            await asyncio.wait_for(websocket.close(code), SEND_SECONDS)

    async def _answer(self, viewer: _Viewer) -> bytes:
        began = time.monotonic()
        pause = len(self._viewers) / _MOST_ANSWERS
        if pause > _POLL_SECONDS:
            await asyncio.sleep(pause)
        while not self._has_news(viewer) and time.monotonic() - began < ANSWER_SECONDS:
            async with self._news:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), ANSWER_SECONDS)
        return self._message(viewer)

    def _has_news(self, viewer: _Viewer) -> bool:
        encoded = self._encoded.get(viewer.source)
        if encoded is None:
            return False
        seen, mosaic = (viewer.source, viewer.request.tile, encoded.sequence), (viewer.source, encoded.mosaic_number)
        return seen != viewer.seen or mosaic != viewer.mosaic

    def _message(self, viewer: _Viewer) -> bytes:
        source, tile = viewer.source, viewer.request.tile
        slot, encoded = self._slots.get(source), self._encoded.get(source)
        header: dict[str, Any] = {
            "source": TEST if source == self._channel.tester else str(source),
            "asked": viewer.request.source,
            "tile": tile,
            "testing": self._channel.is_testing,
            "rests": round(self._channel.seconds_to_test, 1),
            "full": slot is None and source >= 0,
        }
        parts: dict[str, bytes] = {}
        now = time.monotonic()
        if now - viewer.status_at >= STATUS_SECONDS:
            viewer.status_at = now
            if now - self._status_at >= STATUS_SECONDS:
                self._status_at, self._newest_status = now, self._status()
            header["status"] = self._newest_status
        if slot is not None and encoded is not None and encoded.sequence >= 0:
            if (source, encoded.mosaic_number) != viewer.mosaic:
                parts["mosaic"] = encoded.mosaic
                viewer.mosaic = source, encoded.mosaic_number
            if (source, tile, encoded.sequence) != viewer.seen:
                if tile not in encoded.large and (view := slot.view(tile)) and slot.tiles[tile, Tile.STATE]:
                    encoded.large[tile] = jpeg(self._renderer.draw(view), JPEG_LARGE)
                    encoded.seen[tile] = _observation(slot.observations[tile])
                if tile in encoded.large:
                    parts["large"], parts["seen"] = encoded.large[tile], encoded.seen[tile]
            known = viewer.request.known if viewer.seen[:2] == (source, tile) else 0
            steps = slot.recent(tile, known, STEPS_SHOWN)
            header |= {"steps": len(steps), "known": int(slot.tiles[tile, Tile.HISTORY]), "tiles": _tiles(slot)}
            parts["history"] = steps.astype("<f4").tobytes()
            viewer.seen = source, tile, encoded.sequence
        return pack(header, parts)

    async def _poll(self) -> None:
        """See what there is to look at while anybody looks."""
        try:
            while self._viewers:
                self._look()
                async with self._news:
                    self._news.notify_all()
                await asyncio.sleep(_POLL_SECONDS)
        finally:
            self._polling = None
            self._slots = self._channel.want({})
            self._encoded.clear()

    def _look(self) -> None:
        chosen: dict[int, set[int]] = {}
        for viewer in self._viewers:
            viewer.source = self._source(viewer.request.source)
            chosen.setdefault(viewer.source, set()).add(viewer.request.tile)
        self._slots = self._channel.want(chosen)
        for source in [source for source in self._encoded if source not in self._slots]:
            del self._encoded[source]
        now = time.monotonic()
        for source, slot in self._slots.items():
            encoded = self._encoded.setdefault(source, _Encoded())
            sequence = slot.sequence
            if encoded.sequence != sequence:
                encoded.sequence = sequence
                encoded.large.clear()
                encoded.seen.clear()
            if encoded.mosaic_number != sequence and now - encoded.mosaic_at >= _MOSAIC_SECONDS:
                encoded.mosaic, encoded.mosaic_number, encoded.mosaic_at = self._mosaic(slot), sequence, now

    def _source(self, name: str) -> int:
        """The number of the source that a viewer asks for; by itself the tester, and a worker while that rests."""
        if name == TEST or not self._channel.workers:
            return self._channel.tester
        if name.isdecimal() and len(name) < 6 and int(name) < self._channel.workers:
            return int(name)
        return self._channel.tester if self._channel.is_testing else 0

    def _mosaic(self, slot: WatchSlot) -> bytes:
        """All games of a source in one picture."""
        tiles = [tile for tile in range(TILES) if slot.tiles[tile, Tile.STATE]]
        rows = (max(tiles, default=0)) // COLUMNS + 1
        mosaic = np.zeros((rows * TILE_HEIGHT, COLUMNS * TILE_WIDTH, 3), np.uint8)
        for tile in tiles:
            view = slot.view(tile)
            if not view:
                continue
            picture = self._renderer.draw(view)
            row, column = divmod(tile, COLUMNS)
            place = mosaic[row * TILE_HEIGHT :, column * TILE_WIDTH :][:TILE_HEIGHT, :TILE_WIDTH]
            place[:] = cv2.resize(picture, (TILE_WIDTH, TILE_HEIGHT), interpolation=cv2.INTER_AREA)
        return jpeg(mosaic, _JPEG_MOSAIC)


def _tiles(slot: WatchSlot) -> list[list[Any]]:
    """Of each place: stage, state, last outcome, episodes, steps, reward, x."""
    rows = []
    for row in slot.tiles.tolist():
        stage = int(row[Tile.STAGE])
        name = str(STAGES[stage]) if stage >= 0 else ""
        outcome = OUTCOMES[int(row[Tile.OUTCOME])]
        numbers = [int(row[Tile.EPISODES]), int(row[Tile.STEPS]), round(row[Tile.REWARD], 2), int(row[Tile.X_POS])]
        rows.append([name, int(row[Tile.STATE]), outcome, *numbers])
    return rows


def _observation(stack: NDArray[np.uint8]) -> bytes:
    """What the agent sees: its pictures side by side, the oldest first; empty for a map."""
    if stack.shape[-2] == 1:
        return b""
    return jpeg(np.ascontiguousarray(np.concatenate(list(stack), axis=1)), JPEG_LARGE)
