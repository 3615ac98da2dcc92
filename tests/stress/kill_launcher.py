"""Kills the launcher again and again, at random moments and in the middle of saving, and looks what is left:
`python -m tests.stress.kill_launcher --times 200`. Exits with 1 if a start did not find a good checkpoint, went back
behind one that was there, or anything outlived its launcher.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from a3g.runs.checkpoint import load_progress, newest_good
from a3g.runs.paths import checkpoints_in
from tests.stress.faults import leftovers

ROOT = Path(__file__).resolve().parent.parent.parent
MARK = "A3G_KILLED"  # in the environment of every process of the run
GRACE_SECONDS = 5.0
STARTING_SECONDS = 120.0


def start(folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """A run that saves all the time, with a network of a size that takes its time to save."""
    command = [sys.executable, str(ROOT / "main.py"), "--env", "SuperMarioBros-1-1-v0", "--preset", "quick-a3c"]
    command += ["--run-name", "run", "--resume", "auto", "--log-dir", str(folder), "--save-model-dir", str(folder / "models")]
    command += ["--workers", "2", "--lanes", "4", "--checkpoint-interval", "0.2"]
    with log.open("ab") as file:
        return subprocess.Popen(
            command, cwd=ROOT, stdout=file, stderr=file, env={**os.environ, MARK: str(folder)}, start_new_session=True
        )


def wait_until_saving(process: subprocess.Popen[bytes], run: Path, times: int) -> bool:
    """Wait until a checkpoint is half-written, the first or a later one; returns whether so many were seen."""
    deadline = time.monotonic() + STARTING_SECONDS
    known = {path.name for path in run.glob(".checkpoint-*.tmp")}
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(FileNotFoundError):
            new = {entry.name for entry in os.scandir(run) if entry.name.startswith(".checkpoint-")} - known
            known |= new
            times -= len(new)
            if times <= 0:
                return True
        time.sleep(0.0005)
    return False


def text_behind(log: Path, size: int) -> str:
    """What was written after the log's first `size` bytes."""
    return log.read_bytes()[size:].decode(errors="replace")


def living(folder: Path) -> list[str]:
    """Processes of the run."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == str(folder):
                found.append(f"{process.pid} {' '.join(process.cmdline())}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--longest-life", type=float, default=8.0, help="seconds, of the starts killed at a random moment")
    arguments = parser.parse_args()
    chance, before = random.Random(arguments.seed), leftovers()
    folder = Path(tempfile.mkdtemp(prefix="a3g-kill-"))
    run, log = folder / "run", folder / "log.txt"
    reached, in_saving, with_remains, gone_on, broken = 0, 0, 0, 0, []
    began = time.monotonic()
    for number in range(1, arguments.times + 1):
        had_checkpoint = bool(checkpoints_in(run))
        said = log.stat().st_size if log.exists() else 0
        process = start(folder, log)
        if number % 2:
            time.sleep(chance.uniform(0.0, arguments.longest_life))
        elif wait_until_saving(process, run, chance.randint(1, 12)):
            time.sleep(chance.uniform(0.0, 0.06))
            in_saving += 1
        process.send_signal(signal.SIGKILL)
        code = process.wait()
        with_remains += any(run.glob(".checkpoint-*.tmp"))
        deadline = time.monotonic() + GRACE_SECONDS
        while (left := living(folder)) and time.monotonic() < deadline:
            time.sleep(0.02)
        text = text_behind(log, said)
        gone_on += "goes on from" in text
        steps = reached
        if checkpoints_in(run):
            try:
                steps = load_progress(newest_good(run, print)).agent_steps
            except Exception as error:  # whatever it is, it is what this looks for
                broken.append(f"kill {number}: {error}")
        elif had_checkpoint:
            broken.append(f"kill {number}: all checkpoints are gone")
        for wrong, sentence in (
            (code != -signal.SIGKILL, f"the launcher had ended by itself, with {code}: {text[-300:]}"),
            (bool(left), f"orphans: {left}"),
            (bool(leftovers() - before), f"left behind: {leftovers() - before}"),
            (steps < reached, f"went back from {reached:,} to {steps:,} agent steps"),
            ("passed over" in text, "a checkpoint was damaged"),
        ):
            if wrong:
                broken.append(f"kill {number}: {sentence}")
                print(f"BROKEN {broken[-1]}", flush=True)
        reached = steps
        if number % 10 == 0:
            print(f"{number} kills, {time.monotonic() - began:.0f} s: {steps:,} agent steps are safe", flush=True)
    print(
        f"\n| kills | in the middle of saving | with a half-written file left | starts that went on from a checkpoint | "
        f"agent steps reached | promises broken |\n|---|---|---|---|---|---|\n"
        f"| {arguments.times} | {in_saving} | {with_remains} | {gone_on} | {reached:,} | {len(broken)} |"
    )
    if not broken:
        shutil.rmtree(folder)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
