"""One training of a sweep, as submitit runs it inside a job, and the small file that says how it stands.

Imports neither PyTorch nor the engines: the training is a process of its own.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from a3g.cluster.slurm.granted import gpu_option

_PR_SET_PDEATHSIG = 1  # prctl(2)
EXIT_SAVED_BEFORE_TIME_LIMIT = 128 + signal.SIGUSR1
_EXITS_STOPPED = tuple(128 + number for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT, signal.SIGHUP))


@dataclass(frozen=True)
class TaskState:
    """How a training of a sweep stands, as far as it has said itself."""

    exit_code: int | None = None
    """None while it runs."""
    starts: int = 0
    """Times that it was started; 0: it still waits."""
    host: str = ""
    pid: int = 0

    @property
    def name(self) -> str:
        """waiting, running, done, stopped (saved before its goal) or failed."""
        if not self.starts:
            return "waiting"
        if self.exit_code is None:
            return "running"
        if self.exit_code == 0:
            return "done"
        return "stopped" if self.exit_code in _EXITS_STOPPED else "failed"


def read_state(path: Path) -> TaskState:
    """What a training has said; that it waits, if there is no such file or it is damaged."""
    try:
        return TaskState(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return TaskState()


class TrainingTask:
    """Runs `a3g train` and keeps its state file; called by submitit inside the job.

    Slurm's signal before the time limit reaches submitit, which calls `checkpoint` and requeues the job. SIGTERM, which a
    preempted job gets, is handed on to the training. Both save it.
    """

    def __init__(self, arguments: Sequence[str], state_file: Path) -> None:
        """
        Args:
            arguments: of `a3g train`, with `--resume auto` among them.
            state_file: where its state is written.
        """
        self.arguments, self.state_file = list(arguments), state_file
        self._pid = 0
        self._code: int | None = None

    def __call__(self) -> int:
        """Train; returns the exit code."""
        starts = read_state(self.state_file).starts + 1
        command = [sys.executable, "-m", "a3g", "train", *gpu_option(os.environ), *self.arguments]
        # A session of its own: signals to the whole job would reach it twice, and one that it doesn't know would end it.
        process = subprocess.Popen(
            command,
            start_new_session=True,
            preexec_fn=_stop_with_parent,  # noqa: PLW1509  (this process has no threads)
        )
        self._pid = process.pid
        signal.signal(signal.SIGTERM, self._hand_on)
        self._write(TaskState(None, starts, socket.gethostname(), os.getpid()))
        code = self._code = self._wait()
        process.wait()
        self._write(TaskState(code, starts, socket.gethostname(), os.getpid()))
        return code

    def checkpoint(self) -> Any:
        """Save and stop the training; returns what submitit is to run when the job has been requeued, None if nothing."""
        from submitit.helpers import DelayedSubmission

        self._hand_on(signal.SIGUSR1)
        code = self._wait()
        state = read_state(self.state_file)
        self._write(TaskState(code, state.starts, state.host, state.pid))
        return DelayedSubmission(type(self)(self.arguments, self.state_file)) if code == EXIT_SAVED_BEFORE_TIME_LIMIT else None

    def _hand_on(self, number: int, frame: FrameType | None = None) -> None:
        if self._code is None:  # else its number may be another process's
            os.kill(self._pid, number)

    def _wait(self) -> int:
        """Wait for the end of the training without taking its exit code away; a signal's handler may do so inside this."""
        if self._code is not None:
            return self._code
        ended = os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        return ended.si_status if ended.si_code == os.CLD_EXITED else 128 + ended.si_status

    def _write(self, state: TaskState) -> None:
        self.state_file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.state_file.with_name(f".{self.state_file.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(asdict(state)))
        temporary.replace(self.state_file)


def _stop_with_parent() -> None:
    """In the training, before it begins: it gets SIGTERM, and saves, when the job's process is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
