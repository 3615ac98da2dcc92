"""The lock on a run's folder: between processes, and between machines that share the folder."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from a3g.runs.folder_lock import FolderInUseError, FolderLock
from tests.machines import ROOT, needs_machines, on_machine
from tests.running import arguments

# Takes the folder, says so, and answers "lost" or "held" to every line that it reads.
HOLD = """
import sys
from pathlib import Path
from a3g.runs.folder_lock import FolderInUseError, FolderLock
folder, renew_seconds, stale_seconds = sys.argv[1:]
try:
    lock = FolderLock(Path(folder), lambda text: None, float(renew_seconds), float(stale_seconds))
except FolderInUseError as error:
    print(f"in use: {error}", flush=True)
    sys.exit()
print("taken", flush=True)
for line in sys.stdin:
    print("lost" if lock.is_lost else "held", flush=True)
lock.release()
"""
# A holder that renews so often is never taken for dead by somebody as patient as this.
LIVELY, PATIENT = "0.2", "120"
SOON = "1"

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Start]:
    """Starts a process that takes the folder `shared`, on a machine of this name or on this one."""
    (tmp_path / "shared").mkdir()
    processes = []

    def starter(machine: str = "", stale_seconds: str = PATIENT) -> subprocess.Popen[str]:
        arguments = ["-c", HOLD, str(tmp_path / "shared"), LIVELY, stale_seconds]
        if machine:
            processes.append(on_machine(machine, tmp_path / "shared", arguments))
        else:
            pipe = subprocess.PIPE
            command = [sys.executable, *arguments]
            processes.append(subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True, start_new_session=True))
        return processes[-1]

    yield starter
    for process in processes:
        with contextlib.suppress(ProcessLookupError):  # a machine's mount is in its group
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def ask(process: subprocess.Popen[str]) -> str:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return said(process)


def end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.wait()


def lease_of_a_stranger(folder: Path, released: bool = False) -> Path:
    holder = {"host": "far", "boot": "another", "namespace": "pid:[1]", "pid": 1, "started": 5, "key": "k"}
    path = folder / ".lease-000007"
    path.write_text(json.dumps({"holder": holder, "beats": 3, "released": released}))
    return path


def test_a_killed_holder_leaves_the_folder_to_others_of_its_machine_at_once(hold: Start) -> None:
    first = hold()
    assert said(first) == "taken"
    assert said(hold()) == "in use: another process"
    first.kill()
    first.wait()
    second = hold()
    assert said(second) == "taken"
    end(second)
    assert said(hold()) == "taken"


def test_the_lease_of_a_machine_that_is_gone_is_taken_over(tmp_path: Path) -> None:
    stale = lease_of_a_stranger(tmp_path)
    waited: list[str] = []
    lock = FolderLock(tmp_path, waited.append, stale_seconds=0.1)
    assert waited == [f"process 1 on far had {tmp_path}: looks for up to 0.1 s whether it still does"]
    assert not stale.exists()
    assert not lock.is_lost
    lock.release()


def test_a_lease_that_was_released_keeps_nobody_waiting(tmp_path: Path) -> None:
    lease_of_a_stranger(tmp_path, released=True)
    waited: list[str] = []
    FolderLock(tmp_path, waited.append).release()
    assert waited == []
    assert [path.name for path in tmp_path.iterdir()] == [".lease-000008"]


def test_a_lease_that_changes_is_somebodys(tmp_path: Path) -> None:
    stale = lease_of_a_stranger(tmp_path)

    def say(text: str) -> None:
        stale.write_text(stale.read_text().replace('"beats": 3', '"beats": 4'))

    with pytest.raises(FolderInUseError, match="process 1 on far"):
        FolderLock(tmp_path, say, renew_seconds=0.05, stale_seconds=120)


def test_a_damaged_lease_is_watched_as_any_other(tmp_path: Path) -> None:
    (tmp_path / ".lease-000003").write_text("nonsense")
    FolderLock(tmp_path, stale_seconds=0.1).release()
    assert [path.name for path in tmp_path.iterdir()] == [".lease-000004"]


def test_who_finds_a_higher_lease_has_lost_the_folder(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path, renew_seconds=0.05)
    assert not lock.is_lost
    lease_of_a_stranger(tmp_path)
    wait_until(lambda: lock.is_lost)
    lock.release()
    assert (tmp_path / ".lease-000007").exists()


def test_a_lease_that_somebody_removed_is_made_again(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path, renew_seconds=0.05)
    (tmp_path / ".lease-000001").unlink()
    wait_until((tmp_path / ".lease-000001").exists)
    assert not lock.is_lost
    lock.release()


def test_nothing_stays_if_nothing_was_done(tmp_path: Path) -> None:
    FolderLock(tmp_path).release(leave_no_trace=True)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_no_run_from_going_on(tmp_path: Path) -> None:
    """The kernel's lock is enough on one machine; the lease follows when there is room."""
    program = """
import resource, sys, time
from pathlib import Path
from a3g.runs.folder_lock import FolderLock
folder = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))  # as near to a full disk as one gets without one
lock = FolderLock(folder, renew_seconds=0.05)
assert not lock.is_lost and not list(folder.iterdir())
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
deadline = time.monotonic() + 60
while not (folder / ".lease-000001").exists():
    assert time.monotonic() < deadline
    time.sleep(0.01)
assert not lock.is_lost
lock.release()
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, cwd=ROOT)


@needs_machines()
def test_two_machines_do_not_hold_one_folder(hold: Start) -> None:
    first = hold("node-a")
    assert said(first) == "taken"
    assert said(hold("node-b")) == f"in use: process {first.pid} on node-a"
    assert ask(first) == "held"
    end(first)
    assert said(hold("node-b")) == "taken"


@needs_machines()
def test_a_machine_that_died_is_followed_by_another(hold: Start) -> None:
    first = hold("node-a")
    assert said(first) == "taken"
    first.kill()
    first.wait()
    assert said(hold("node-b", SOON)) == "taken"


@needs_machines()
def test_a_holder_that_was_silent_for_long_gives_way(hold: Start) -> None:
    """Stopped, as a suspended machine or one that the file server did not hear is: it must not write when it wakes."""
    first = hold("node-a")
    assert said(first) == "taken"
    first.send_signal(signal.SIGSTOP)
    second = hold("node-b", SOON)
    assert said(second) == "taken"
    first.send_signal(signal.SIGCONT)
    assert ask(first) == "lost"
    assert ask(second) == "held"


@needs_machines()
def test_only_one_of_many_machines_follows(tmp_path: Path, hold: Start) -> None:
    lease_of_a_stranger(tmp_path / "shared")
    answers = [said(process) for process in [hold(f"node-{number}", "5") for number in range(5)]]
    assert answers.count("taken") == 1
    assert sum(answer.startswith("in use: ") for answer in answers) == 4


# As main.py, but so that a silent machine is followed after seconds.
TRAIN = """
import functools, sys
from a3g.processes import prepare
prepare.FolderLock = functools.partial(prepare.FolderLock, renew_seconds=0.5, stale_seconds=5.0)
from main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.stress
@pytest.mark.timeout(1800)
@needs_machines()
def test_a_run_goes_on_on_another_machine_and_the_first_one_gives_way(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    folder = shared / "logs" / "run"
    flags = ["-c", TRAIN, *arguments(shared, "--workers", "1", "--run-name", "run", "--resume", "auto")[2:]]
    processes: list[subprocess.Popen[str]] = []

    def train(machine: str, *more: str) -> subprocess.Popen[str]:
        with (tmp_path / f"output-{len(processes)}").open("w") as output:
            processes.append(on_machine(machine, shared, [*flags, *more], stdout=output, stderr=output))
        return processes[-1]

    def output(number: int) -> str:
        return (tmp_path / f"output-{number}").read_text()

    try:
        first = train("node-a", "--checkpoint-interval", "1")
        wait_until(lambda: len(list(folder.glob("checkpoint-??????.safetensors"))) >= 2, 900)
        assert train("node-b").wait(900) == 2
        assert f"is going on in process {first.pid} on node-a: stop that first" in output(1)

        first.send_signal(signal.SIGSTOP)
        assert train("node-b", "--total-steps", "1").wait(900) == 0
        assert "goes on from" in output(2)
        summary = (folder / "summary.json").read_text()
        checkpoints = sorted(folder.glob("checkpoint-*"))
        first.send_signal(signal.SIGCONT)
        assert first.wait(900) == 1
        assert "another machine has taken over the run" in output(0)
        assert (folder / "summary.json").read_text() == summary
        assert sorted(folder.glob("checkpoint-*")) == checkpoints
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_until(what: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
