"""What a run's processes show on the watch page: shared memory, written only while somebody looks."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from enum import IntEnum, auto
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from a3g.game.views import view_bytes
from a3g.processes.counters import shared_zeros
from a3g.processes.heartbeat import Heartbeats

TILES = 32
"""Games of a process that are shown, at most."""
HISTORY = 192
"""Agent steps of each game that are kept."""
WORKER_SLOTS = 4
"""Workers that can be watched at the same time, by different viewers."""
NOBODY = -1
NOTE_SECONDS = 15.0
_NOTE_BYTES = 1 << 18


class Tile(IntEnum):
    """Columns of what is said of each game shown."""

    STAGE = 0
    """Index in `STAGES`; -1 if it is none of them."""
    STATE = auto()
    """A `TileState`."""
    OUTCOME = auto()
    """Of the episode that ended last, an index in `OUTCOMES`; 0 if none has."""
    EPISODES = auto()
    """That ended in this place."""
    STEPS = auto()
    """Agent steps of the episode under way."""
    REWARD = auto()
    """Of the episode under way, so far."""
    X_POS = auto()
    HISTORY = auto()
    """Steps entered in the history since the slot was made."""


class TileState(IntEnum):
    """What a game shown is doing."""

    EMPTY = 0
    PLAYING = auto()
    OVER = auto()


OUTCOMES = ("", "cleared", "died", "warped", "timeout", "truncated")


class WatchSlot:
    """Room for the games of one process."""

    def __init__(self, engine: str, observation_shape: tuple[int, ...], num_actions: int) -> None:
        """
        Args:
            engine: that plays the games.
            observation_shape: of one game's observation, uint8.
            num_actions: that the agent chooses from.
        """
        self.num_actions = num_actions
        self._sequence = shared_zeros(1, dtype=torch.int64)
        self._tiles = shared_zeros(TILES, len(Tile))
        self._history = shared_zeros(TILES, HISTORY, num_actions + 3, dtype=torch.float32)
        self._observations = shared_zeros(TILES, *observation_shape, dtype=torch.uint8)
        self._lengths = shared_zeros(TILES, dtype=torch.int64)
        self._chosen = shared_zeros(TILES, dtype=torch.uint8)
        self._views = shared_zeros(TILES, view_bytes(engine), dtype=torch.uint8)

    @property
    def sequence(self) -> int:
        """Counts up with everything that is published."""
        return int(self._sequence[0])

    def published(self) -> None:
        self._sequence += 1

    @property
    def tiles(self) -> NDArray[np.float64]:
        """(TILES, columns of `Tile`), the shared memory itself."""
        return self._tiles.numpy()

    @property
    def observations(self) -> NDArray[np.uint8]:
        """(TILES, stack, height, width), the shared memory itself."""
        return self._observations.numpy()

    @property
    def history(self) -> NDArray[np.float32]:
        """(TILES, HISTORY, actions + 3), a ring of steps: probabilities, value, reward, action; not a number where unknown."""
        return self._history.numpy()

    @property
    def chosen(self) -> NDArray[np.int64]:
        """The games that somebody has chosen to see the agent's thoughts of."""
        return np.flatnonzero(self._chosen.numpy())

    def choose(self, tiles: set[int]) -> None:
        """Say which games these are."""
        chosen = np.isin(np.arange(TILES), sorted(tiles))
        self._chosen.numpy()[:] = chosen

    def set_view(self, tile: int, view: bytes) -> None:
        """What a game shows, as `MarioVectorEnv.view` gives it."""
        self._views.numpy()[tile, : len(view)] = np.frombuffer(view, np.uint8)
        self._lengths[tile] = len(view)

    def view(self, tile: int) -> bytes:
        """As `set_view` took it; empty if there was none."""
        return self._views.numpy()[tile, : int(self._lengths[tile])].tobytes()

    def recent(self, tile: int, known: int, most: int) -> NDArray[np.float32]:
        """The steps of a game after the first `known`, the last `most` of them at most; float32 (steps, actions + 3)."""
        count = int(self.tiles[tile, Tile.HISTORY])
        begin = max(known if known <= count else 0, count - min(most, HISTORY))
        steps: NDArray[np.float32] = self.history[tile, np.arange(begin, count) % HISTORY]
        return steps

    def clear(self) -> None:
        """Empty it, for another process."""
        self._tiles.zero_()
        self._lengths.zero_()
        self._sequence += 1


class WatchChannel:
    """All that goes between a run's processes and the one that serves the page.

    Sources are numbered: the workers from 0, and the tester, or the evaluation, after them.
    """

    def __init__(self, workers: int, engine: str, observation_shape: tuple[int, ...], num_actions: int) -> None:
        self.workers = workers
        self.tester = workers
        self.slots = [WatchSlot(engine, observation_shape, num_actions) for _ in range(1 + (min(workers, WORKER_SLOTS)))]
        """The first is the tester's."""
        self._wanted = torch.full((len(self.slots),), NOBODY, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
        self._test = shared_zeros(2)
        self._asked_at = shared_zeros(1)
        self._note = shared_zeros(_NOTE_BYTES, dtype=torch.uint8)
        self._note_length = shared_zeros(1, dtype=torch.int64)
        self.heartbeats = Heartbeats(1)
        """Of the process that serves the page."""

    # -- the side of those that play

    def slot_of(self, source: int) -> WatchSlot | None:
        """Where a process is to show its games; None while nobody looks."""
        for number, wanted in enumerate(self._wanted.tolist()):
            if wanted == source:
                return self.slots[number]
        return None

    def test_begins(self) -> None:
        self._test[0], self._test[1] = 1.0, 0.0

    def test_ended(self, pause: float) -> None:
        """The tester rests for `pause` seconds."""
        self._test[0], self._test[1] = 0.0, time.monotonic() + pause

    @property
    def wants_note(self) -> bool:
        """Whether somebody has asked where the run stands within NOTE_SECONDS."""
        return time.monotonic() - float(self._asked_at[0]) < NOTE_SECONDS

    def write_note(self, note: dict[str, Any]) -> None:
        """What the launcher says of the run's health."""
        data = json.dumps(note).encode()[:_NOTE_BYTES]
        self._note_length.zero_()
        self._note.numpy()[: len(data)] = np.frombuffer(data, np.uint8)
        self._note_length.fill_(len(data))

    # -- the side of the page

    @property
    def is_watched(self) -> bool:
        """Whether anybody looks at games."""
        return any(wanted != NOBODY for wanted in self._wanted.tolist())

    @property
    def is_testing(self) -> bool:
        return bool(self._test[0])

    @property
    def seconds_to_test(self) -> float:
        """Until the tester's next test; 0 while it tests, or before its first."""
        return max(float(self._test[1]) - time.monotonic(), 0.0) if float(self._test[1]) else 0.0

    def want(self, chosen: Mapping[int, set[int]]) -> dict[int, WatchSlot]:
        """Say at which sources somebody looks; returns their slots. Workers beyond WORKER_SLOTS get none.

        Args:
            chosen: of each source, the games that somebody has chosen.
        """
        sources = set(chosen)
        wanted = self._wanted.tolist()
        wanted[0] = self.tester if self.tester in sources else NOBODY
        for number, source in enumerate(wanted[1:], 1):
            if source not in sources:
                wanted[number] = NOBODY
        for source in sorted(sources - set(wanted) - {self.tester}):
            if NOBODY in wanted[1:]:
                number = wanted.index(NOBODY, 1)
                self.slots[number].clear()
                wanted[number] = source
        self._wanted.copy_(torch.tensor(wanted))
        slots = {source: self.slots[number] for number, source in enumerate(wanted) if source != NOBODY}
        for source, slot in slots.items():
            slot.choose(chosen[source])
        return slots

    def read_note(self) -> dict[str, Any]:
        """As `write_note` took it; empty before, or in the middle of writing. Who reads it wants the next one."""
        self._asked_at.fill_(time.monotonic())
        try:
            note: dict[str, Any] = json.loads(self._note.numpy()[: int(self._note_length[0])].tobytes())
        except ValueError:
            return {}
        return note
