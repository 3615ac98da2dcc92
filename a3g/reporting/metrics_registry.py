"""The metrics that workers report: name, unit, and how the workers' values combine to the run's.

An algorithm yields one `dict[str, float]` an update. Every entry becomes a curve in TensorBoard and metrics.csv and a
number in the live table; declaring it here is only needed for another unit, place or combination than the default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that each worker reports."""

    name: str
    unit: str = ""
    combine: Literal["mean", "sum", "max"] = "mean"
    """How the run's value is made of the workers' values."""
    curve: str = ""
    """Name in TensorBoard and metrics.csv; by default learn/ and the metric's name."""
    curve_scale: float = 1.0
    """The curve's value is the metric's times this."""
    label: str = ""
    """Heading in the live table; by default the name with spaces."""

    @property
    def curve_name(self) -> str:
        return self.curve or f"learn/{self.name}"

    @property
    def heading(self) -> str:
        return self.label or self.name.replace("_", " ")


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("mean_return", curve="train/mean_return", label="return"),
        Metric("mean_length", "agent steps", curve="train/mean_length", label="length"),
        Metric("entropy", "nats"),
        Metric("gradient_norm", label="grad norm"),
        Metric("epsilon"),
        Metric("q_value", "reward", label="mean Q"),
        Metric("td_error", "reward", label="TD error"),
        Metric("td_loss", label="TD loss"),
        Metric("replay_fill", "share", label="replay fill"),
        Metric("policy_loss"),
        Metric("value_loss"),
        Metric("staleness", "updates"),
        Metric("machines", "machines", curve="cluster/machines"),
        Metric("server_staleness", "merges", curve="cluster/staleness"),
        Metric("server_received", "bytes/s", curve="cluster/received_mb_per_second", curve_scale=1e-6, label="server gets"),
        Metric("server_sent", "bytes/s", curve="cluster/sent_mb_per_second", curve_scale=1e-6, label="server sends"),
        Metric("exchange_seconds", "s", curve="cluster/exchange_seconds", label="exchange"),
        Metric("resident_bytes", "bytes", curve="system/worker_resident_mb", curve_scale=1e-6, label="memory"),
        Metric("gpu_bytes", "bytes", curve="system/worker_gpu_mb", curve_scale=1e-6, label="GPU memory"),
    )
}
"""The declared metrics by name, in the order in which the live table shows them."""


def metric(name: str) -> Metric:
    """The declaration of a metric; one that is not declared is the mean over the workers and has no unit."""
    return METRICS.get(name) or Metric(name)


def combine(name: str, values: Sequence[float]) -> float:
    """The run's value of a metric.

    Args:
        name: the metric's name, declared or not.
        values: one per worker that has reported it; at least one.

    Raises:
        ValueError: if there are no values.
    """
    if not values:
        raise ValueError(f"no worker has reported {name}")
    how = metric(name).combine
    if how == "sum":
        return float(sum(values))
    if how == "max":
        return float(max(values))
    return float(sum(values) / len(values))
