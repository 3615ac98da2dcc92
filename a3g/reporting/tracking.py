"""Sends a run's curves, settings and summary to experiment trackers: Weights & Biases and MLflow.

What TensorBoard gets, they get: the points of metrics.csv, under the same names. What could not be sent waits in that file. A
run that is resumed goes on as the same run there.
"""

from __future__ import annotations

import importlib.util
import json
import os
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from a3g.errors import UserError
from a3g.files import write_atomically
from a3g.reporting.metrics_reader import MetricsPoint, MetricsReader

PROJECT = "a3g"
"""Project of Weights & Biases, and experiment of MLflow, unless WANDB_PROJECT or MLFLOW_EXPERIMENT_NAME names another."""
MLRUNS = "mlruns"
"""Folder beside the runs' folders for MLflow's files, unless MLFLOW_TRACKING_URI names another place."""
# Of MLflow, for one call each: https://mlflow.org/docs/latest/rest-api.html#log-batch
_MLFLOW_METRICS, _MLFLOW_PARAMS, _MLFLOW_LENGTH = 1_000, 100, 500

Json = dict[str, Any]


class Tracker(Protocol):
    """One tracker's client, in a process that may wait for it."""

    def start(self, folder: Path, run_id: str, settings: Json) -> tuple[str, str]:
        """Begin a run, or go on with the one called `run_id` if that isn't empty.

        Returns:
            the run's id, and for people where it can be seen
        """

    def log(self, points: Sequence[MetricsPoint]) -> None:
        """Add points to the run's curves."""

    def finish(self, summary: Json) -> None:
        """End the run for now."""


class WandbTracker:
    """Weights & Biases; WANDB_MODE, WANDB_PROJECT and its other variables hold. Its files are in the run's folder."""

    def start(self, folder: Path, run_id: str, settings: Json) -> tuple[str, str]:
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=run_id or uuid.uuid4().hex[:12],
            name=folder.name,
            dir=str(folder),
            config=settings,
            resume="allow",
            settings=wandb.Settings(silent=True, console="off"),
        )
        self._run.define_metric("*", step_metric="agent_steps")
        files = Path(self._run.dir).parent
        return self._run.id, self._run.url or f"{files} (send it by: wandb sync {files})"

    def log(self, points: Sequence[MetricsPoint]) -> None:
        for point in points:
            values = {**point.scalars, "agent_steps": point.agent_steps, "seconds": point.seconds}
            self._run.log(values, step=point.agent_steps)

    def finish(self, summary: Json) -> None:
        self._run.summary.update(summary)
        self._run.finish()


class MlflowTracker:
    """MLflow; MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME hold."""

    def start(self, folder: Path, run_id: str, settings: Json) -> tuple[str, str]:
        # Newer versions read and write plain files only if told so.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        import mlflow
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        uri = None if mlflow.is_tracking_uri_set() else (folder.absolute().parent / MLRUNS).as_uri()
        self._client = MlflowClient(tracking_uri=uri)
        if run_id:
            self._run_id = self._client.get_run(run_id).info.run_id
            self._client.update_run(run_id, status="RUNNING")
        else:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
            experiment = self._client.get_experiment_by_name(name)
            experiment_id = experiment.experiment_id if experiment else self._client.create_experiment(name)
            self._run_id = self._client.create_run(experiment_id, run_name=folder.name).info.run_id
            # What a run was begun with: MLflow lets nobody change it later.
            params = [Param(key, str(value)[:_MLFLOW_LENGTH]) for key, value in settings.items()]
            for begin in range(0, len(params), _MLFLOW_PARAMS):
                self._client.log_batch(self._run_id, params=params[begin : begin + _MLFLOW_PARAMS])
        return self._run_id, f"run {self._run_id} in {uri or mlflow.get_tracking_uri()}"

    def log(self, points: Sequence[MetricsPoint]) -> None:
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        metrics = [
            Metric(name, value, now, point.agent_steps)
            for point in points
            for name, value in {**point.scalars, "seconds": point.seconds}.items()
        ]
        for begin in range(0, len(metrics), _MLFLOW_METRICS):
            self._client.log_batch(self._run_id, metrics=metrics[begin : begin + _MLFLOW_METRICS])

    def finish(self, summary: Json) -> None:
        self._client.log_dict(self._run_id, summary, "summary.json")
        for name, value in summary.items():
            self._client.set_tag(self._run_id, name, str(value))
        self._client.set_terminated(self._run_id)


_TRACKERS: dict[str, type[WandbTracker] | type[MlflowTracker]] = {"wandb": WandbTracker, "mlflow": MlflowTracker}


def check_trackers(names: Sequence[str]) -> None:
    """
    Raises:
        UserError: if the package of a tracker is not installed.
    """
    for name in names:
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:  # a folder of that name is no package
            raise UserError(f"--track {name} needs the package {name}, which is not installed: pip install 'a3g[{name}]'.")


class Tracking:
    """A run's way to one tracker. It may raise whatever the tracker's client raises; call again later then."""

    def __init__(self, name: str, folder: Path, config_name: str, summary_name: str) -> None:
        """
        Args:
            name: of the tracker.
            folder: the run's folder.
            config_name, summary_name: of the files of its settings and of its summary there.
        """
        self._folder, self._config, self._summary = folder, folder / config_name, folder / summary_name
        self._state_path = folder / f"tracking-{name}.json"
        self._state: Json = {"run_id": "", "position": 0}
        if self._state_path.exists():
            self._state |= json.loads(self._state_path.read_bytes())
        self._reader = MetricsReader(folder, int(self._state["position"]))
        self._new_tracker = _TRACKERS[name]
        self._tracker: Tracker | None = None

    def update(self) -> str:
        """Send what is new; returns where the run can be seen if it has just begun there, else nothing."""
        begun = ""
        if self._tracker is None:
            tracker = self._new_tracker()
            self._state["run_id"], begun = tracker.start(
                self._folder, self._state["run_id"], json.loads(self._config.read_bytes())
            )
            self._tracker = tracker
            self._save()
        self._reader.position = self._state["position"]
        points = self._reader.read()
        if points:
            self._tracker.log(points)
            self._state["position"] = self._reader.position
            self._save()
        return begun

    def finish(self) -> None:
        """Send the summary and end the run there."""
        if self._tracker is not None:
            self._tracker.finish(json.loads(self._summary.read_bytes()))

    def _save(self) -> None:
        write_atomically(self._state_path, json.dumps(self._state).encode())
