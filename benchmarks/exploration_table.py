"""Puts the table of `python main.py explore --json PATH` into docs/exploration.md; run with that path as its argument."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parent.parent / "docs" / "exploration.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


def table(content: dict[str, Any]) -> str:
    """A Markdown table of the stages, with a line for all of them."""
    lines = [
        "| stage | s | processor s | agent steps explored | first way | shortest way | frames of it | demonstrations |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = content["stages"]
    columns = ("seconds", "processor_seconds", "agent_steps_explored", "first_agent_steps", "agent_steps", "frames")
    for stage, row in rows.items():
        lines.append(f"| {stage} | {' | '.join(_shown(row[name]) for name in columns)} | {row['demonstrations']} |")
    totals = {name: sum(row[name] or 0 for row in rows.values()) for name in (*columns, "demonstrations")}
    lines.append(f"| all | {' | '.join(_shown(totals[name]) for name in (*columns, 'demonstrations'))} |")
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"


if __name__ == "__main__":
    text = PAGE.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n\n{table(json.loads(Path(sys.argv[1]).read_text()))}\n\n{END}{after}")
    print(f"wrote {PAGE}")
