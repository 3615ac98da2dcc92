"""A run with faults injected at random, and whether everything that it promises held: `make soak`, or
`python -m tests.stress.soak --minutes 30`. Prints a report; exits with 1 if a promise was broken.

Faults come from outside, by signals, files and the shared memory that the kernel shows in /proc; only gradients are
spoilt from inside, by `faulty_main.py`. The disk that is made full is a small tmpfs, for which the soak has to be root;
without it that fault is left out, and the report says so.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.stress.faults import leftovers
from tests.stress.soak_run import FAULTS, Soak


def report(soak: Soak, seconds: float) -> str:
    """Markdown."""
    lines = ["| fault | times |", "|---|---|"]
    lines += [f"| {name} | {soak.faults[name]} |" for name in FAULTS if name in soak.faults]
    if not soak.has_disk:
        lines.append("| a full disk | not tried: mounting a small one needs root |")
    lost, steps = soak.seconds_lost or [0.0], soak.steps_lost or [0]
    lines += [
        "",
        "| | |",
        "|---|---|",
        f"| minutes | {seconds / 60:.1f} |",
        f"| faults | {soak.faults.total()}, one every {seconds / max(soak.faults.total(), 1):.1f} s |",
        f"| agent steps at the end | {soak.agent_steps:,} |",
        f"| starts of the launcher | {soak.starts} |",
        f"| processes started again by it | {soak.restarts} |",
        f"| updates left out | {soak.skipped} |",
        f"| times that damaged weights were taken back | {soak.restored} |",
        f"| longest interruption of training | {soak.longest_interruption:.1f} s |",
        f"| lost by a SIGKILL to the launcher, at most | {max(lost):.1f} s, {max(steps):,} agent steps |",
        f"| on average | {sum(lost) / len(lost):.1f} s, {sum(steps) / len(steps):,.0f} agent steps |",
        f"| longest pause for a checkpoint | {max(soak.pauses_ms, default=0.0):.1f} ms |",
        f"| promises broken | {len(soak.broken)} |",
    ]
    return "\n".join([*lines, *(f"- {each}" for each in soak.broken)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seconds-between-faults", type=float, default=10.0, help="on average")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=None, help="for the run and its log; by default a temporary one")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1 << 32)
    if arguments.folder is not None:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="a3g-soak-", dir=arguments.folder))
    print(f"seed {seed}, {arguments.minutes:g} minutes, log in {folder / 'log.txt'}", flush=True)
    before = leftovers()
    soak = Soak(folder, arguments.workers, random.Random(seed))
    soak.start()
    try:
        while not soak.status:
            soak.wait(1.0)
        soak.begun = time.time()  # starting is no part of it
        at, end = soak.begun, soak.begun + 60 * arguments.minutes
        # From fault to fault, however long one takes: a full disk is full for eight seconds.
        while (at := at + soak.random.expovariate(1 / arguments.seconds_between_faults)) < end:
            soak.wait(at - time.time())
            soak.strike()
        soak.wait(end - time.time())
        soak.wait(30.0)  # everything recovers
        soak.end()
    finally:
        soak.close()
    soak.check(leftovers() <= before, f"left behind: {leftovers() - before}")
    print(report(soak, time.time() - soak.begun))
    if not soak.broken:
        shutil.rmtree(folder)
    return 1 if soak.broken else 0


if __name__ == "__main__":
    sys.exit(main())
