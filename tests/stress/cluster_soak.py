"""A run on a Ray cluster with a fault every half minute, and whether everything that it promises held:
`make soak-cluster`, or `python -m tests.stress.cluster_soak --minutes 30`. Prints a report; exits with 1 if a promise was
broken.

The cluster has two nodes on this machine, a raylet each. Faults are signals from outside: to nodes, the head, the server, the
machines' actors, their workers, and the driver. Promises: nothing that a checkpoint had is ever forgotten; training goes on
within RECOVERY_SECONDS of a fault; without the head the driver saves and ends by itself, and the run goes on on another
cluster; Ctrl-C ends with everything saved; nothing is left running.
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
from collections import Counter
from pathlib import Path

import psutil

from a3g.errors import UserError
from a3g.runs.checkpoint import load_progress, newest_good
from a3g.runs.paths import checkpoints_in
from tests.ray_nodes import ENVIRONMENT, Nodes
from tests.running import ROOT, arguments

CHECKPOINT_SECONDS = 5.0
# Nodes and processes start slowly where several share two cores.
RECOVERY_SECONDS = 120.0
START_SECONDS = 300.0
# The driver waits for ten seconds for the head, and then for its own processes.
HEADLESS_SECONDS = 90.0
STOP_SECONDS = 120.0
# In the environment of every process, so that they are found; setproctitle would write over it.
MARK = "A3G_CLUSTER_SOAK"
MARKED = {MARK: str(os.getpid()), "SPT_NOENV": "1"}

MACHINE = "ray::Machine"
"""What Ray calls the process of a machine's launcher."""

FAULTS = {
    "SIGKILL to a node, and another joins": 4,
    "SIGKILL to the parameter server": 3,
    "SIGKILL to the coordinator of the machines": 2,
    "SIGKILL to a machine's launcher": 3,
    "SIGKILL to a worker of a machine": 3,
    "SIGSTOP to a machine's launcher": 1,
    "SIGKILL to the driver": 2,
    "SIGKILL to the head's node": 1,
}
"""How often each comes, relative to the others."""


class ClusterSoak:
    """The cluster, the run on it, and what was seen."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder, self.run_folder, self.chance = folder, folder / "logs" / "run", chance
        self.faults: Counter[str] = Counter()
        self.broken: list[str] = []
        self.starts = 0
        self.recoveries: list[float] = []
        self._log = (folder / "log.txt").open("w")
        self._nodes = Nodes(environment=MARKED).__enter__()
        self._joined = [self._nodes.add()]
        self._driver = self._start()

    # -- what is seen

    @property
    def agent_steps(self) -> int:
        """Of the newest checkpoint; 0 if there is none yet."""
        if not checkpoints_in(self.run_folder):
            return 0
        try:
            return load_progress(newest_good(self.run_folder, lambda text: None)).agent_steps
        except (UserError, OSError):  # it has just been removed
            return 0

    def say(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)

    def check(self, holds: bool, what: str) -> None:
        if not holds:
            self.broken.append(f"{time.strftime('%H:%M:%S')} {what}")
            self.say(f"BROKEN: {what}")

    def wait_until_it_goes_on(self, steps: int, patience: float, after: str) -> None:
        """See that checkpoints with more agent steps come, and that no checkpoint ever has fewer."""
        began = time.monotonic()
        while time.monotonic() - began < patience:
            now = self.agent_steps
            if now > steps:
                self.recoveries.append(time.monotonic() - began)
                return
            if self._driver.poll() is not None:
                self.check(False, f"the driver ended with {self._driver.returncode} after: {after}")
                self._driver = self._start()
            time.sleep(0.5)
        self.check(False, f"no checkpoint with more agent steps than {steps:,} within {patience:g} s after: {after}")

    # -- what is done

    def _start(self) -> subprocess.Popen[str]:
        self.starts += 1
        resumes = self.run_folder.is_dir() and self.agent_steps > 0
        how = ["--resume", "run"] if resumes else ["--run-name", "run"]
        flags = ["--workers", "1", "--cluster-updates", "4", "--checkpoint-interval", str(CHECKPOINT_SECONDS)]
        command = [*arguments(self.folder), *flags, *how, "--cluster", self._nodes.address]
        environment = {**ENVIRONMENT, **MARKED}
        return subprocess.Popen(command, cwd=ROOT, stdout=self._log, stderr=self._log, text=True, env=environment)

    def strike(self) -> None:
        """One fault, and what has to follow."""
        fault = self.chance.choices(list(FAULTS), list(FAULTS.values()))[0]
        before = self.agent_steps
        if not self._do(fault):
            self.say(f"nobody there for: {fault}")
            return
        self.faults[fault] += 1
        self.say(f"{fault} at {before:,} agent steps")
        self.wait_until_it_goes_on(max(before, self.agent_steps), RECOVERY_SECONDS, fault)

    def _do(self, fault: str) -> bool:
        """Returns whether there was somebody to do it to."""
        if fault == "SIGKILL to a node, and another joins":
            self._nodes.kill(self._joined.pop())
            self._joined.append(self._nodes.add())
        elif fault == "SIGKILL to the parameter server":
            return self._signal("ray::ParameterShard", signal.SIGKILL)
        elif fault == "SIGKILL to the coordinator of the machines":
            return self._signal("ray::Coordinator", signal.SIGKILL)
        elif fault == "SIGKILL to a machine's launcher":
            return self._signal(MACHINE, signal.SIGKILL)
        elif fault == "SIGKILL to a worker of a machine":
            return self._signal("a3g train", signal.SIGKILL)
        elif fault == "SIGSTOP to a machine's launcher":
            return self._signal(MACHINE, signal.SIGSTOP)
        elif fault == "SIGKILL to the driver":
            newest = self.agent_steps
            self._driver.kill()
            self._driver.wait()
            self.check(self.agent_steps >= newest, "a checkpoint was lost with the driver")
            self._driver = self._start()
        else:
            self._lose_the_head()
        return True

    def _lose_the_head(self) -> None:
        """The driver has to save and end by itself; another cluster goes on."""
        newest = self.agent_steps
        self._nodes.kill(0)
        try:
            code = self._driver.wait(HEADLESS_SECONDS)
            self.check(code == 1, f"without the head the driver ended with {code}")
        except subprocess.TimeoutExpired:
            self.check(False, f"without the head the driver did not end within {HEADLESS_SECONDS:g} s")
            self._driver.kill()
        self.check(self.agent_steps >= newest, "a checkpoint was lost with the head")
        self._nodes.__exit__()
        self._nodes = Nodes(environment=MARKED).__enter__()
        self._joined = [self._nodes.add()]
        self._driver = self._start()

    def _signal(self, title: str, number: signal.Signals) -> bool:
        found = []
        for process in ours():
            with contextlib.suppress(psutil.Error):
                if (" ".join(process.cmdline()) or process.name()).startswith(title):
                    found.append(process)
        if found:
            with contextlib.suppress(psutil.Error):
                self.chance.choice(found).send_signal(number)
        return bool(found)

    def end(self) -> None:
        """Ctrl-C: everything is saved, and all processes end."""
        self._driver.send_signal(signal.SIGINT)
        try:
            code = self._driver.wait(STOP_SECONDS)
            self.check(code == 128 + signal.SIGINT, f"Ctrl-C ended the driver with {code}")
        except subprocess.TimeoutExpired:
            self.check(False, f"the driver did not end within {STOP_SECONDS:g} s of Ctrl-C")
        self.check(self.agent_steps > 0, "nothing is left of the run")

    def close(self) -> None:
        self._driver.kill()
        self._driver.wait()
        self._nodes.__exit__()
        self._log.close()


def ours() -> list[psutil.Process]:
    """Processes of the cluster and the run."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get(MARK) == str(os.getpid()):
                found.append(process)
    return found


def orphans() -> list[str]:
    """What is left of them."""
    found = []
    for process in ours():
        with contextlib.suppress(psutil.Error):
            found.append(f"{process.pid} {' '.join(process.cmdline())[:60]}")
    return found


def report(soak: ClusterSoak, seconds: float) -> str:
    """Markdown."""
    recoveries = sorted(soak.recoveries) or [0.0]
    lines = ["| fault | times |", "|---|---|"]
    lines += [f"| {name} | {soak.faults[name]} |" for name in FAULTS]
    lines += [
        "",
        "| | |",
        "|---|---|",
        f"| minutes | {seconds / 60:.1f} |",
        f"| faults | {soak.faults.total()}, one every {seconds / max(soak.faults.total(), 1):.1f} s |",
        f"| agent steps at the end | {soak.agent_steps:,} |",
        f"| starts of the driver | {soak.starts} |",
        f"| once a fault is done and its cluster is up, until a checkpoint has more agent steps | "
        f"{recoveries[len(recoveries) // 2]:.1f} s, at most {recoveries[-1]:.1f} s |",
        f"| promises broken | {len(soak.broken)} |",
    ]
    return "\n".join([*lines, *(f"- {each}" for each in soak.broken)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seconds-between-faults", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    folder = Path(tempfile.mkdtemp(prefix="a3g-cluster-soak-"))
    print(f"seed {seed}, {options.minutes:g} minutes, log in {folder / 'log.txt'}", flush=True)
    os.environ.update(ENVIRONMENT)
    soak = ClusterSoak(folder, random.Random(seed))
    try:
        soak.wait_until_it_goes_on(0, START_SECONDS, "the start")
        began = time.monotonic()
        while (now := time.monotonic()) < began + 60 * options.minutes:
            soak.strike()
            time.sleep(max(0.0, now + options.seconds_between_faults - time.monotonic()))
        seconds = time.monotonic() - began
        soak.end()
    finally:
        soak.close()
    left = orphans()
    soak.check(not left, f"left running: {', '.join(left)}")
    print(report(soak, seconds))
    if not soak.broken:
        shutil.rmtree(folder)
    return 1 if soak.broken else 0


if __name__ == "__main__":
    sys.exit(main())
