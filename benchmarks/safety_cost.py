"""What safety costs in training speed: `python benchmarks/safety_cost.py --pairs 5 --seconds 120`.

Runs alternate between the program as it is, with a checkpoint every `--checkpoint-interval` seconds, and the program
without any of it: no heartbeats and nobody who listens for them, no barrier before the shared model, no checkpoint while
it runs, no look at whether the weights are sound. For the latter this script puts functions that do nothing in the
place of those that do it, and then is `main.py`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

BARE = "--without-safety"
# Left out at the beginning of a run: processes do not begin at the same moment.
WARM_UP_SECONDS = 15.0


def strip() -> None:
    """Take safety out of the program, in this process; children import this file again and do the same."""
    from a3g.processes.heartbeat import HeartbeatMonitor, Heartbeats
    from a3g.runs.barrier import CheckpointBarrier
    from a3g.runs.saver import Saver

    @contextlib.contextmanager
    def pass_freely(self: CheckpointBarrier, worker: int) -> Iterator[None]:
        yield

    changes: dict[type, dict[str, Any]] = {
        CheckpointBarrier: {
            "update": pass_freely,
            "enter_rollout": lambda self, worker: True,
            "leave_rollout": lambda self, worker: None,
        },
        Heartbeats: {"beat": lambda self, process: None},
        HeartbeatMonitor: {"timed_out": lambda self, now, timeout: False},
        Saver: {"poll": lambda self, now: None, "check_health": lambda self, now: False},
    }
    for kind, methods in changes.items():
        for name, method in methods.items():
            assert hasattr(kind, name)
            setattr(kind, name, method)


if BARE in sys.argv:
    strip()


def measure(bare: bool, seconds: float, training: list[str], interval: float) -> float:
    """Agent steps per second of one run."""
    from a3g.reporting.metrics import read_curve

    with tempfile.TemporaryDirectory(prefix="a3g-cost-") as folder:
        script = [str(Path(__file__).resolve()), BARE] if bare else [str(ROOT / "main.py")]
        command = [sys.executable, *script, *training, "--log-dir", folder, "--save-model-dir", folder, "--run-name", "run"]
        command += ["--max-minutes", str((WARM_UP_SECONDS + seconds) / 60), "--checkpoint-interval", str(interval)]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        points = [point for point in read_curve(Path(folder) / "run", "train/updates") if point[1] >= WARM_UP_SECONDS]
    (first_steps, first_seconds, _), (last_steps, last_seconds, _) = points[0], points[-1]
    return (last_steps - first_steps) / (last_seconds - first_seconds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--checkpoint-interval", type=float, default=30.0, help="ten times as often as by default")
    parser.add_argument("--training", default="--preset quick-a3c --env SuperMarioBros-1-1-v0", help="options of main.py")
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    training = arguments.training.split()
    pairs = []
    for pair in range(arguments.pairs):
        speeds = {}
        for bare in (False, True) if pair % 2 else (True, False):  # whoever comes first is not always the same
            speeds[bare] = measure(bare, arguments.seconds, training, arguments.checkpoint_interval)
        pairs.append((speeds[False], speeds[True]))
        cost = 1 - speeds[False] / speeds[True]
        print(f"with {speeds[False]:,.0f}, without {speeds[True]:,.0f} agent steps/s: costs {cost:.2%}", flush=True)
    costs = [1 - safe / bare for safe, bare in pairs]
    spread = statistics.stdev(costs) if len(costs) > 1 else float("nan")
    print(f"median cost {statistics.median(costs):.2%}, standard deviation {spread:.2%}, {len(costs)} pairs")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"pairs": pairs, "median_cost": statistics.median(costs)}, indent=1))
    return 0


if __name__ == "__main__":
    if BARE in sys.argv:
        from main import main as train

        sys.exit(train(sys.argv[2:]))
    sys.exit(main())
