"""The archive of Go-Explore: for each cell that was reached the shortest known way to it, and the game there.

Ecoffet et al. 2021, "First return, then explore" (https://arxiv.org/abs/2004.12919), the phase without a network.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from a3g.exploration.games import Games
from a3g.game import memory

# A way must be so many agent steps shorter to replace another: the game there may be a worse one in other respects.
_MIN_SHORTER = 6
# The newest part of the cells is chosen more often: mostly they are the furthest.
_NEWEST_PART, _NEWEST_WEIGHT = 8, 3.0


def cells_of(games: Games) -> NDArray[np.int64]:
    """The cell in which each lane is, (lanes,).

    A cell is the new ground covered, Mario's place, the area, and in mazes the ROM's count of turns: after a wrong turn a
    maze looks the same and is not.
    """
    ram = games.ram
    cells = games.progress.astype(np.int64) >> 4
    cells = cells << 10 | (games.x_positions >> 5) & 0x3FF
    cells = cells << 5 | (games.y_positions >> 5) & 0x1F
    cells = cells << 12 | games.areas()
    return cells << 6 | (ram[:, memory.MAZE_RIGHT_TURNS] & 7).astype(np.int64) << 3 | ram[:, memory.MAZE_TURNS] & 7


class Archive:
    """Cells by number, in the order in which they were found; number 0 is the start."""

    def __init__(self, start: bytes, place: int) -> None:
        self._numbers: dict[int, int] = {}
        self.games: list[bytes] = []
        self.ways: list[bytes] = []
        """The actions from the start to each cell, a byte each."""
        self.places: list[int] = []
        """As `Games.places` gives them."""
        self._lengths = np.zeros(1024, np.int32)
        self._visits = np.zeros(1024, np.int32)
        self._add(start, b"", place)

    def __len__(self) -> int:
        return len(self.games)

    def is_new_or_shorter(self, cell: int, length: int) -> bool:
        """Whether a way of `length` agent steps to a cell is worth keeping."""
        number = self._numbers.get(cell)
        return number is None or length < self._lengths[number] - _MIN_SHORTER

    def put(self, cell: int, game: bytes, way: bytes, place: int) -> None:
        """Keep a way to a cell, instead of the one that was known."""
        number = self._numbers.get(cell)
        if number is None:
            self._numbers[cell] = len(self.games)
            self._add(game, way, place)
            return
        self.games[number], self.ways[number], self.places[number] = game, way, place
        self._lengths[number], self._visits[number] = len(way), 0

    def choose(self, random: float, shorter_than: int) -> int:
        """A cell to go on from, rarely visited and new ones more likely, and count the visit.

        Args:
            random: number from 0 to 1 that decides.
            shorter_than: only cells with shorter ways are chosen, if there is any.
        """
        count = len(self.games)
        weights = 1.0 / np.sqrt(self._visits[:count] + 1.0)
        weights[-max(1, count // _NEWEST_PART) :] *= _NEWEST_WEIGHT
        weights *= self._lengths[:count] < shorter_than
        sums = np.cumsum(weights)
        number = min(int(np.searchsorted(sums, random * sums[-1], side="right")), count - 1)
        self._visits[number] += 1
        return number

    def _add(self, game: bytes, way: bytes, place: int) -> None:
        number = len(self.games)
        if number == len(self._lengths):
            self._lengths, self._visits = (
                np.concatenate([each, np.zeros_like(each)]) for each in (self._lengths, self._visits)
            )
        self.games.append(game)
        self.ways.append(way)
        self.places.append(place)
        self._lengths[number] = len(way)
