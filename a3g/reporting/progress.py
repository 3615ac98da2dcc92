"""The live table in a terminal, and the plain lines where there is none."""

from __future__ import annotations

import time

from rich.console import Group
from rich.table import Table
from rich.text import Text

from a3g.reporting.phases import PHASE_NAMES
from a3g.reporting.status import RunStatus


def make_table(status: RunStatus, steps_per_second: float, title: str) -> Group:
    """A run as two tables: its numbers, and a line for every stage."""
    numbers = Table(title=title, title_justify="left", expand=False)
    for heading in ("agent steps", "agent steps/s", "time", "updates", "episodes", "return", "length", "entropy", "grad norm"):
        numbers.add_column(heading, justify="right")
    numbers.add_row(
        f"{status.agent_steps:,}",
        f"{steps_per_second:,.0f}",
        clock(status.seconds),
        f"{status.updates:,}",
        f"{status.episodes:,}",
        f"{status.metrics.get('mean_return', 0.0):.2f}",
        f"{status.metrics.get('mean_length', 0.0):.0f}",
        f"{status.metrics.get('entropy', 0.0):.3f}",
        f"{status.metrics.get('gradient_norm', 0.0):.2f}",
    )
    stages = Table(expand=False)
    for heading in ("stage", "episodes", "mean x", "furthest x", "clear rate", "test clear rate", "test furthest x", "best"):
        stages.add_column(heading, justify="right")
    for stage in status.stages:
        stages.add_row(
            stage.stage,
            f"{stage.episodes:,}",
            f"{stage.mean_progress:,.0f}",
            f"{stage.furthest:,}",
            f"{stage.clear_rate:.0%}",
            f"{stage.test_clear_rate:.0%}" if stage.tested else "–",
            f"{stage.test_furthest:,}" if stage.tested else "–",
            "[green]clears[/green]" if stage.best_clears else "–",
        )
    tests = (
        f"tests: {status.tests}, the newest of weights at {status.tested_agent_steps:,} agent steps"
        if status.tests
        else "no test yet"
    )
    memory = f"{status.metrics.get('resident_bytes', 0.0) / 1e6:,.0f} MB per worker"
    shares = ", ".join(f"{name} {share:.0%}" for name, share in zip(PHASE_NAMES, status.phase_shares, strict=True))
    notes = f"{tests}; {memory}. x in pixels of new ground.\nworkers' time: {shares}"
    return Group(numbers, stages, notes, Text(_safety(status)))


def _safety(status: RunStatus) -> str:
    """What was saved, and what went wrong."""
    saving = status.saving
    age = f"{clock(max(time.time() - saving.saved_at, 0.0))} ago" if saving.saved_at else "none yet"
    lines = [f"checkpoint: {age}" + (f", {saving.bytes / 1e6:,.1f} MB" if saving.bytes else "")]
    if saving.trouble:
        lines.append(f"NOT SAVING: {saving.trouble}")
    counted = []
    if status.restarts:
        counted.append(f"{status.restarts} restarts")
    if status.skipped_updates:
        counted.append(f"{status.skipped_updates} updates skipped ({status.skipped_share:.2%})")
    if status.restored:
        counted.append(f"weights taken back {status.restored} times")
    if counted:
        lines.append(", ".join(counted))
    if status.last_trouble:
        lines.append(status.last_trouble)
    return "\n".join(lines)


def make_line(status: RunStatus, steps_per_second: float) -> str:
    """A run in one line."""
    cleared = [stage.stage for stage in status.stages if stage.best_clears]
    stages = sorted(status.stages, key=lambda stage: -stage.clear_rate)[:4]
    shown = ", ".join(
        f"{stage.stage} x {stage.mean_progress:.0f} clears {stage.clear_rate:.0%} (test {stage.test_clear_rate:.0%})"
        for stage in stages
    )
    return (
        f"{clock(status.seconds)}  {status.agent_steps:,} agent steps  {steps_per_second:,.0f}/s  "
        f"{status.updates:,} updates  {status.episodes:,} episodes  return {status.metrics.get('mean_return', 0.0):.2f}  "
        f"entropy {status.metrics.get('entropy', 0.0):.3f}  {shown}"
        + (f"  best clears {', '.join(cleared)}" if cleared else "")
        + (f"  NOT SAVING: {status.saving.trouble}" if status.saving.trouble else "")
    )


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
