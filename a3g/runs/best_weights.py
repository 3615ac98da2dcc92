"""The best weights of a run or a folder, and what they scored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from a3g.errors import UserError
from a3g.networks.pixel_network import PixelNetwork
from a3g.runs.scores import Score
from a3g.runs.weights import load_weights


@dataclass(frozen=True)
class BestWeights:
    """The best weights so far, kept in memory too: a disk may fail."""

    model: PixelNetwork
    score: Score


def load_best(path: Path) -> BestWeights | None:
    """The best weights in a file, None if there are none that can be read."""
    try:
        weights = load_weights(path)
        return BestWeights(weights.build(), weights.score) if weights.score is not None else None
    except UserError:
        return None


def read_score(path: Path) -> Score | None:
    """What the weights in a file scored; None if there is no such file, it can't be read, or they were never tested."""
    try:
        return load_weights(path).score
    except UserError:
        return None
