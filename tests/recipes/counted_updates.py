"""A3C with two metrics more, as the recipe in CONTRIBUTING.md adds them: one as it is, one declared."""

from __future__ import annotations

from collections.abc import Iterator

from a3g.algorithms.a3c import A3C
from a3g.experience.rollout import Rollout
from a3g.reporting.metrics_registry import METRICS, Metric

METRICS["own_updates"] = Metric("own_updates", "updates", combine="sum", curve="train/own_updates")


class CountedUpdates(A3C):
    """Tells how many updates the worker has made, and how many lanes each of them learned from."""

    own_updates = 0

    def updates(self, rollout: Rollout) -> Iterator[dict[str, float]]:
        for metrics in super().updates(rollout):
            self.own_updates += 1
            yield {**metrics, "own_updates": float(self.own_updates), "lanes_learned_from": float(rollout.actions.shape[1])}
