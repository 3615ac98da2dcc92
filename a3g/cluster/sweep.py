"""The command `sweep`: submits trainings as jobs through submitit, waits for them, and collects their scores."""

from __future__ import annotations

import contextlib
import getpass
import importlib.util
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from a3g.cluster.sweep_config import SweepConfig, SweepTask
from a3g.cluster.sweep_task import TaskState, TrainingTask, read_state
from a3g.errors import UserError
from a3g.reporting.say import say

SWEEP_NAME = "sweep.json"
_POLL_SECONDS = 1.0
# squeue is asked this often at most: a cluster's controller has others to serve.
_SQUEUE_SECONDS = 15.0
# A job that squeue doesn't list any more may still be about to write that it has ended, over a network file system.
_LOST_SECONDS = 60.0
# submitit gives up a job after so many time limits.
_MOST_TIME_LIMITS = 1_000_000
# The largest number of seconds that Slurm takes for a signal before the time limit is 65,535.
_SIGNAL_SECONDS = 120


@dataclass
class Sweep:
    """A sweep's trainings, and the jobs that run them."""

    folder: Path
    tasks: list[SweepTask]
    executor: str
    """slurm or local."""
    jobs: dict[str, str]
    """The newest job of each training that was submitted, by the training's name: `123_4` is task 4 of Slurm's array 123, 567 a
    process on this machine."""

    def state_file(self, task: SweepTask) -> Path:
        return self.folder / "tasks" / f"{task.name}.json"

    def states(self) -> dict[str, TaskState]:
        """How each training stands, by its name, as it has said itself."""
        return {task.name: read_state(self.state_file(task)) for task in self.tasks}

    def train_arguments(self, task: SweepTask) -> list[str]:
        """Of `a3g train`."""
        weights = self.folder / task.name / "weights"
        folders = ["--log-dir", str(self.folder), "--run-name", task.name, "--save-model-dir", str(weights)]
        return [*task.arguments, *folders, "--resume", "auto"]

    def write(self) -> None:
        """
        Raises:
            UserError: if its folder can't be written into.
        """
        values = {"executor": self.executor, "jobs": self.jobs, "tasks": [asdict(task) for task in self.tasks]}
        temporary = self.folder / f".{SWEEP_NAME}.{os.getpid()}.tmp"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(values, indent=1))
            temporary.replace(self.folder / SWEEP_NAME)
        except OSError as error:
            raise UserError(f"Can't write into the sweep's folder {self.folder}: {error.strerror}.") from error


def load_sweep(folder: Path) -> Sweep:
    """
    Raises:
        UserError: if there is no sweep in this folder.
    """
    try:
        values = json.loads((folder / SWEEP_NAME).read_text())
        tasks = [SweepTask(**task) for task in values["tasks"]]
        return Sweep(folder, tasks, str(values["executor"]), dict(values["jobs"]))
    except FileNotFoundError as error:
        raise UserError(f"There is no sweep in {folder}: it has no {SWEEP_NAME}.") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"The file {folder / SWEEP_NAME} can't be read, or is damaged.") from error


def choose_executor(config: SweepConfig) -> str:
    """slurm or local.

    Raises:
        UserError: if submitit is not installed, or Slurm was asked for where it isn't.
    """
    if importlib.util.find_spec("submitit") is None:
        raise UserError('A sweep needs submitit: install it by `pip install "a3g[cluster]"`, or `pip install submitit`.')
    has_slurm = shutil.which("sbatch") is not None
    if config.executor == "slurm" and not has_slurm:
        raise UserError("--executor slurm needs Slurm's command sbatch, which is not on this machine: use --executor local.")
    return config.executor if config.executor != "auto" else ("slurm" if has_slurm else "local")


def make_sweep(config: SweepConfig, tasks: list[SweepTask]) -> Sweep:
    """A new sweep, or the one in --folder again.

    Raises:
        UserError: if another sweep is in the folder, or a training of it still waits or runs.
    """
    executor, folder = choose_executor(config), config.folder_now().absolute()
    if not (folder / SWEEP_NAME).exists():
        return Sweep(folder, tasks, executor, {})
    before = load_sweep(folder)
    if before.tasks != tasks:
        raise UserError(f"Another sweep is in {folder}: choose another --folder, or give the options of that one.")
    unfinished = _unfinished_jobs(before, before.states())
    if unfinished:
        raise UserError(f"{len(unfinished)} trainings of {folder} still wait or run: --watch {shlex.quote(str(folder))}.")
    return replace(before, executor=executor)


# -- submitting


def submit(sweep: Sweep, config: SweepConfig) -> None:
    """Submit all trainings that have not reached their goal as one job array of Slurm.

    Raises:
        UserError: if Slurm refuses them.
    """
    import submitit

    tasks = _to_do(sweep)
    with _with_folder(sweep):
        executor = submitit.SlurmExecutor(folder=sweep.folder / "submitit" / "%A", max_num_timeout=_MOST_TIME_LIMITS)
        further = dict(text.split("=", 1) for text in config.sbatch)
        executor.update_parameters(
            job_name=sweep.folder.name,
            time=int(60 * config.hours),
            cpus_per_task=config.cpus,
            # A job step does not inherit this from the job, from Slurm 22.05 on.
            srun_args=[f"--cpus-per-task={config.cpus}"],
            signal_delay_s=_SIGNAL_SECONDS,
            array_parallelism=config.at_once or len(tasks) or 1,
            additional_parameters={"requeue": True, **further},
            **({"gpus_per_node": config.gpus} if config.gpus else {}),
            **({"partition": config.partition} if config.partition else {}),
        )
        try:
            with executor.batch():
                jobs = [executor.submit(_training(sweep, task)) for task in tasks]
        except submitit.core.utils.FailedJobError as error:
            raise UserError(f"Slurm refuses the jobs: {' '.join(str(error).split())[-300:]}") from error
        sweep.jobs |= {task.name: str(job.job_id) for task, job in zip(tasks, jobs, strict=True)}
        sweep.write()


def run_here(sweep: Sweep, config: SweepConfig, stopping: Sequence[int]) -> None:
    """Run all trainings that have not reached their goal on this machine, a few at a time, to their end.

    Args:
        stopping: signals that the command has received; the first ends the trainings, which are saved.
    """
    import submitit

    waiting = _to_do(sweep)
    running: list[Any] = []
    report = _Progress(sweep)
    with _with_folder(sweep):
        executor = submitit.LocalExecutor(folder=sweep.folder / "submitit" / "%j", max_num_timeout=_MOST_TIME_LIMITS)
        executor.update_parameters(timeout_min=60 * 24 * 365, gpus_per_node=config.gpus, visible_gpus=list(range(config.gpus)))
        told = False
        while running or (waiting and not stopping):
            while waiting and not stopping and len(running) < (config.at_once or 1):
                task = waiting.pop(0)
                with _interrupts_ignored_by_children():
                    job = executor.submit(_training(sweep, task))
                running.append(job)
                sweep.jobs[task.name] = str(job.job_id)
                sweep.write()
            if stopping and not told:
                say("a3g sweep: stopping, saving")
                for job in running:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(job.job_id), signal.SIGTERM)
                told = True
            running = [job for job in running if not job.done()]
            report.say_changes({name: state.name for name, state in sweep.states().items()})
            time.sleep(0.2)


def _to_do(sweep: Sweep) -> list[SweepTask]:
    states = sweep.states()
    return [task for task in sweep.tasks if states[task.name].name != "done"]


def _training(sweep: Sweep, task: SweepTask) -> TrainingTask:
    return TrainingTask(sweep.train_arguments(task), sweep.state_file(task))


@contextlib.contextmanager
def _with_folder(sweep: Sweep) -> Iterator[None]:
    """The sweep's folder, with what it is to do; what was said of earlier starts that did not reach the goal is forgotten."""
    sweep.write()
    for task in _to_do(sweep):
        sweep.state_file(task).unlink(missing_ok=True)
    yield


@contextlib.contextmanager
def _interrupts_ignored_by_children() -> Iterator[None]:
    """A terminal sends Ctrl-C to all its processes: those started meanwhile leave it to this one."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


# -- watching


def watch(sweep: Sweep, stopping: Sequence[int]) -> bool:
    """Wait until every training has ended; returns False if a signal came before."""
    report, asked_at, missing_since = _Progress(sweep), -_SQUEUE_SECONDS, dict[str, float]()
    listed: set[str] | None = None
    while not stopping:
        states, now = sweep.states(), time.monotonic()
        if now - asked_at >= _SQUEUE_SECONDS:
            listed, asked_at = _listed_jobs(sweep), now
        names = {}
        for name, state in states.items():
            names[name] = state.name
            gone = listed is not None and sweep.jobs.get(name) not in listed
            # A job whose machine was lost, or that somebody cancelled before it began, has not said how it ended.
            if state.exit_code is None and gone:
                if now - missing_since.setdefault(name, now) >= _LOST_SECONDS:
                    names[name] = "lost"
            else:
                missing_since.pop(name, None)
            if names[name] == "stopped" and not gone:
                names[name] = "requeued"
        report.say_changes(names)
        if all(name in ("done", "failed", "stopped", "lost") for name in names.values()):
            return True
        time.sleep(_POLL_SECONDS)
    return False


class _Progress:
    """Says how many trainings stand how, whenever that changes."""

    def __init__(self, sweep: Sweep) -> None:
        self._count, self._said = len(sweep.tasks), ""

    def say_changes(self, names: dict[str, str]) -> None:
        counts = Counter(names.values())
        text = ", ".join(f"{counts[name]} {name}" for name in sorted(counts))
        if text != self._said:
            say(f"{time.strftime('%H:%M:%S')} {self._count} trainings: {text}")
            self._said = text


def _unfinished_jobs(sweep: Sweep, states: dict[str, TaskState]) -> list[str]:
    """Trainings whose jobs still wait or run."""
    listed = _listed_jobs(sweep)
    waits = ("waiting", "running", "stopped")
    return [name for name, job in sweep.jobs.items() if states[name].name in waits and (listed is None or job in listed)]


def _listed_jobs(sweep: Sweep) -> set[str] | None:
    """The sweep's jobs that wait or run at present; None if that can't be found out."""
    if sweep.executor == "local":
        states = sweep.states()
        pids = {state.pid for state in states.values() if state.host == socket.gethostname() and psutil.pid_exists(state.pid)}
        elsewhere = {name for name, state in states.items() if state.host not in ("", socket.gethostname())}
        return {job for name, job in sweep.jobs.items() if name in elsewhere or states[name].pid in pids}
    command = ["squeue", "--noheader", "--array", "--format=%i", f"--user={getpass.getuser()}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return set(done.stdout.split())


def end_of_watching(sweep: Sweep) -> str:
    """What to say to someone who stopped watching."""
    folder = shlex.quote(str(sweep.folder))
    arrays = " ".join(dict.fromkeys(job.split("_")[0] for job in sweep.jobs.values()))
    return f"The jobs go on; wait for them again by: a3g sweep --watch {folder}; end them by: scancel {arrays}"


def state_names(sweep: Sweep) -> dict[str, Any]:
    """How each training stands, by its name, in a word."""
    return {name: state.name for name, state in sweep.states().items()}
