"""A run in one line, for logs and pipes."""

from __future__ import annotations

from a3g.reporting.live_table import clock, format_metric
from a3g.reporting.metrics_registry import metric
from a3g.reporting.status import RunStatus

_METRICS = ("mean_return", "entropy", "epsilon", "q_value", "td_error", "replay_fill")
_MOST_STAGES = 4


def make_line(status: RunStatus, steps_per_second: float | None, seconds_left: float | None = None) -> str:
    """Where a run stands, what can't be saved first.

    Args:
        status: where it stands.
        steps_per_second: agent steps per second; None if it is not known yet.
        seconds_left: until the run's goal is reached; None if it has none or that is not known.
    """
    cleared = [stage.stage for stage in status.stages if stage.best_clears]
    stages = sorted(status.stages, key=lambda stage: -stage.clear_rate)[:_MOST_STAGES]
    tests = f"{status.tests} tests" if status.tests else "first test going on" if status.testing else "no test yet"
    parts = [
        clock(status.seconds),
        f"NOT SAVING: {status.saving.trouble}" if status.saving.trouble else "",
        f"{status.agent_steps:,} agent steps",
        f"{steps_per_second:,.0f}/s" if steps_per_second is not None else "",
        f"about {clock(seconds_left)} left" if seconds_left is not None else "",
        f"{status.updates:,} updates",
        f"{status.episodes:,} episodes",
        *(f"{metric(n).heading} {format_metric(metric(n), status.metrics[n])}" for n in _METRICS if n in status.metrics),
        tests,
        ", ".join(
            f"{stage.stage} x {stage.mean_progress:.0f} clears {stage.clear_rate:.0%}"
            + (f" (test {stage.test_clear_rate:.0%})" if stage.tested else "")
            for stage in stages
        ),
        f"best clears {', '.join(cleared)}" if cleared else "",
    ]
    return "  ".join(part for part in parts if part)
