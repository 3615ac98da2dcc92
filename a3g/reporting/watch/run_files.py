"""What the page shows of a run's folder: settings, curves, scorecard, films. Nothing of it says where the folder lies."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import Any, get_type_hints

from a3g.config import TrainConfig
from a3g.reporting.metrics import CSV_NAME

MOST_POINTS = 400
"""Of a curve; of more every second one is left out."""
MOST_FILMS = 500
_LARGEST_JSON = 1 << 24
_BYTES_AT_ONCE = 1 << 22
# An absolute path, or one that begins in the home folder or beside this one; "agent steps/s" is none.
_PATH = re.compile(r"(?<![\w.)\]])(?:~|\.{1,2})?/[^\s'\",;:()]+")
_PLACES = {name for name, kind in get_type_hints(TrainConfig).items() if kind is Path} | {
    "resume",
    "run_name",
    "watch",
    "watch_host",
    "commit",
    "host",
}


def without_paths(text: str) -> str:
    """A message for people, without where on the disk something happened."""
    return _PATH.sub("…", text)


def public_settings(values: dict[str, Any]) -> dict[str, Any]:
    """The settings in a run's config.json that are no places of this machine's, as plain text, numbers and lists."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if name in _PLACES:
            continue
        if isinstance(value, dict):  # versions, and what "auto" came to
            flat |= public_settings(value)
        else:
            flat[name] = without_paths(value) if isinstance(value, str) else value
    return flat


def settings_of(config: Any) -> dict[str, Any]:
    """The same of options."""
    plain = {name: value for name, value in dataclasses.asdict(config).items() if not isinstance(value, Path)}
    return public_settings(json.loads(json.dumps(plain, default=str)))


def read_json(path: Path) -> dict[str, Any]:
    """A file of the run; empty if it is missing, damaged or much too large."""
    with contextlib.suppress(OSError, ValueError):
        if path.stat().st_size <= _LARGEST_JSON:
            content = json.loads(path.read_bytes())
            if isinstance(content, dict):
                return content
    return {}


class Curves:
    """metrics.csv, read as it grows; memory stays bounded however long a run is."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / CSV_NAME
        self._offset = 0
        self._points: dict[str, list[tuple[int, float, float]]] = {}
        self._strides: dict[str, tuple[int, int]] = {}

    def read(self) -> dict[str, list[tuple[int, float, float]]]:
        """Points (agent steps, seconds, value) by the curves' names."""
        with contextlib.suppress(OSError):
            if self._path.stat().st_size < self._offset:
                self._offset, self._points, self._strides = 0, {}, {}
            with self._path.open("rb") as file:
                file.seek(self._offset)
                while chunk := file.read(_BYTES_AT_ONCE):
                    whole = chunk[: chunk.rfind(b"\n") + 1]
                    if not whole:
                        break
                    self._offset += len(whole)
                    file.seek(self._offset)
                    self._take(whole.decode("utf-8", "replace"))
        return self._points

    def _take(self, text: str) -> None:
        for row in csv.reader(text.splitlines()):
            with contextlib.suppress(ValueError):  # the heading, or a line that a full disk cut off
                steps, seconds, name, value = row
                self._add(name, (int(steps), float(seconds), float(value)))

    def _add(self, name: str, point: tuple[int, float, float]) -> None:
        points = self._points.setdefault(name, [])
        stride, skipped = self._strides.get(name, (1, 0))
        if skipped + 1 < stride:
            self._strides[name] = stride, skipped + 1
            return
        points.append(point)
        if len(points) > MOST_POINTS:
            del points[1::2]
            stride *= 2
        self._strides[name] = stride, 0


@dataclasses.dataclass(frozen=True)
class Film:
    """An MP4 file of the run."""

    key: str
    """By which the page asks for it."""
    name: str
    bytes: int
    path: Path


def films_in(folder: Path) -> list[Film]:
    """The films below a run's folder, the newest first; no links, which may lead out of it."""
    found = []
    with contextlib.suppress(OSError):
        for path in folder.rglob("*.mp4"):
            with contextlib.suppress(OSError):
                if path.is_symlink() or not path.is_file() or folder.resolve() not in path.resolve().parents:
                    continue
                status = path.stat()
                key = hashlib.sha256(str(path.relative_to(folder)).encode("utf-8", "replace")).hexdigest()[:16]
                found.append((status.st_mtime, Film(key, path.stem, status.st_size, path)))
    return [film for _, film in sorted(found, key=lambda each: -each[0])[:MOST_FILMS]]
