"""Sums over parts of many priorities, so that one can be drawn in proportion to them without adding them all up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class SumTree:
    """A binary tree whose leaves are priorities and whose nodes are the sums of their two children.

    Nodes are always computed from their children, never by differences. So the tree follows from its leaves, bit for bit.
    """

    def __init__(self, capacity: int) -> None:
        """
        Args:
            capacity: leaves; all are 0 at first.
        """
        self.capacity = capacity
        self._depth = max(capacity - 1, 1).bit_length()
        self._first = 1 << self._depth
        self._nodes = np.zeros(2 * self._first)

    @property
    def leaves(self) -> NDArray[np.float64]:
        """The priorities, float64 (capacity,); to be read only."""
        return self._nodes[self._first : self._first + self.capacity]

    @property
    def total(self) -> float:
        """The sum of all priorities."""
        return float(self._nodes[1])

    def set(self, indices: NDArray[np.int64], priorities: NDArray[np.float64] | float) -> None:
        """Give leaves new priorities; of an index that stands there several times the last priority counts.

        Args:
            indices: int64 (n,).
            priorities: (n,), 0 or more.
        """
        nodes = indices + self._first
        self._nodes[nodes] = priorities
        for _ in range(self._depth):
            nodes = nodes >> 1
            children = nodes << 1
            self._nodes[nodes] = self._nodes[children] + self._nodes[children + 1]

    def load(self, priorities: NDArray[np.float64]) -> None:
        """Set all leaves, float64 (capacity,)."""
        self.set(np.arange(self.capacity), priorities)

    def find(self, points: NDArray[np.float64]) -> NDArray[np.int64]:
        """The leaves in which points on the sum of all priorities lie, int64 (n,); never one with priority 0.

        Args:
            points: float64 (n,), from 0 up to, not including, `total`, which must be more than 0.
        """
        nodes = np.ones(len(points), np.int64)
        points = points.copy()
        for _ in range(self._depth):
            left = nodes << 1
            sums = self._nodes[left]
            # A rounding error must not lead into a part without priorities.
            right = (points >= sums) & (self._nodes[left + 1] > 0)
            points -= sums * right
            nodes = left + right
        return nodes - self._first
