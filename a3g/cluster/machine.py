"""One machine of a training: the ordinary launcher with a shared model of its own, and a thread that talks to the server."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import setproctitle
from torch import Tensor

from a3g.cluster.compression import Packed
from a3g.cluster.exchange import Exchanger
from a3g.cluster.ray_cluster import check_versions, load_ray
from a3g.cluster.reports import Directions, summarise
from a3g.cluster.server import Reply, ranges
from a3g.config import TrainConfig
from a3g.processes.companion import MachineStatus
from a3g.processes.counters import MOVING_AVERAGE_WEIGHT, Count
from a3g.processes.launcher import launch
from a3g.processes.prepare import prepare_run
from a3g.processes.process import compute_on_one_core
from a3g.processes.run_statistics import Run

# Looking more often took some hundredths of a core; updates that wait so long for their exchange are hardly older for it.
POLL_SECONDS = 0.05
REPORT_SECONDS = 1.0
# A server that does not answer for so long is asked again with the next difference. Training goes on meanwhile.
REPLY_SECONDS = 5.0
# A server that is gone is being started again.
RETRY_SECONDS = 1.0
_FOLDER = "a3g-machine-"
# Checkpoints are the driver's. What a launcher writes here is thrown away.
_NO_CHECKPOINTS_SECONDS = 1e6


class Machine:
    """Ray runs it as an actor, one on a node. It ends when the training does, and with the training's driver."""

    def run(
        self,
        of_driver: dict[str, str],
        title: str,
        key: str,
        config: TrainConfig,
        coordinator: Any,
        shards: list[Any],
        is_elastic: bool,
    ) -> None:
        """Train until the driver says stop.

        Args:
            of_driver: the driver's versions; a machine that joined later may have others.
            title: for `ps`.
            key: of this start of this machine.
            config: of the run, with this machine's seed and number of workers.
            coordinator: handle of a `Coordinator`.
            shards: handles of the `ParameterShard`s.
            is_elastic: see `a3g.cluster.rules.MergeRule`.

        Raises:
            UserError: if this machine lacks something that the run needs.
        """
        check_versions(of_driver, "of the driver")
        setproctitle.setproctitle(title)
        compute_on_one_core()
        with _folder_of_this_process() as folder, _no_main_module():
            own = replace(
                config,
                cluster="",
                resume="",
                load=False,
                log_dir=folder,
                save_model_dir=folder,
                run_name="machine",
                max_minutes=0.0,
                until_cleared=False,
                test_at_end=False,
                tensorboard_logger=False,
                curves=False,
                record=False,
                track=(),
                watch=None,
                checkpoint_interval=_NO_CHECKPOINTS_SECONDS,
            )
            run = prepare_run(own)
            try:
                link = _Link(run, key, coordinator, shards, is_elastic)
                link.wait_for_parameters()
                launch(run, tester=False, companion=link)
            finally:
                run.close()


class _Link:
    """The launcher's companion here: exchanges with the server and reports to the driver, each in a thread of its own.

    A server that is lost must not keep reports from the driver.
    """

    def __init__(self, run: Run, key: str, coordinator: Any, shards: list[Any], is_elastic: bool) -> None:
        self.messages: list[str] = []
        self._notes: list[str] = []
        self._run, self._key, self._coordinator, self._shards = run, key, coordinator, shards
        self._ray = load_ray()
        weights = run.shared.model.weights.detach()
        self._exchanger = Exchanger(weights, ranges(len(weights), len(shards)), is_elastic, self._send)
        self._directions = Directions()
        self._ends = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=each, daemon=True)
            for each in ((self._exchange_if_due, POLL_SECONDS), (self._report, REPORT_SECONDS))
        ]
        self._updates = self._restored = self._exchanges = 0
        self._staleness = self._exchange_seconds = 0.0
        self._retry_at = 0.0
        self._failure = ""

    def wait_for_parameters(self) -> None:
        """Get the server's parameters before anybody trains on this machine."""
        while not self._exchanger.is_complete and not self._directions.stop:
            self._exchanger.exchange(0)
            self._report()
            if not self._exchanger.is_complete:
                time.sleep(RETRY_SECONDS)

    # -- called by the launcher

    def tensors(self) -> Mapping[str, Tensor]:
        return {}

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def poll(self, now: float) -> tuple[str, bool] | None:
        if self._failure:
            return self._failure, True
        return ("the training ends", False) if self._directions.stop else None

    def note(self, message: str) -> None:
        self._notes.append(message)

    def machines(self) -> Sequence[MachineStatus]:
        """There is none beside this one, as far as it knows."""
        return ()

    def stop(self) -> None:
        """Hand over what the workers did last."""
        self._ends.set()
        for thread in self._threads:
            if thread.ident is not None:  # else the launcher was stopped before it had started
                thread.join()
        self._exchange()
        self._report()

    # -- the threads

    def _repeat(self, what: Callable[[], None], seconds: float) -> None:
        try:
            while not self._ends.wait(seconds):
                what()
        except Exception as error:  # the launcher has to know
            self._failure = f"talking to the server or the driver failed: {error!r}"

    def _exchange_if_due(self) -> None:
        updates = int(self._run.shared.counters.counts[:-1, Count.UPDATES].sum()) - self._updates
        if updates >= self._run.config.cluster_updates and time.monotonic() >= self._retry_at:
            self._exchange()

    def _exchange(self) -> None:
        counters = self._run.shared.counters
        if counters.restored != self._restored:  # to what they were long ago
            self._restored = counters.restored
            self._exchanger.begin_again()
        updates, began = int(counters.counts[:-1, Count.UPDATES].sum()), time.monotonic()
        if not self._exchanger.exchange(updates - self._updates):
            self._retry_at = began + RETRY_SECONDS
            return
        self._updates = updates
        self._exchanges += 1
        self._exchange_seconds = time.monotonic() - began
        weight = MOVING_AVERAGE_WEIGHT if self._exchanges > 1 else 1.0
        self._staleness += weight * (self._exchanger.staleness - self._staleness)

    def _send(self, updates: int, messages: Sequence[tuple[int, Packed | None]]) -> list[Reply | None]:
        """Ask all shards at once."""
        asked = [
            shard.exchange.remote(self._key, replies, updates, packed)
            for shard, (replies, packed) in zip(self._shards, messages, strict=False)
        ]
        return [self._reply(each) for each in asked]

    def _reply(self, asked: Any) -> Reply | None:
        errors = self._ray.exceptions
        try:
            reply: Reply | None = self._ray.get(asked, timeout=REPLY_SECONDS)
        except (errors.RayActorError, errors.GetTimeoutError, errors.ObjectLostError):
            return None
        return reply

    def _report(self) -> None:
        notes, self._notes = self._notes, []
        report = summarise(self._run, self._staleness, self._exchanges, self._exchange_seconds, notes)
        errors = self._ray.exceptions
        with contextlib.suppress(errors.RayActorError, errors.GetTimeoutError, errors.ObjectLostError):
            self._directions = self._ray.get(self._coordinator.report.remote(self._key, report), timeout=REPLY_SECONDS)
        counters = self._run.shared.counters  # what others have done counts for schedules and for --total-steps
        counters.counts[-1, Count.AGENT_STEPS] = max(self._directions.agent_steps - int(report.counts[Count.AGENT_STEPS]), 0)


@contextlib.contextmanager
def _folder_of_this_process() -> Iterator[Path]:
    """A folder for what a launcher writes; those of machines that were killed go, too."""
    place = Path(tempfile.gettempdir())
    for path in place.glob(f"{_FOLDER}*-*"):
        owner = path.name.removeprefix(_FOLDER).split("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(path, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{_FOLDER}{os.getpid()}-") as folder:
        yield Path(folder)


@contextlib.contextmanager
def _no_main_module() -> Iterator[None]:
    """Let `multiprocessing` not import Ray's main module into the launcher's children; they need nothing of it."""
    main = sys.modules["__main__"]
    file, spec = getattr(main, "__file__", None), getattr(main, "__spec__", None)
    main.__file__, main.__spec__ = None, None
    try:
        yield
    finally:
        main.__file__, main.__spec__ = file, spec
