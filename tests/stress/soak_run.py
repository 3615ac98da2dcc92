"""The run that `soak.py` torments: what is done to it, and what is seen of it from outside."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from a3g.errors import UserError
from a3g.runs.best_weights import read_score
from a3g.runs.checkpoint import load_progress, newest_good
from a3g.runs.paths import BEST_NAME, checkpoints_in
from a3g.runs.scores import Score
from a3g.runs.weights import weights_path
from tests.stress.faults import poison, run_processes

ROOT = Path(__file__).resolve().parent.parent.parent
ENV = "SuperMarioBros-1-1-v0"
MARK = "A3G_SOAK"  # in the environment of every process of the run, so that orphans are found
CHECKPOINT_SECONDS = 5.0
SILENCE_SECONDS = 5.0
# A checkpoint is due every CHECKPOINT_SECONDS; so long may it take to become due, be copied and be written besides.
SLACK_SECONDS = 5.0
FULL_DISK_SECONDS = 8.0
DISK_MEGABYTES = 48
GRACE_SECONDS = 5.0  # for processes to end after their launcher
MEMORY_SECONDS = 5.0
# Memory is flat if the processes of a kind hold no more in the last third of the soak than in the first, but for this.
MEMORY_SHARE, MEMORY_MEGABYTES = 1.1, 16.0

# How often each fault comes, relative to the others.
FAULTS = {
    "SIGKILL to a worker": 3,
    "SIGSTOP to a worker": 2,
    "SIGTERM to a worker": 2,
    "SIGKILL to the tester": 1,
    "SIGSTOP to the tester": 1,
    "SIGTERM to the tester": 1,
    "SIGKILL to the launcher": 2,
    "SIGSTOP to the launcher": 1,
    "SIGTERM to the launcher": 1,
    "SIGUSR1 to all": 1,
    "gradients that are no numbers": 2,
    "damage to the shared weights": 1,
    "damage to the optimizer's state": 1,
    "a full disk": 2,
    "a truncated checkpoint": 2,
}


@dataclass
class Soak:
    """One soak: the run, what was done to it, and what was seen."""

    folder: Path
    workers: int
    random: random.Random
    faults: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    """Promises that were not kept."""
    restarts: int = 0
    starts: int = 0
    restored: int = 0
    skipped: int = 0
    longest_interruption: float = 0.0
    seconds_lost: list[float] = field(default_factory=list)
    steps_lost: list[int] = field(default_factory=list)
    pauses_ms: list[float] = field(default_factory=list)
    memory: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self.disk = self.folder / "disk"
        self.run_folder = self.disk / "soak"
        self.disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m", "a3g-soak", str(self.disk)]
        self.has_disk = os.geteuid() == 0 and not subprocess.run(mount, check=False, capture_output=True).returncode
        self.log = (self.folder / "log.txt").open("ab")
        self.status: dict[str, Any] = {}
        self.begun = self.progressed_at = time.time()
        self.best: dict[Path, Score] = {}
        self.hindered: list[tuple[float, float]] = []  # times in which nothing could be saved, or was spoilt after it
        self.truncations = 0  # since the last start
        self.remembered_at = 0.0

    # -- the run

    def start(self) -> None:
        """The same command each time, as a batch job is requeued."""
        command = [sys.executable, "-m", "tests.stress.faulty_main", str(self.folder), "--env", ENV]
        command += ["--run-name", "soak", "--resume", "auto", "--log-dir", str(self.disk)]
        command += ["--save-model-dir", str(self.folder / "models"), "--workers", str(self.workers), "--lanes", "4"]
        command += ["--num-steps", "8", "--network", "conv4", "--hidden-size", "32", "--time-per-stage", "20"]
        command += ["--checkpoint-interval", str(CHECKPOINT_SECONDS), "--silence-limit", str(SILENCE_SECONDS)]
        command += ["--test-interval", "1", "--test-episodes", "1"]
        environment = {**os.environ, MARK: str(self.folder)}
        self.launcher = subprocess.Popen(
            command, cwd=ROOT, stdout=self.log, stderr=self.log, env=environment, start_new_session=True
        )
        self.starts += 1
        self.started_at = time.time()
        self.truncations = 0

    def observe(self) -> None:
        """What the run says of itself now."""
        try:
            status = json.loads((self.folder / "status.json").read_text())
        except (OSError, ValueError):
            return
        before, self.status = self.status, status
        same_start = before.get("launcher") == status["launcher"]
        if status == before or status["launcher"] != self.launcher.pid:
            return
        if same_start:
            for name in ("agent_steps", "updates", "episodes", "restarts", "restored", "skipped_updates", "tests"):
                self.check(status[name] >= before[name], f"{name} fell from {before[name]} to {status[name]}")
            for name, total in (("restarts", "restarts"), ("restored", "restored"), ("skipped_updates", "skipped")):
                setattr(self, total, getattr(self, total) + status[name] - before[name])
            if status["agent_steps"] > before["agent_steps"]:
                gap = status["time"] - self.progressed_at
                self.longest_interruption = max(self.longest_interruption, gap)
                self.progressed_at = status["time"]
        self.pauses_ms.append(status["pause_ms"])
        if time.time() - self.remembered_at >= MEMORY_SECONDS:
            self.remembered_at = time.time()
            self.look_at_memory()
            self.look_at_best()

    def look_at_memory(self) -> None:
        processes = {"launcher": [psutil.Process(self.launcher.pid)], "worker": [], "tester": []}
        for title, process in run_processes(self.launcher.pid).items():
            kind = "worker" if title.startswith("a3g train") else "tester" if title == "a3g test" else ""
            processes.get(kind, []).append(process)
        for kind, found in processes.items():
            for process in found:
                with contextlib.suppress(psutil.Error):
                    if time.time() - process.create_time() > 15.0:  # past its start
                        self.memory[kind].append((time.time(), process.memory_full_info().uss / 1e6))

    def look_at_best(self) -> None:
        """The best weights are never worse than they were, in the run's folder and where they are shipped."""
        for path in (self.run_folder / BEST_NAME, weights_path(self.folder / "models", ENV)):
            score, before = read_score(path), self.best.get(path)
            if before is not None:
                kept = score is not None and not before.is_better_than(score)
                self.check(kept, f"the best weights in {path} fell from {before} to {score}")
            if score is not None and (before is None or score.is_better_than(before)):
                self.best[path] = score

    def check(self, kept: bool, otherwise: str) -> None:
        if not kept:
            self.broken.append(f"after {time.time() - self.begun:.0f} s: {otherwise}")
            print(f"BROKEN {self.broken[-1]}", flush=True)

    # -- ends and new beginnings

    def after_end(self, expected: set[int], begun: float) -> None:
        """The launcher has ended: nothing may be left of it, and the next one goes on where it should."""
        code = self.launcher.wait()
        self.check(code in expected, f"the launcher ended with {code}, not with one of {expected}")
        self.check(time.time() - begun < 10.0 or code < 0, f"stopping took {time.time() - begun:.1f} s")
        deadline = time.time() + GRACE_SECONDS
        while (living := self.living()) and time.time() < deadline:
            time.sleep(0.05)
        self.check(not living, f"orphans: {living}")
        if code < 0 and self.status:
            self.account_for_loss(begun)
        elif code >= 0 and not (self.disk / "filler").exists():
            self.look_at_last_checkpoint()
        self.start()

    def living(self) -> list[str]:
        """Processes of the run that are not its launcher."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.pid != self.launcher.pid and process.environ().get(MARK) == str(self.folder):
                    found.append(f"{process.pid} {' '.join(process.cmdline())} {process.status()}")
        return found

    def account_for_loss(self, killed: float) -> None:
        """What the next start does not have any more, and whether that is within the promise."""
        try:
            progress = load_progress(newest_good(self.run_folder, lambda text: None))
        except (UserError, IndexError) as error:
            self.check(not checkpoints_in(self.run_folder), f"no good checkpoint: {error}")
            return
        # What an earlier kill had already cost does not count again.
        since = max(progress.saved_at, self.started_at)
        lost = killed - since
        hindered = sum(max(0.0, min(end, killed) - max(begin, since)) for begin, end in self.hindered)
        allowed = CHECKPOINT_SECONDS * (1 + self.truncations) + SLACK_SECONDS + hindered
        self.check(lost <= allowed, f"{lost:.1f} s were lost, {allowed:.1f} s were allowed")
        self.seconds_lost.append(lost)
        self.steps_lost.append(max(self.status["agent_steps"] - progress.agent_steps, 0))

    def look_at_last_checkpoint(self) -> int:
        """Who was told to stop has saved all; returns the agent steps that are saved."""
        try:
            saved = load_progress(newest_good(self.run_folder, print)).agent_steps
            ended = json.loads((self.run_folder / "summary.json").read_text())["agent_steps"]
        except (UserError, IndexError, OSError, ValueError) as error:
            self.check(False, f"no good checkpoint or no summary after a stop: {error}")
            return 0
        self.check(saved == ended, f"the last checkpoint has {saved:,} agent steps, the run ended with {ended:,}")
        return saved

    def end(self) -> None:
        """Stop the run as a user does, and look at what is left."""
        self.launcher.send_signal(signal.SIGTERM)
        begun = time.time()
        code = self.launcher.wait()
        self.check(code == 128 + signal.SIGTERM, f"the last stop ended with {code}")
        self.check(time.time() - begun < 10.0, f"the last stop took {time.time() - begun:.1f} s")
        time.sleep(1.0)
        self.check(not self.living(), f"orphans: {self.living()}")
        self.look_at_best()
        self.agent_steps = self.look_at_last_checkpoint()
        self.check(not list(self.run_folder.glob(".*")), "half-written files are left")
        for kind, seen in self.memory.items():
            third = (seen[-1][0] - seen[0][0]) / 3
            first = [megabytes for at, megabytes in seen if at <= seen[0][0] + third]
            last = [megabytes for at, megabytes in seen if at >= seen[-1][0] - third]
            self.check(max(last) <= MEMORY_SHARE * max(first) + MEMORY_MEGABYTES, f"a {kind} grew: {max(first)} to {max(last)}")

    def close(self) -> None:
        for process in [self.launcher.pid, *(int(line.split()[0]) for line in self.living())]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.launcher.wait()
        self.log.close()
        if self.has_disk:
            time.sleep(0.5)
            subprocess.run(["umount", str(self.disk)], check=False)

    # -- faults

    def strike(self) -> None:
        """One fault at random."""
        possible = [name for name in FAULTS if self.has_disk or name != "a full disk"]
        name = self.random.choices(possible, [FAULTS[each] for each in possible])[0]
        if self.inject(name):
            self.faults[name] += 1
            print(f"{time.time() - self.begun:6.0f} s  {name}", flush=True)

    def inject(self, name: str) -> bool:
        """Returns whether there was anything to do it to."""
        what, _, whom = name.partition(" to ")
        if what == "SIGUSR1":
            begun = time.time()
            os.killpg(self.launcher.pid, signal.SIGUSR1)
            self.after_end({128 + signal.SIGUSR1, -signal.SIGUSR1}, begun)
        elif whom == "the launcher":
            self.strike_launcher(what)
        elif what.startswith("SIG"):
            title = "a3g test" if whom == "the tester" else f"a3g train {self.random.randrange(self.workers)}"
            victim = run_processes(self.launcher.pid).get(title)
            if victim is None:
                return False
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.send_signal(signal.Signals[what])
        elif name.startswith("gradients"):
            (self.folder / "spoil").touch()
        elif name.startswith("damage"):
            try:
                poison(self.launcher.pid, 0 if "weights" in name else self.random.choice((1, 2)))
            except (OSError, ValueError, IndexError):  # it is only starting
                return False
        elif name == "a full disk":
            self.fill_disk()
        else:
            return self.truncate()
        return True

    def strike_launcher(self, what: str) -> None:
        begun = time.time()
        self.launcher.send_signal(signal.Signals[what])
        if what == "SIGSTOP":
            self.wait(self.random.uniform(2.0, 8.0))
            self.launcher.send_signal(signal.SIGCONT)
            self.hindered.append((begun, time.time()))
        else:
            # Told to stop before it listens, it ends as any program does.
            number = signal.Signals[what]
            self.after_end({-number} if number == signal.SIGKILL else {128 + number, -number}, begun)

    def fill_disk(self) -> None:
        begun, filler = time.time(), self.disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))
        self.wait(FULL_DISK_SECONDS)
        filler.unlink(missing_ok=True)
        # After the disk has room again, saving is tried within seconds.
        self.hindered.append((begun, time.time() + CHECKPOINT_SECONDS))

    def truncate(self) -> bool:
        found = checkpoints_in(self.run_folder)
        if len(found) < 2:
            return False
        with contextlib.suppress(OSError):  # it may be pruned at this moment
            os.truncate(found[-1], self.random.randrange(found[-1].stat().st_size))
            self.truncations += 1
        return True

    def wait(self, seconds: float) -> None:
        """Let time pass, and look."""
        until = time.time() + seconds
        while time.time() < until:
            self.observe()
            if self.launcher.poll() is not None:
                self.check(False, f"the launcher ended by itself, with {self.launcher.returncode}")
                self.start()
            time.sleep(0.1)
