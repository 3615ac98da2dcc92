"""What may happen to a run, and what it makes of it: processes that die, hang or are stopped, disks, signals, damage."""

from __future__ import annotations

import dataclasses
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor, multiprocessing

from a3g.config import TrainConfig
from a3g.files import append, remove_remains, temporary_path
from a3g.processes.heartbeat import LAUNCHER_SLEPT_SECONDS, STARTING_FACTOR, HeartbeatMonitor, Heartbeats
from a3g.processes.prepare import prepare_run
from a3g.processes.process import EXIT_DAMAGED_WEIGHTS, prepare_process
from a3g.processes.run_end import collect_stop_signals, make_saver
from a3g.processes.supervisor import (
    LONGEST_DELAY_SECONDS,
    MAX_DEATHS_WITHOUT_WORK,
    MAX_QUICK_DEATHS,
    QUICK_DEATH_SECONDS,
    RETRY_SECONDS,
    Child,
    Supervisor,
    backoff,
    describe_exit,
)
from a3g.reporting.metrics import MetricsWriter, read_curve
from a3g.reporting.phases import PHASE_NAMES
from a3g.reporting.status import RunStatus
from a3g.runs import saver
from a3g.runs.barrier import CheckpointBarrier
from a3g.runs.checkpoint import load_progress, newest_good
from a3g.runs.paths import checkpoint_path, checkpoints_in, worker_path
from a3g.runs.progress import Progress
from a3g.runs.snapshot import Snapshot
from tests.running import (
    PATIENCE_SECONDS,
    ROOT,
    SMALL,
    Run,
    Start,
    arguments,
    exact_tensors,
    newest_checkpoint,
    snapshot_of,
    summary_of,
)
from tests.stress.faults import leftovers_of, poison
from tests.stress.kill_launcher import text_behind
from tests.stress.soak_run import Soak

fork = multiprocessing.get_context("fork")


# -- heartbeats


def test_a_process_is_missed_when_its_heart_stands_still() -> None:
    heartbeats = Heartbeats(2)
    monitor = HeartbeatMonitor(heartbeats, 1)
    monitor.restart(100.0)
    assert not monitor.has_beaten
    assert not monitor.timed_out(103.0, timeout=1.0)  # it only starts
    heartbeats.beat(1)
    assert not monitor.timed_out(104.0, timeout=1.0)
    assert monitor.has_beaten
    heartbeats.beat(0)  # another's
    assert not monitor.timed_out(105.0, timeout=1.0)
    assert monitor.timed_out(105.1, timeout=1.0)
    monitor.restart(106.0)
    for second in range(int(STARTING_FACTOR)):
        assert not monitor.timed_out(107.0 + second, timeout=1.0)
    assert monitor.timed_out(107.5 + STARTING_FACTOR, timeout=1.0)


def test_a_launcher_that_was_stopped_itself_misses_nobody() -> None:
    heartbeats = Heartbeats(1)
    monitor = HeartbeatMonitor(heartbeats, 0)
    monitor.restart(0.0)
    heartbeats.beat(0)
    assert not monitor.timed_out(1.0, timeout=10.0)
    assert not monitor.timed_out(1.0 + 100 * LAUNCHER_SLEPT_SECONDS, timeout=10.0)
    for second in range(12):
        silent = monitor.timed_out(2.0 + 100 * LAUNCHER_SLEPT_SECONDS + second, timeout=10.0)
    assert silent


# -- the supervisor, with real processes and a clock of the test's


def die(code: int) -> None:
    os._exit(code)


def be_killed(number: int) -> None:
    if number != signal.SIGKILL:  # what started the tests may have had it ignored, as nohup does with SIGHUP
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    time.sleep(PATIENCE_SECONDS)


class Team:
    """A supervisor of one child, whose fate is chosen."""

    def __init__(self, target: Callable[..., None], *arguments: Any, beats: bool = False, excused: bool = False) -> None:
        self.heartbeats, self.now, self.beats = Heartbeats(1), 0.0, beats

        def start(restarts: int) -> Any:
            process = fork.Process(target=target, args=arguments)
            process.start()
            return process

        child = Child("a3g train 0", start, HeartbeatMonitor(self.heartbeats, 0), self.work, on_death=lambda process: excused)
        self.restarts = 0
        self.supervisor = Supervisor([child], heartbeat_timeout=5.0, on_restart=self._count_restart)
        self.supervisor.start(self.now)

    def work(self) -> int:
        return self.heartbeats.count(0)

    @property
    def child(self) -> Child:
        return self.supervisor.children[0]

    def _count_restart(self) -> None:
        self.restarts += 1

    def live_until_death(self, seconds: float) -> str | None:
        """Let the child live so long and die."""
        assert self.child.process is not None
        if self.beats:
            self.heartbeats.beat(0)
            self.supervisor.check(self.now)
        if self.child.process is not None:
            self.child.process.join()
        self.now += seconds
        return self.supervisor.check(self.now)

    def wait_for_restart(self) -> float:
        """Seconds until the child is started again."""
        waited = 0.0
        while self.child.process is None:
            waited += 0.5
            self.now += 0.5
            assert self.supervisor.check(self.now) is None
        return waited


def test_a_child_that_dies_before_it_has_done_anything_ends_the_run_soon() -> None:
    team = Team(die, 17)
    for _ in range(MAX_DEATHS_WITHOUT_WORK - 1):
        assert team.live_until_death(1.0) is None
        team.wait_for_restart()
    assert team.live_until_death(1.0) == (
        "a3g train 0 died 3 times in a row; the last time it died by exit code 17 (see its output above)"
    )
    assert team.restarts == MAX_DEATHS_WITHOUT_WORK - 1


def test_a_child_that_works_and_dies_is_started_again_later_and_later() -> None:
    team = Team(die, 1, beats=True)
    delays = []
    for _ in range(MAX_QUICK_DEATHS - 1):
        assert team.live_until_death(1.0) is None
        delays.append(team.wait_for_restart())
    assert delays[0] <= 0.5
    assert delays[1:] == [backoff(deaths) for deaths in range(2, MAX_QUICK_DEATHS)]
    trouble = team.live_until_death(1.0)
    assert trouble is not None
    assert f"died {MAX_QUICK_DEATHS} times in a row" in trouble
    assert backoff(1) == 0
    assert backoff(100) == LONGEST_DELAY_SECONDS


def test_deaths_far_apart_are_no_series() -> None:
    team = Team(die, 1, beats=True)
    for _ in range(MAX_QUICK_DEATHS + 2):
        assert team.live_until_death(QUICK_DEATH_SECONDS + 1) is None
        assert team.wait_for_restart() <= 0.5


def test_deaths_that_were_not_the_childs_fault_are_no_reason_to_give_up() -> None:
    team = Team(die, 1, excused=True)
    for _ in range(MAX_DEATHS_WITHOUT_WORK + 1):
        assert team.live_until_death(1.0) is None
        team.wait_for_restart()


def test_a_silent_child_is_killed_and_started_again() -> None:
    team = Team(time.sleep, PATIENCE_SECONDS)
    process = team.child.process
    assert process is not None
    stopped = psutil.Process(process.pid)
    stopped.suspend()
    while stopped.status() != psutil.STATUS_STOPPED:
        time.sleep(0.01)
    team.heartbeats.beat(0)
    team.supervisor.check(1.0)
    for second in (2.0, 4.0, 6.0):
        team.supervisor.check(second)
        assert process.is_alive()
    for second in (7.0, 8.0):
        team.now = second
        team.supervisor.check(second)
    assert process.exitcode == -signal.SIGKILL
    assert team.supervisor.messages == ["a3g train 0 gave no sign of life for 5 s and was killed; started again"]
    team.wait_for_restart()
    assert team.child.process is not None
    team.child.process.kill()
    team.child.process.join()


def compute() -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        pass


def test_a_child_that_waits_for_a_processor_does_not_hang_but_one_that_computes_for_ever_does() -> None:
    """Machines are shared: whoever gets a thirtieth of one is silent for long."""
    team = Team(compute)
    process = team.child.process
    assert process is not None
    times = psutil.Process(process.pid).cpu_times

    def let_pass(seconds: int) -> None:
        for _ in range(seconds):
            team.now += 1.0
            team.supervisor.check(team.now)

    team.supervisor.heartbeat_timeout = 100.0
    let_pass(2_000)  # long after, but it has had next to no time to compute
    assert process.is_alive()
    team.supervisor.heartbeat_timeout = 0.2
    while times().user < 1.0:
        time.sleep(0.1)
    let_pass(1)
    assert process.exitcode == -signal.SIGKILL
    team.wait_for_restart()
    assert team.child.process is not None
    team.child.process.kill()
    team.child.process.join()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_the_signal_that_a_child_died_of_is_named(number: signal.Signals) -> None:
    team = Team(be_killed, number)
    team.live_until_death(1.0)
    assert f"died by {number.name}" in team.supervisor.messages[0]
    team.wait_for_restart()
    assert team.child.process is not None
    team.child.process.join()


def test_a_child_that_can_not_be_started_is_tried_again() -> None:
    started = []

    def start(restarts: int) -> Any:
        started.append(restarts)
        if len(started) == 1:
            raise BlockingIOError("Resource temporarily unavailable")
        process = fork.Process(target=die, args=(0,))
        process.start()
        return process

    supervisor = Supervisor([Child("a3g test", start, HeartbeatMonitor(Heartbeats(1), 0), lambda: 0)], heartbeat_timeout=5.0)
    supervisor.start(0.0)
    assert supervisor.check(RETRY_SECONDS - 1.0) is None
    assert len(started) == 1
    supervisor.check(RETRY_SECONDS)
    assert len(started) == 2
    assert supervisor.messages == ["a3g test could not be started: Resource temporarily unavailable; tried again in 10 s"]
    supervisor.join()


def test_words_that_go_nowhere_end_nothing() -> None:
    full = "import sys; from a3g.reporting.say import say; sys.stdout = open('/dev/full', 'w'); say('words'); sys.stdout = None"
    assert subprocess.run([sys.executable, "-c", full], cwd=ROOT, check=False, stderr=subprocess.DEVNULL).returncode == 0


def talk_to_a_full_disk() -> None:
    sys.stdout = Path("/dev/full").open("w")  # noqa: SIM115
    prepare_process("a3g test")
    print("words")


def test_a_childs_words_that_go_nowhere_are_not_its_end() -> None:
    child = fork.Process(target=talk_to_a_full_disk)
    child.start()
    child.join()
    assert child.exitcode == 0


@pytest.mark.parametrize(("handler", "heard"), [(signal.SIG_IGN, []), (signal.SIG_DFL, [signal.SIGHUP])])
def test_nohup_holds(handler: signal.Handlers, heard: list[signal.Signals]) -> None:
    before = signal.signal(signal.SIGHUP, handler)
    try:
        received: list[signal.Signals] = []
        with collect_stop_signals(received):
            if signal.getsignal(signal.SIGHUP) != signal.SIG_DFL:  # else it would be the tests' end
                signal.raise_signal(signal.SIGHUP)
        assert received == heard
        assert signal.getsignal(signal.SIGHUP) == handler
    finally:
        signal.signal(signal.SIGHUP, before)


def test_ends_in_words() -> None:
    assert describe_exit(1, None) == "died by exit code 1 (see its output above)"
    assert describe_exit(255, None) == "died by exit code 255 (see its output above)"
    assert describe_exit(-40, None) == "died by signal 40"  # a real-time signal has no name
    assert describe_exit(143, None) == "died by SIGTERM"
    assert describe_exit(-9, True) == "died by SIGKILL of the kernel: out of memory"
    assert describe_exit(-9, False) == "died by SIGKILL"
    assert describe_exit(-9, None) == "died by SIGKILL (out of memory?)"
    assert describe_exit(EXIT_DAMAGED_WEIGHTS, None) == "ended because the shared weights were damaged"


# -- the barrier


def write_behind_the_barrier(barrier: CheckpointBarrier, worker: int, numbers: Tensor, stop: Tensor) -> None:
    """Adds one to every number, one after the other, as an update of the shared weights does."""
    torch.set_num_threads(1)
    while not stop:
        while not barrier.enter_rollout(worker):
            continue
        with barrier.update(worker):
            for i in range(len(numbers)):
                numbers[i] += 1
        barrier.leave_rollout(worker)


@pytest.mark.parametrize("workers", [1, 3])
def test_nothing_is_half_written_while_the_barrier_is_up(workers: int) -> None:
    barrier, stop = CheckpointBarrier(workers), torch.zeros(()).share_memory_()
    rows = torch.zeros(workers, 20).share_memory_()
    processes = [fork.Process(target=write_behind_the_barrier, args=(barrier, i, rows[i], stop)) for i in range(workers)]
    for process in processes:
        process.start()
    for number in range(30):
        barrier.hold(number)
        time.sleep(0.001)
        while not barrier.is_clear:
            time.sleep(0.001)
        before = rows.clone()
        assert (before == before[:, :1]).all(), "a row was copied in the middle of its update"
        time.sleep(0.002)
        assert torch.equal(rows, before), "somebody wrote while the barrier was up"
        barrier.release()
        time.sleep(0.002)
    stop.fill_(1)
    for process in processes:
        process.join()
    assert rows.all()


def test_a_worker_that_died_inside_holds_nobody_up() -> None:
    barrier = CheckpointBarrier(2)
    with barrier.update(1):
        assert not barrier.is_clear
        barrier.forget(1)
        assert barrier.is_clear


# -- files


@pytest.mark.parametrize("moment", ["fsync", "replace", "after"])
def test_killed_while_saving_there_is_a_good_checkpoint(tmp_path: Path, moment: str) -> None:
    """By SIGKILL at every step of the way: before the data are on the disk, before the rename, and right after it."""
    from tests.test_checkpoint import config, save

    for number in (1, 2):
        save(checkpoint_path(tmp_path, number), config(), agent_steps=number)

    def save_and_be_killed() -> None:
        def be_killed(*_: object) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        if moment == "fsync":
            os.fsync = be_killed
        elif moment == "replace":
            Path.replace = be_killed  # type: ignore[assignment, method-assign]
        save(checkpoint_path(tmp_path, 3), config(), agent_steps=3)
        be_killed()

    process = fork.Process(target=save_and_be_killed)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert load_progress(newest_good(tmp_path, print)).agent_steps == (3 if moment == "after" else 2)
    remove_remains(tmp_path)
    assert not list(tmp_path.glob(".*"))


def test_remains_of_the_living_are_left_alone(tmp_path: Path) -> None:
    ours, theirs = tmp_path / f".best.safetensors.{os.getpid()}.tmp", tmp_path / ".notes.tmp"
    process = fork.Process(target=die, args=(0,))
    process.start()
    process.join()
    dead = tmp_path / f".best.safetensors.{process.pid}.tmp"
    for path in (ours, theirs, dead):
        path.touch()
    remove_remains(tmp_path, older_than_seconds=3600.0)
    assert dead.exists()
    remove_remains(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted((ours, theirs))


def test_what_another_machine_writes_is_left_alone(tmp_path: Path) -> None:
    """Its processes can't be seen from here, and its clock may be another one: only what is old by the file system's goes."""
    process = subprocess.Popen(["true"])
    process.wait()
    fresh, old = (tmp_path / f".{name}.safetensors.0123abcd-{process.pid}.tmp" for name in ("fresh", "old"))
    for path in (fresh, old):
        path.write_text("half")
    hours_ago = old.stat().st_mtime - 7200
    os.utime(old, (hours_ago, hours_ago))
    remove_remains(tmp_path)
    assert list(tmp_path.iterdir()) == [fresh]


def test_two_machines_do_not_write_into_one_temporary_file(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from a3g.files import temporary_path; print(temporary_path(Path(sys.argv[1])))"
    )
    command = ["unshare", "--uts", "sh", "-c", 'hostname elsewhere && exec "$@"', "sh", sys.executable, "-c", program, "x"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode:
        pytest.skip("a host name of one's own needs root's rights")
    here, elsewhere = temporary_path(Path("x")).name, done.stdout.strip()
    assert here.rpartition("-")[0] != elsewhere.rpartition("-")[0]


def limited(size: int, work: Callable[[], object]) -> int | None:
    """Run `work` in a process whose files can't grow beyond `size` bytes: as near to a full disk as one gets without one."""
    import resource

    def run() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        try:
            work()
        except OSError:
            os._exit(7)

    process = fork.Process(target=run)
    process.start()
    process.join()
    return process.exitcode


def test_an_append_is_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    append(path, b"first\n", begin=b"heading\n")
    append(path, b"second\n", begin=b"heading\n")
    assert path.read_bytes() == b"heading\nfirst\nsecond\n"
    assert limited(25, lambda: append(path, b"too long for the disk\n")) == 7
    assert path.read_bytes() == b"heading\nfirst\nsecond\n"


def status(agent_steps: int, **values: Any) -> RunStatus:
    numbers = {field.name: 0 for field in dataclasses.fields(RunStatus) if field.default is dataclasses.MISSING}
    empty = {"metrics": {}, "stages": (), "phase_shares": (0.0,) * len(PHASE_NAMES)}
    return RunStatus(**{**numbers, **empty, "agent_steps": agent_steps, **values})


def test_curves_have_a_gap_where_the_disk_was_full_and_go_on(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def write(steps: int) -> None:
        MetricsWriter(tmp_path, tensorboard=True, text="settings").write(status(steps, episodes=steps), 1.0)

    write(1)
    size = max(path.stat().st_size for path in tmp_path.iterdir())
    assert limited(size + 50, lambda: write(2)) == 7
    write(3)
    assert read_curve(tmp_path, "train/episodes") == [(1, 0.0, 1.0), (3, 0.0, 3.0)]
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(each.step, each.value) for each in events.Scalars("train/episodes")] == [(1, 1.0), (3, 3.0)]
    for path in tmp_path.iterdir():
        path.unlink()
    tmp_path.rmdir()  # a folder that is gone is made again
    write(4)
    assert read_curve(tmp_path, "train/episodes") == [(4, 0.0, 4.0)]


# -- the saver, with a worker of the test's


class Office:
    """A run of one worker that is only prepared, and its saver."""

    def __init__(self, folder: Path, **options: Any) -> None:
        defaults = {**SMALL, "workers": 1, "log_dir": folder, "save_model_dir": folder, "run_name": "run"}
        self.run = prepare_run(TrainConfig().with_values({**defaults, **options}))
        self.said: list[str] = []
        self.saver = make_saver(self.run, self.said.append)
        self.now = time.monotonic()

    def begin(self) -> Path:
        """Let a checkpoint be due and taken; returns where the worker's part of it belongs."""
        self.run.shared.counters.counts[0, 0] += 32
        self.now += 1e4
        self.saver.poll(self.now)
        return worker_path(checkpoint_path(self.run.folder, self.run.shared.control.barrier.number), 0)

    def finish(self) -> None:
        assert self.saver._writer is not None
        self.saver._writer.join()
        self.saver.poll(self.now)

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in self.run.folder.glob("checkpoint-*"))


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office(tmp_path)
    yield office
    office.run.shared.control.stop.fill_(1)
    if office.saver._writer is not None:
        office.saver._writer.join()
    office.run.close()


def test_a_single_worker_that_could_not_save_its_part_is_asked_again(office: Office) -> None:
    """No checkpoint is written without it, nor is one waited for that can't come any more."""
    office.begin()
    office.run.shared.control.heartbeats.beat(0)  # it plays again
    office.finish()
    assert "the worker could not save its games" in office.saver.trouble
    assert office.files == []
    office.begin().write_bytes(b"games")
    office.run.shared.control.heartbeats.beat(0)
    office.finish()
    assert office.saver.trouble == ""
    assert office.files == ["checkpoint-000002.safetensors", "checkpoint-000002.worker-0.safetensors"]


def test_why_a_single_workers_games_were_not_saved_is_said(office: Office) -> None:
    office.begin()
    process = psutil.Process()
    before = process.rlimit(psutil.RLIMIT_FSIZE)
    process.rlimit(psutil.RLIMIT_FSIZE, (100, before[1]))
    try:
        office.run.shared.control.heartbeats.beat(0)  # it plays again
        office.finish()
    finally:
        process.rlimit(psutil.RLIMIT_FSIZE, before)
    assert office.saver.trouble == "the worker could not save its games: File too large"


def test_a_run_that_stops_writes_nothing_without_the_workers_part(office: Office) -> None:
    office.begin()
    office.run.shared.control.stop.fill_(1)
    office.finish()
    assert (office.saver.trouble, office.files) == ("", [])
    office.saver.save_at_once()
    assert office.files == ["checkpoint-000002.safetensors"]


def test_parts_of_checkpoints_that_failed_do_not_pile_up(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError("No space left on device")

    monkeypatch.setattr(saver, "save_checkpoint", full)
    for _ in range(3):
        office.begin().write_bytes(b"games")
        office.finish()
        assert office.saver.trouble == "No space left on device"
        assert office.files == []


def test_damage_that_arrives_just_before_the_copy_reaches_no_checkpoint(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, damage = Snapshot.take, [float("nan")]

    def damage_and_take(snapshot: Snapshot) -> bool:
        if damage:
            office.run.shared.model.weights.detach()[5] = damage.pop()
        return take(snapshot)

    monkeypatch.setattr(Snapshot, "take", damage_and_take)
    office.saver.save_at_once()
    assert newest_good(office.run.folder, print) == checkpoint_path(office.run.folder, 1)
    assert office.run.shared.counters.progress().restored == 1
    assert snapshot_of(office.run.shared).source_is_sound


def test_a_disk_that_hangs_does_not_keep_the_end(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()
    monkeypatch.setattr(saver, "WRITER_PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(saver, "save_checkpoint", lambda *_: int(answers.wait(PATIENCE_SECONDS)))
    office.begin().write_bytes(b"games")
    ending = threading.Thread(target=office.saver.save_at_once, daemon=True)
    ending.start()
    ending.join(30.0)
    hangs = ending.is_alive()
    answers.set()
    assert not hangs
    assert "the disk has not taken the last one" in office.saver.trouble
    assert "could not save a checkpoint" in office.said[0]


# -- what the benchmarks look at


def test_the_soak_sees_that_a_stop_has_not_saved_all(tmp_path: Path) -> None:
    from tests.test_checkpoint import config, save

    soak = Soak.__new__(Soak)
    soak.run_folder, soak.broken, soak.begun = tmp_path, [], 0.0
    save(checkpoint_path(tmp_path, 1), config(), agent_steps=10)
    (tmp_path / "summary.json").write_text('{"agent_steps": 10}')
    assert soak.look_at_last_checkpoint() == 10
    assert not soak.broken
    (tmp_path / "summary.json").write_text('{"agent_steps": 11}')
    soak.look_at_last_checkpoint()
    assert "the last checkpoint has 10 agent steps, the run ended with 11" in soak.broken[0]


def test_what_a_start_says_is_found_behind_letters_of_several_bytes(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("—" * 100)
    size = log.stat().st_size
    with log.open("a") as file:
        file.write("goes on from")
    assert text_behind(log, size) == "goes on from"


# -- whole runs


def ready(run: Run, folder: Path, *more: str) -> None:
    """Wait until everybody works and the first curves are written."""
    run.wait_for((folder / "metrics.csv").exists)
    run.wait_for((folder / "scorecard.json").exists)
    for title in more:
        run.wait_for(lambda title=title: title in run.children())


def test_a_run_lives_through_stopped_and_terminated_processes_damage_and_a_lost_disk(tmp_path: Path, start: Start) -> None:
    folder = tmp_path / "logs" / "run"
    command = arguments(tmp_path, "--run-name", "run", "--checkpoint-interval", "1", "--silence-limit", "15")
    run = start([*command, "--test-interval", "0.5"])
    ready(run, folder)

    # Nothing listens on any network.
    processes = [psutil.Process(run.process.pid), *run.children().values()]
    assert not [each for process in processes for each in process.net_connections("inet")]

    # A worker that is told to end is started again. One that is stopped, for good: missed, killed, started again.
    for title, what in (("a3g train 1", signal.SIGTERM), ("a3g train 0", signal.SIGSTOP)):
        victim = run.wait_for(lambda title=title: run.children().get(title))
        victim.send_signal(what)
        run.wait_for(lambda title=title, victim=victim: run.children().get(title, victim) != victim)

    # Damage to the shared weights and to the optimizer's state: taken back to the last checkpoint.
    for which in (0, 1):
        taken_back = load_progress(newest_checkpoint(folder)).restored
        poison(run.process.pid, which)
        run.wait_for(lambda taken_back=taken_back: load_progress(newest_good(folder, print)).restored > taken_back)

    # A disk that takes nothing more: training goes on, and saving as soon as it can.
    launcher = psutil.Process(run.process.pid)
    launcher.rlimit(psutil.RLIMIT_FSIZE, (100, psutil.RLIM_INFINITY))
    newest, points = newest_checkpoint(folder), len(read_curve(folder, "train/updates"))
    time.sleep(3.0)
    launcher.rlimit(psutil.RLIMIT_FSIZE, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))
    run.wait_for(lambda: newest_checkpoint(folder) != newest)
    run.wait_for(lambda: len(read_curve(folder, "train/updates")) > points)

    # A folder that is gone, with something else in its place.
    for attempt in range(100):
        folder.rename(tmp_path / f"taken{attempt}")
        try:
            folder.write_text("in the way")
            break
        except IsADirectoryError:  # the run has made the folder again already
            continue
    time.sleep(3.0)
    folder.unlink()
    run.wait_for(lambda: folder.is_dir() and checkpoints_in(folder))

    run.process.send_signal(signal.SIGTERM)
    out, _ = run.finish(128 + signal.SIGTERM)
    for words in (
        "a3g train 0 gave no sign of life for 15 s and was killed; started again",
        "a3g train 1 died by SIGTERM; started again",
        "were damaged (not finite, or far too large): restored from the last checkpoint",
        "could not save a checkpoint, training goes on: File too large",
        "checkpoints can be saved again",
    ):
        assert words in out, out
    assert load_progress(newest_good(folder, print)).restored == 2
    assert summary_of(folder)["restarts"] >= 2
    assert not leftovers_of([run.process.pid, *run.seen])


@pytest.mark.parametrize("where", ["a closed pipe", "a full disk"])
def test_a_run_that_nobody_hears_goes_on(tmp_path: Path, where: str) -> None:
    reader, output = os.pipe() if where == "a closed pipe" else (None, os.open("/dev/full", os.O_WRONLY))
    if reader is not None:
        os.close(reader)
    command = arguments(tmp_path, "--run-name", "run", "--workers", "1", "--total-steps", "64")
    run = subprocess.run(command, check=False, stdout=output, stderr=subprocess.PIPE, text=True, timeout=PATIENCE_SECONDS)
    os.close(output)
    assert (run.returncode, run.stderr) == (0, "")
    summary = summary_of(tmp_path / "logs" / "run")
    assert (summary["exit_reason"], summary["restarts"]) == ("total_steps 64 reached", 0)


IN_A_TERMINAL = """
import fcntl, os, signal, sys, termios

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_a_run_whose_terminal_is_closed_is_saved(tmp_path: Path) -> None:
    terminal, inside = os.openpty()

    command = [sys.executable, "-c", IN_A_TERMINAL, *arguments(tmp_path, "--run-name", "run", "--workers", "1")]
    run = subprocess.Popen(command, stdin=inside, stdout=inside, stderr=inside, start_new_session=True)
    os.close(inside)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (tmp_path / "logs" / "run" / "metrics.csv").exists() and time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.1)[0]:
                os.read(terminal, 1 << 16)
        os.close(terminal)
        assert run.wait(PATIENCE_SECONDS) == 128 + signal.SIGHUP
    finally:
        run.kill()
    summary = summary_of(tmp_path / "logs" / "run")
    assert (summary["exit_reason"], summary["restarts"]) == ("SIGHUP", 0)
    assert load_progress(newest_checkpoint(tmp_path / "logs" / "run")).agent_steps == summary["agent_steps"] > 0


def test_a_run_whose_end_can_not_be_saved_does_not_claim_it(tmp_path: Path, start: Start) -> None:
    folder = tmp_path / "logs" / "run"
    run = start(arguments(tmp_path, "--run-name", "run", "--serial", "--total-steps", "3200"))
    run.wait_for((folder / "config.json").exists)
    psutil.Process(run.process.pid).rlimit(psutil.RLIMIT_FSIZE, (100, psutil.RLIM_INFINITY))
    out, err = run.finish(1)
    assert "the run's end could not be saved, what there is ends with the checkpoint before: File too large" in out
    assert "training goes on" not in out
    assert "Traceback" not in err
    assert not checkpoints_in(folder)


UNKILLABLE = """
import sys
from multiprocessing.process import BaseProcess
from a3g.processes import supervisor
from main import main

if __name__ == "__main__":
    supervisor.STOP_TIMEOUT_SECONDS = supervisor.STOP_KILL_SECONDS = 0.5
    BaseProcess.kill = lambda process: None
    sys.exit(main(sys.argv[1:]))
"""


def test_a_worker_that_can_not_be_killed_does_not_keep_a_stopping_run(tmp_path: Path, start: Start) -> None:
    """As one that waits for a disk that is gone; here it is stopped, and the launcher's SIGKILL lost."""
    folder = tmp_path / "logs" / "run"
    python, _, *options = arguments(tmp_path, "--run-name", "run", "--workers", "1")
    run = start([python, "-c", UNKILLABLE, *options])
    ready(run, folder)
    run.children()["a3g train 0"].suspend()
    run.process.send_signal(signal.SIGTERM)
    out, err = run.finish(128 + signal.SIGTERM)
    assert "a3g train 0 could not even be killed" in out
    assert "Traceback" not in err
    assert load_progress(newest_good(folder, print)).agent_steps == summary_of(folder)["agent_steps"] > 0


def test_a_batch_job_that_is_requeued_goes_on(tmp_path: Path, start: Start) -> None:
    """The same command each time: it begins, is told to stop by SIGUSR1, goes on, is killed, and ends where it should."""
    folder = tmp_path / "logs" / "job"
    command = arguments(tmp_path, "--run-name", "job", "--resume", "auto", "--checkpoint-interval", "0.5")
    job = start(command)
    ready(job, folder)
    os.killpg(job.process.pid, signal.SIGUSR1)  # to all processes, as a scheduler sends it
    job.finish(128 + signal.SIGUSR1)
    first = summary_of(folder)
    assert (first["exit_reason"], first["restarts"]) == ("SIGUSR1", 0)
    assert first["agent_steps"] > 0

    again = start(command)
    again.wait_for(lambda: load_progress(newest_checkpoint(folder)).agent_steps > first["agent_steps"])
    again.wait_for(lambda: {"a3g train 0", "a3g train 1"} <= set(again.children()))
    again.children()["a3g train 1"].suspend()  # not even who can't hear survives the launcher
    again.process.kill()
    out, _ = again.finish(-signal.SIGKILL)
    assert "goes on from" in out

    steps = load_progress(newest_good(folder, print)).agent_steps
    last = start([*command, "--total-steps", str(steps + 64)])
    last.finish(0)
    assert summary_of(folder)["agent_steps"] >= steps + 64
    assert load_progress(newest_checkpoint(folder)).resumed == 2


def test_a_hung_worker_does_not_keep_a_stopping_run(tmp_path: Path, start: Start) -> None:
    folder = tmp_path / "logs" / "run"
    run = start(arguments(tmp_path, "--run-name", "run"))
    ready(run, folder)
    run.children()["a3g train 0"].suspend()
    run.children()["a3g test"].suspend()
    for _ in range(3):  # nor do impatient signals spoil what is being saved
        run.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
    out, err = run.finish(128 + signal.SIGTERM)
    assert out.count("did not stop within") == 2
    assert "Traceback" not in err
    assert load_progress(newest_good(folder, print)).agent_steps == summary_of(folder)["agent_steps"] > 0


DQN = ("--algorithm", "dqn", "--no-lstm", "--replay-size", "400", "--learning-starts", "32", "--update-interval", "8")


@pytest.mark.parametrize("algorithm", [(), (*DQN, "--priority-alpha", "0.6")], ids=["a3c", "dqn, with its replay"])
def test_one_worker_killed_and_stopped_and_resumed_is_one_never_stopped(
    tmp_path: Path, start: Start, algorithm: tuple[str, ...]
) -> None:
    """With all its processes: killed between two checkpoints, gone on, stopped, gone on, it comes to the same bits."""
    folder = tmp_path / "logs" / "parts"
    alone = ["--workers", "1", "--lanes", "2", "--num-steps", "4", "--checkpoint-interval", "0.3", *algorithm]
    command = [*arguments(tmp_path, "--run-name", "parts", "--resume", "auto"), *alone]
    killed = start(command)
    killed.wait_for(lambda: len(checkpoints_in(folder)) == 3 and load_progress(newest_checkpoint(folder)).updates > 3)
    killed.process.kill()
    killed.finish(-signal.SIGKILL)

    reached = load_progress(newest_good(folder, print)).updates
    stopped = start(command)
    stopped.wait_for(lambda: load_progress(newest_checkpoint(folder)).updates > reached + 3)
    stopped.process.send_signal(signal.SIGINT)
    out, _ = stopped.finish(128 + signal.SIGINT)
    assert "new games" not in out

    goal = load_progress(newest_good(folder, print)).agent_steps + 64
    start([*command, "--total-steps", str(goal)]).finish(0)
    whole = start([*arguments(tmp_path, "--run-name", "whole"), *alone, "--total-steps", str(goal)])
    whole.finish(0)

    def everything(run: Path) -> dict[str, Tensor]:
        tensors = exact_tensors(newest_checkpoint(run))
        return {name: each for name, each in tensors.items() if not name.startswith(("tester.", "best."))}

    ours, theirs = everything(folder), everything(tmp_path / "logs" / "whole")
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name


def test_retrying_is_soon_enough() -> None:
    assert saver.RETRY_SECONDS <= 10.0
    assert Progress().saved_at == 0.0
