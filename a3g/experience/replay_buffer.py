"""Experience replay (Lin 1992; Mnih et al. 2015): agent steps of some lanes, of which each picture is kept once.

Stacks of pictures are put together when steps are drawn: the pictures of a stack are those of the lane's last steps, and
before an episode's start its first one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from a3g.experience.replay_memory import make_storage
from a3g.experience.rollout import Rollout


@dataclass(frozen=True, slots=True)
class Transitions:
    """Steps drawn from a replay buffer, with what followed within n agent steps."""

    observations: Tensor
    """uint8 (batch, stack, height, width), what the actions were chosen from."""
    actions: Tensor
    """int64 (batch,)"""
    returns: Tensor
    """float32 (batch,), the discounted rewards of n agent steps, or fewer if the episode ended before."""
    next_observations: Tensor
    """uint8 (batch, stack, height, width), n agent steps later; means nothing where `discounts` is 0."""
    discounts: Tensor
    """float32 (batch,), what the value of the next observations counts: gamma to the power of n, 0 if the episode ended."""


class ReplayBuffer:
    """A ring of agent steps, all lanes together: the newest overwrite the oldest.

    A step can be drawn when the n that follow it are there, and the pictures before it are not overwritten yet. The index of a
    step is its place in memory, ``slot * lanes + lane``.
    """

    def __init__(
        self, capacity: int, lanes: int, shape: tuple[int, int, int], n_step: int, gamma: float, folder: Path | None = None
    ) -> None:
        """
        Args:
            capacity: agent steps, summed over the lanes.
            lanes: games.
            shape: of an observation, (stack, height, width).
            n_step: rewards before the bootstrap value.
            gamma: discount factor.
            folder: for a file that the pictures are mapped to; None: in RAM.

        Raises:
            OSError: if there is no room for the file.
        """
        self.lanes, self.slots = lanes, capacity // lanes
        self.stack, self.height, self.width = shape
        self.n_step, self.time = n_step, 0
        """`time`: agent steps in every lane so far."""
        self._discounts = gamma ** np.arange(n_step + 1)
        self._storage, self._columns = make_storage(self.slots * lanes, self.height, self.width, folder)
        by_slot = {name: column.view(self.slots, lanes, *column.shape[1:]).numpy() for name, column in self._columns.items()}
        self._rewards, self._dones, self._starts = (by_slot[name] for name in ("rewards", "dones", "episode_starts"))

    # -- what is in it

    @property
    def filled(self) -> int:
        """Agent steps in it, summed over the lanes."""
        return min(self.time, self.slots) * self.lanes

    @property
    def drawable(self) -> range:
        """The times of the steps that can be drawn; each is a step in every lane."""
        first = max(self.time - self.slots, 0) + self.stack - 1
        return range(first, max(self.time - self.n_step, first))

    def indices(self, times: range) -> NDArray[np.int64]:
        """Of the steps of some times in every lane, in order."""
        slots = np.arange(times.start, times.stop) % self.slots
        return (slots[:, None] * self.lanes + np.arange(self.lanes)).ravel()

    # -- writing and reading

    def extend(self, rollout: Rollout) -> None:
        """Take in a rollout, with which the games go on where they were."""
        from tensordict import TensorDict

        columns = {
            "pictures": rollout.observations[:, :, -1],
            "actions": rollout.actions,
            "rewards": rollout.rewards,
            "dones": rollout.dones,
            "episode_starts": rollout.episode_starts,
        }
        steps = len(rollout.actions)
        done = 0
        while done < steps:  # up to the end of the ring, and on at its beginning
            slot = self.time % self.slots
            part = min(steps - done, self.slots - slot)
            content = {
                name: column[done : done + part].flatten(0, 1).to("cpu", self._columns[name].dtype)
                for name, column in columns.items()
            }
            place = slice(slot * self.lanes, (slot + part) * self.lanes)
            self._storage.set(place, TensorDict(content, batch_size=[part * self.lanes]))
            self.time += part
            done += part

    def get(self, indices: NDArray[np.int64]) -> Transitions:
        """The steps of some indices, int64 (batch,), each of which can be drawn."""
        slots, lanes = np.divmod(indices, self.lanes)
        lanes = lanes[:, None]
        following = (slots[:, None] + np.arange(self.n_step)) % self.slots
        dones = self._dones[following, lanes]
        # A reward counts if no episode ended before it.
        counts = np.ones(dones.shape, np.bool_)
        np.logical_not(np.logical_or.accumulate(dones[:, :-1], axis=1), out=counts[:, 1:])
        returns = (self._rewards[following, lanes] * counts * self._discounts[:-1]).sum(1)
        discounts = np.where(dones.any(1), 0.0, self._discounts[-1])
        pictures = np.concatenate((self._stacks(slots, lanes), self._stacks(slots + self.n_step, lanes)))
        stacks = self._columns["pictures"].index_select(0, torch.from_numpy(pictures.ravel()))
        now, later = stacks.view(2, len(indices), self.stack, self.height, self.width)
        return Transitions(
            now,
            self._columns["actions"][torch.from_numpy(indices)].long(),
            torch.from_numpy(returns.astype(np.float32)),
            later,
            torch.from_numpy(discounts.astype(np.float32)),
        )

    def _stacks(self, slots: NDArray[np.int64], lanes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the pictures of observations lie, (batch, stack), the oldest first.

        Args:
            slots: of the newest pictures, (batch,).
            lanes: (batch, 1).
        """
        window = (slots[:, None] + np.arange(1 - self.stack, 1)) % self.slots
        starts = self._starts[window, lanes]
        # The last place at which an episode starts; what lies before it is of another episode.
        first = np.where(starts.any(1), self.stack - 1 - starts[:, ::-1].argmax(1), 0)
        places = np.maximum(np.arange(self.stack), first[:, None])
        return np.take_along_axis(window, places, axis=1) * self.lanes + lanes

    def clear(self) -> None:
        """Forget everything."""
        self.time = 0

    # -- for checkpoints

    def state_dict(self) -> dict[str, Tensor]:
        """What is in it: views, not copies, to be written to a file before the next `extend`."""
        columns = {name: column[: self.filled] for name, column in self._columns.items()}
        return {**columns, "time": torch.tensor(self.time)}

    def memory(self, name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor | None:
        """Where a column of a saved state is to be read to, so that it needs no memory beside this; None if it doesn't fit."""
        column = self._columns.get(name)
        fits = column is not None and dtype == column.dtype and shape[1:] == column.shape[1:] and shape[0] <= len(column)
        return column[: shape[0]] if fits and column is not None else None

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state_dict` gave, of a buffer of the same capacity and lanes.

        Raises:
            KeyError, ValueError: if it is another one's.
        """
        time = int(state["time"])
        filled = min(time, self.slots) * self.lanes
        for name, column in self._columns.items():
            if state[name].shape != column[:filled].shape or state[name].dtype != column.dtype:
                raise ValueError(f"the replay's {name} have another shape: --replay-size or --lanes were different")
            if state[name].data_ptr() != column.data_ptr():
                column[:filled] = state[name]
        self.time = time
