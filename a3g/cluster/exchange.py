"""A machine's half of the exchange with the parameter server. Knows nothing of Ray: how messages travel is handed in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from a3g.cluster.compression import ErrorFeedback, Packed, pack, unpack
from a3g.cluster.server import Reply

Send = Callable[[int, Sequence[tuple[int, Packed | None]]], Sequence[Reply | None]]
"""Gets how many updates the differences are made of, and for every shard the number of its replies so far and its difference;
gives the replies, None where a shard did not answer."""


class Exchanger:
    """Keeps a machine's shared model and the server's parameters together, while workers go on changing the former.

    Nothing waits: what workers learn between the snapshot and the reply stays on top of the server's parameters and is part
    of the next difference.
    """

    def __init__(self, weights: Tensor, parts: Sequence[slice], is_elastic: bool, send: Send) -> None:
        """
        Args:
            weights: the machine's shared model, float32 (n,), changed in place.
            parts: the shards' ranges of it.
            is_elastic: see `a3g.cluster.rules.MergeRule`.
            send: carries the messages.
        """
        self._weights, self._is_elastic, self._send = weights, is_elastic, send
        self._parts = [_Part(part, torch.zeros(part.stop - part.start)) for part in parts]
        self.staleness = 0.0
        """Of the newest exchange: merges of other machines in between, mean over the shards."""
        self.received_bytes = self.sent_bytes = 0

    @property
    def is_complete(self) -> bool:
        """Whether every part has come from the server."""
        return all(part.is_known for part in self._parts)

    def begin_again(self) -> None:
        """The weights are not to be trusted: send nothing, and take all of them from the server, at the next exchange."""
        for part in self._parts:
            part.is_known = False

    def exchange(self, updates: int) -> bool:
        """Send what was learnt and take over what others have learnt.

        Args:
            updates: of this machine's workers since the last exchange.

        Returns:
            whether every shard answered
        """
        snapshot = self._weights.clone()
        messages = [self._message(part, snapshot[part.place]) for part in self._parts]
        self.sent_bytes += sum(packed.nbytes for _, packed, _ in messages if packed is not None)
        replies = self._send(updates, [(replies, packed) for replies, packed, _ in messages])
        answered = [reply for reply in replies if reply is not None]
        if answered:
            self.staleness = sum(reply.staleness for reply in answered) / len(answered)
        for part, reply, (_, _, sent) in zip(self._parts, replies, messages, strict=True):
            if reply is None:  # what was not merged is part of the next difference
                part.feedback.reset()
            else:
                self._take(part, reply, snapshot[part.place], sent)
        return len(answered) == len(replies)

    def _message(self, part: _Part, snapshot: Tensor) -> tuple[int, Packed | None, Tensor | None]:
        """What a shard is to get, and what it will read from that."""
        if part.is_known and not bool(snapshot.sum().isfinite()):
            part.is_known = False
        if not part.is_known:
            part.feedback.reset()
            return part.replies, None, None
        difference = snapshot - part.reference
        # An elastic difference is a distance, which holds what was cut off before anyway.
        return part.replies, *(pack(difference) if self._is_elastic else part.feedback.pack(difference))

    def _take(self, part: _Part, reply: Reply, snapshot: Tensor, sent: Tensor | None) -> None:
        """Let a shard's reply count."""
        if reply.parameters is not None:
            newest = torch.tensor(reply.parameters)
            self.received_bytes += reply.parameters.nbytes
        else:
            assert reply.difference is not None
            newest = part.reference + unpack(reply.difference)
            self.received_bytes += reply.difference.nbytes
        weights = self._weights[part.place]
        if sent is None:
            weights.copy_(newest)
        elif not self._is_elastic:
            weights += newest - snapshot
        elif reply.parameters is None:  # else the server did not know where this machine was, and has not moved either
            weights -= reply.pull_strength * (part.reference + sent - newest)
        part.reference, part.is_known = newest, True
        part.replies += 1


@dataclass
class _Part:
    """The range of one shard."""

    place: slice
    reference: Tensor
    """What the server knows that this machine has."""
    is_known: bool = False
    replies: int = 0

    def __post_init__(self) -> None:
        self.feedback = ErrorFeedback(len(self.reference))
