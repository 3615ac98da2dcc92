"""Which steps of a replay buffer an update learns from: all alike, or by priorities."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from a3g.experience.replay_buffer import ReplayBuffer
from a3g.experience.sum_tree import SumTree

# Added to every error, so that each step can be drawn (Schaul et al. 2016, section 3.3).
SMALLEST_ERROR = 1e-6


class Draw(NamedTuple):
    """Steps of a replay buffer."""

    indices: NDArray[np.int64]
    """int64 (batch,), see `ReplayBuffer`."""
    weights: Tensor
    """float32 (batch,), of the steps in the loss; at most 1."""


class Sampler(Protocol):
    """Draws steps. Random numbers are PyTorch's, whose state is part of every checkpoint."""

    def update_range(self) -> None:
        """The buffer was extended."""

    def draw(self, batch_size: int, beta: float) -> Draw:
        """Draw steps, with replacement.

        Args:
            batch_size: how many.
            beta: exponent of the importance weights.
        """

    def update_errors(self, indices: NDArray[np.int64], errors: NDArray[np.float32]) -> None:
        """Take in the TD errors, (batch,), of steps drawn since the buffer was extended."""

    def state_dict(self) -> dict[str, Tensor]:
        """What the next draws depend on beside the buffer."""

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state_dict` gave, when the buffer is loaded; raises KeyError or ValueError if it doesn't fit."""


class UniformSampler:
    """All steps alike."""

    def __init__(self, buffer: ReplayBuffer) -> None:
        self._buffer = buffer

    def update_range(self) -> None:
        """Nothing is kept."""

    def draw(self, batch_size: int, beta: float) -> Draw:
        buffer, times = self._buffer, self._buffer.drawable
        drawn = torch.randint(len(times) * buffer.lanes, (batch_size,)).numpy()
        ago, lanes = np.divmod(drawn, buffer.lanes)
        return Draw((times.start + ago) % buffer.slots * buffer.lanes + lanes, torch.ones(batch_size))

    def update_errors(self, indices: NDArray[np.int64], errors: NDArray[np.float32]) -> None:
        """Nothing is kept."""

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Nothing is kept."""


class PrioritizedSampler:
    """Proportional prioritisation (Schaul et al. 2016, section 3.3): steps are drawn at rates (|TD error| + epsilon)^alpha.

    A batch is drawn from equal parts of the sum of the rates, one step of each (appendix B.2.1). New steps get the highest rate
    so far. TorchRL has such a sampler, whose trees are compiled; no published build of them loads with the PyTorch used here.
    """

    def __init__(self, buffer: ReplayBuffer, alpha: float) -> None:
        self._buffer, self._alpha = buffer, alpha
        self._tree = SumTree(buffer.slots * buffer.lanes)
        self._range = range(0)
        """The times that have a priority."""
        self._highest = 1.0

    @property
    def priorities(self) -> NDArray[np.float64]:
        """The rates of all indices, 0 where a step can't be drawn; to be read only."""
        return self._tree.leaves

    def update_range(self) -> None:
        before, now = self._range, self._buffer.drawable
        gone = range(before.start, min(before.stop, now.start))
        added = range(max(before.stop, now.start), now.stop)
        self._tree.set(self._buffer.indices(gone), 0.0)
        self._tree.set(self._buffer.indices(added), self._highest)
        self._range = now

    def draw(self, batch_size: int, beta: float) -> Draw:
        total, drawable = self._tree.total, len(self._range) * self._buffer.lanes
        points = (np.arange(batch_size) + torch.rand(batch_size, dtype=torch.float64).numpy()) * (total / batch_size)
        indices = self._tree.find(np.minimum(points, np.nextafter(total, 0.0)))
        weights = (drawable * self._tree.leaves[indices] / total) ** -beta
        return Draw(indices, torch.from_numpy((weights / weights.max()).astype(np.float32)))

    def update_errors(self, indices: NDArray[np.int64], errors: NDArray[np.float32]) -> None:
        priorities = (np.abs(errors.astype(np.float64)) + SMALLEST_ERROR) ** self._alpha
        if not np.isfinite(priorities).all():  # of an update that is left out
            return
        self._highest = max(self._highest, float(priorities.max()))
        self._tree.set(indices, priorities)

    def state_dict(self) -> dict[str, Tensor]:
        highest = torch.tensor(self._highest, dtype=torch.float64)
        return {"priorities": torch.from_numpy(self._tree.leaves[: self._buffer.filled]), "highest_priority": highest}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        filled = self._buffer.filled
        if state["priorities"].shape != (filled,):
            raise ValueError("the priorities are those of another replay")
        leaves = np.zeros(self._tree.capacity)
        leaves[:filled] = state["priorities"].numpy()
        self._highest = float(state["highest_priority"])
        self._tree.load(leaves)
        self._range = self._buffer.drawable
