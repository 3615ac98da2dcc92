"""The parameter server: each shard owns one range of the parameter vector. Knows nothing of Ray, which runs it as actors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from a3g.cluster.compression import Packed, pack, unpack
from a3g.cluster.rules import MergeRule, Push, make_rule

# Ranges begin on a cache line of 16 floats.
_ALIGNMENT = 16

Arrays = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class RuleSettings:
    """Which rule, and what it needs to know; see `a3g.cluster.rules`."""

    name: str
    learning_rate: float
    eps: float


@dataclass(frozen=True, slots=True)
class Reply:
    """What a machine gets back from a shard."""

    difference: Packed | None
    """From what the machine had before to the server's parameters now."""
    parameters: NDArray[np.float32] | None
    """All of them, when the server does not know what the machine has."""
    staleness: int
    """Merges of other machines' differences between this machine's last reply and this push."""
    pull_strength: float
    """See `a3g.cluster.rules.MergeRule`."""


@dataclass(frozen=True, slots=True)
class ShardState:
    """A copy of all that a shard has to remember."""

    parameters: NDArray[np.float32]
    rule: Arrays
    merged: int
    """Differences merged so far: the version of the parameters."""
    received_bytes: int
    sent_bytes: int


class ParameterShard:
    """One range of the parameters. Empty until it is loaded: when Ray has started it again, too.

    It remembers for every machine what that machine has, so that both directions carry differences as bfloat16. What rounding
    cuts off on the way to a machine is in the next difference, since that begins where the machine really is. This takes 4
    bytes a parameter and machine.
    """

    def __init__(self, rule: RuleSettings) -> None:
        torch.set_num_threads(1)
        self._settings = rule
        self._rule: MergeRule | None = None
        self._parameters = torch.zeros(0)
        self._known: dict[str, Tensor] = {}
        self._merged_at: dict[str, int] = {}
        self._replies: dict[str, int] = {}
        self._machines = 1
        self._merged = self._received = self._sent = 0

    def load(self, parameters: NDArray[np.float32], rule: Mapping[str, NDArray[np.float32]], merged: int) -> None:
        """Begin with these parameters.

        Args:
            parameters: float32 (n,).
            rule: the rule's state; what is missing or of another size begins at zero.
            merged: see `ShardState`.
        """
        self._parameters = torch.tensor(parameters)
        made = make_rule(self._settings.name, len(self._parameters), self._settings.learning_rate, self._settings.eps)
        for name, tensor in made.tensors().items():
            if name in rule and tuple(rule[name].shape) == tuple(tensor.shape):
                tensor.copy_(torch.tensor(rule[name]))
        self._rule, self._merged = made, merged
        self._known.clear()
        self._merged_at.clear()
        self._replies.clear()

    def set_machines(self, keys: tuple[str, ...]) -> None:
        """Say which machines train now; what is known of others is forgotten."""
        self._machines = max(len(keys), 1)
        for key in self._known.keys() - set(keys):
            del self._known[key], self._merged_at[key], self._replies[key]

    def exchange(self, machine: str, replies: int, updates: int, difference: Packed | None) -> Reply | None:
        """Merge a machine's difference and give it the newest parameters.

        Args:
            machine: its key; another one after every start.
            replies: how many it has got from this shard. If one was lost, its difference was merged before and begins where the
                machine is not: it is left out then, and the machine gets all parameters.
            updates: see `Push`.
            difference: between its parameters and those that it last got; None if it only asks.

        Returns:
            None while the shard is empty
        """
        if self._rule is None:
            return None
        self._received += 0 if difference is None else difference.nbytes
        change = None if difference is None else unpack(difference)
        is_damaged = change is not None and not bool(change.sum().isfinite())
        if is_damaged or self._replies.get(machine, replies) != replies:
            self._known.pop(machine, None)
            change = None
        staleness = self._merged - self._merged_at.get(machine, self._merged)
        known = self._known.get(machine)
        push = Push(self._machines, updates)
        if self._rule.is_elastic:
            center = self._parameters.clone()  # both move by the distance before either has moved
            if change is not None and known is not None:
                self._merge((known + change).sub_(center), push)
            reply = self._reply(machine, center, staleness)
        else:
            if change is not None:
                self._merge(change, push)
            reply = self._reply(machine, self._parameters, staleness)
        self._merged_at[machine], self._replies[machine] = self._merged, replies + 1
        return reply

    def state(self) -> ShardState | None:
        """A copy of what there is; None while the shard is empty."""
        if self._rule is None:
            return None
        rule = {name: tensor.clone().numpy() for name, tensor in self._rule.tensors().items()}
        return ShardState(self._parameters.clone().numpy(), rule, self._merged, self._received, self._sent)

    def _merge(self, change: Tensor, push: Push) -> None:
        assert self._rule is not None
        self._rule.merge(self._parameters, change, push)
        self._merged += 1

    def _reply(self, machine: str, parameters: Tensor, staleness: int) -> Reply:
        assert self._rule is not None
        strength = self._rule.pull_strength(self._machines)
        known = self._known.get(machine)
        if known is None:
            self._known[machine] = parameters.clone()
            self._sent += 4 * len(parameters)
            return Reply(None, parameters.clone().numpy(), staleness, strength)
        packed, sent = pack(parameters - known)
        known += sent
        self._sent += packed.nbytes
        return Reply(packed, None, staleness, strength)


def ranges(size: int, shards: int) -> list[slice]:
    """Cut a vector into ranges of nearly equal length; fewer than `shards` if it is short.

    Args:
        size: of the vector.
        shards: how many ranges are wanted.
    """
    blocks = -(-size // _ALIGNMENT)
    cuts = [min(blocks * shard // shards * _ALIGNMENT, size) for shard in range(shards + 1)]
    cuts[-1] = size
    return [slice(begin, end) for begin, end in pairwise(cuts) if end > begin]
