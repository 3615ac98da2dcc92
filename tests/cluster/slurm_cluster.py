"""A Slurm cluster of two nodes on this machine, in a folder of its own: munged, slurmctld and two slurmd on loopback.

By hand: `python -m tests.cluster.slurm_cluster` brings one up, says how to use it, and takes it down on Ctrl-C.

No cgroups are used, so that it runs in a container (`proctrack/linuxproc`, `task/none`). Nothing listens beyond loopback.
The partition `urgent` preempts jobs of the partition `normal`, which are requeued.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue")
# Debian puts the daemons where only root's PATH leads.
SEARCH_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
NODES = ("a3g-node-1", "a3g-node-2")
PATIENCE_SECONDS = 60.0

CONFIGURATION = """
ClusterName=a3g
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# A requeued job starts again when its credential has expired.
AuthInfo=socket={folder}/munge.socket,cred_expire=30
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdSpoolDir={folder}/spool-%n
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdLogFile={folder}/slurmd-%n.log
# Without control groups, for containers.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
# This machine may have fewer cores than its two nodes together say.
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,requeue_delay=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=30
{nodes}
PartitionName=normal Nodes=ALL Default=YES PriorityTier=1 MaxTime=INFINITE State=UP
PartitionName=urgent Nodes=ALL PriorityTier=2 PreemptMode=OFF MaxTime=INFINITE State=UP
"""


def missing_programs() -> list[str]:
    """Slurm's and munge's programs that are not installed here."""
    return [name for name in PROGRAMS if shutil.which(name, path=SEARCH_PATH) is None]


class SlurmCluster:
    """Two nodes with two processors each; `close` takes everything down, jobs included."""

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: an empty one, with a short path: it holds sockets.
        """
        self.folder = folder
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": SEARCH_PATH}
        self._daemons: list[subprocess.Popen[bytes]] = []
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def run(self, *command: str) -> str:
        """What a command, such as squeue, prints.

        Raises:
            AssertionError: if it fails.
        """
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout.strip()

    def job(self, job_id: str) -> dict[str, str]:
        """What the controller says about a job, by its names, such as JobState, Restarts and NodeList."""
        text = self.run("scontrol", "--oneliner", "show", "job", job_id).splitlines()[0]
        return dict(field.split("=", 1) for field in text.split(" ") if "=" in field)

    def wait_for(self, what: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
        """
        Raises:
            AssertionError: if `what` doesn't hold in time; it says what the daemons logged last.
        """
        deadline = time.monotonic() + seconds
        while not what():
            if time.monotonic() > deadline:
                raise AssertionError(f"waited in vain; {self._what_was_logged()}")
            time.sleep(0.2)

    def close(self) -> None:
        """End all jobs, then all daemons."""
        with contextlib.suppress(OSError, AssertionError, subprocess.TimeoutExpired):
            self.run("scancel", "--user", getpass.getuser(), "--full", "--signal=KILL")
            self.run("scancel", "--user", getpass.getuser())
            self.wait_for(lambda: not self.run("squeue", "--noheader"), 20)
        for daemon in reversed(self._daemons):
            with contextlib.suppress(ProcessLookupError):
                daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.clear()

    def _start(self) -> None:
        folder = self.folder
        folder.chmod(0o755)  # munged insists on it
        (folder / "state").mkdir()
        for node in NODES:
            (folder / f"spool-{node}").mkdir()
        key = folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        files = {name: f"{folder}/munge.{name}" for name in ("socket", "pid", "log", "seed")}
        options = [f"--{name}-file={path}" for name, path in files.items() if name != "socket"]
        self._daemon("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={files['socket']}", *options)
        self.wait_for(lambda: Path(files["socket"]).exists())
        controller_port, *ports = free_ports(1 + len(NODES))
        nodes = "\n".join(
            f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs=2 RealMemory=8000 State=UNKNOWN"
            for name, port in zip(NODES, ports, strict=True)
        )
        values = {"folder": folder, "user": getpass.getuser(), "host": socket.gethostname().split(".")[0]}
        text = CONFIGURATION.format(**values, controller_port=controller_port, nodes=nodes)
        (folder / "slurm.conf").write_text(text)
        self._daemon("slurmctld", "-D")
        for name in NODES:
            self._daemon("slurmd", "-D", "-N", name)
        self.wait_for(self._is_up)

    def _is_up(self) -> bool:
        for daemon in self._daemons:
            assert daemon.poll() is None, f"{daemon.args!r} has ended; {self._what_was_logged()}"
        command = ("sinfo", "--noheader", "--Node", "--partition=normal", "--format=%T")
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        return done.stdout.split() == ["idle"] * len(NODES)

    def _daemon(self, *command: str) -> None:
        output = (self.folder / f"{command[0]}-{len(self._daemons)}.out").open("wb")
        with output:
            options: dict[str, Any] = {"env": self.environment, "stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
            self._daemons.append(subprocess.Popen(command, **options, start_new_session=True))

    def _what_was_logged(self) -> str:
        logs = sorted((*self.folder.glob("*.log"), *self.folder.glob("*.out")))
        return "\n".join(f"{path.name}:\n{path.read_text(errors='replace')[-2000:]}" for path in logs)


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody listens on at present."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


@contextlib.contextmanager
def slurm_cluster() -> Iterator[SlurmCluster]:
    """A cluster that is taken down and removed in any case."""
    with tempfile.TemporaryDirectory(prefix="a3g-slurm-", dir="/tmp") as folder:
        cluster = SlurmCluster(Path(folder))
        try:
            yield cluster
        finally:
            cluster.close()


if __name__ == "__main__":
    with slurm_cluster() as cluster:
        print(f"export SLURM_CONF={cluster.environment['SLURM_CONF']}\nCtrl-C takes it down.", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
