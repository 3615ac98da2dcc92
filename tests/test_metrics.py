"""Metrics of workers: how they combine, and that declaring nothing is enough for a new one to be seen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from a3g.reporting.metrics import MetricsWriter, read_curve
from a3g.reporting.metrics_registry import METRICS, Metric, combine, metric
from a3g.reporting.phases import PHASE_NAMES
from a3g.reporting.status import RunStatus
from tests.running import ROOT


def status(agent_steps: int = 100, **metrics: float) -> RunStatus:
    return RunStatus(
        agent_steps=agent_steps,
        frames=4 * agent_steps,
        seconds=10.0,
        updates=5,
        episodes=3,
        skipped_updates=0,
        restarts=0,
        metrics=metrics,
        phase_shares=(0.25,) * len(PHASE_NAMES),
        tests=0,
        tested_agent_steps=0,
        stages=(),
    )


def test_values_of_workers_combine_as_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    for how, expected in (("mean", 3.0), ("sum", 9.0), ("max", 6.0)):
        monkeypatch.setitem(METRICS, "example", Metric("example", combine=how))  # type: ignore[arg-type]
        assert combine("example", [1, 6, 2]) == expected


def test_an_undeclared_metric_is_a_mean_without_unit() -> None:
    assert combine("something_new", [1.0, 3.0]) == 2.0
    assert metric("something_new") == Metric("something_new", unit="", combine="mean")
    with pytest.raises(ValueError, match="no worker has reported something_new"):
        combine("something_new", [])


def test_curves_keep_their_names_and_units() -> None:
    names = {
        "mean_return": "train/mean_return",
        "mean_length": "train/mean_length",
        **{name: f"learn/{name}" for name in ("epsilon", "q_value", "td_error", "td_loss", "replay_fill")},
        "policy_loss": "learn/policy_loss",
        "value_loss": "learn/value_loss",
        "entropy": "learn/entropy",
        "gradient_norm": "learn/gradient_norm",
        "staleness": "learn/staleness",
        "machines": "cluster/machines",
        "server_staleness": "cluster/staleness",
        "server_received": "cluster/received_mb_per_second",
        "server_sent": "cluster/sent_mb_per_second",
        "exchange_seconds": "cluster/exchange_seconds",
        "resident_bytes": "system/worker_resident_mb",
        "gpu_bytes": "system/worker_gpu_mb",
    }
    assert {name: each.curve_name for name, each in METRICS.items()} == names
    scalars = status(resident_bytes=300e6, gpu_bytes=2e9, entropy=2.3).scalars()
    assert scalars["system/worker_resident_mb"] == pytest.approx(300.0)
    assert scalars["system/worker_gpu_mb"] == pytest.approx(2000.0)
    assert scalars["learn/entropy"] == 2.3
    assert "learn/value_loss" not in scalars  # nobody has reported it


def test_a_new_metric_is_written_without_being_declared(tmp_path: Path) -> None:
    MetricsWriter(tmp_path, tensorboard=False).write(status(clipped_share=0.125), 1.0)
    assert read_curve(tmp_path, "learn/clipped_share") == [(100, 10.0, 0.125)]


def test_metrics_are_declared_without_torch() -> None:
    code = "import sys, a3g.reporting.metrics_registry, a3g.reporting.status; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_every_curve_is_documented() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text()
    for name in status(**dict.fromkeys(METRICS, 1.0)).scalars():
        assert f"`{name}`" in text, name
