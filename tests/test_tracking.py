"""Experiment trackers: what their own clients read back is what the run wrote."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from a3g.errors import UserError
from a3g.files import append
from a3g.reporting.metrics import CSV_NAME
from a3g.reporting.tracking import Tracking, check_trackers

SETTINGS = {"lr": 0.5, "stages": ["1-1", "1-2"], "notes": "x" * 900}
SUMMARY = {"agent_steps": 300, "exit_reason": "total_steps 300 reached"}


def installed(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{name} is not installed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run = tmp_path / "logs" / "run"
    run.mkdir(parents=True)
    (run / "config.json").write_text(json.dumps(SETTINGS))
    (run / "summary.json").write_text(json.dumps(SUMMARY))
    return run


def add_point(folder: Path, agent_steps: int, **values: float) -> None:
    rows = "".join(f"{agent_steps},{agent_steps / 10:.1f},{name.replace('__', '/')},{v}\r\n" for name, v in values.items())
    append(folder / CSV_NAME, rows.encode(), b"agent_steps,seconds,name,value\r\n")


def track(name: str, folder: Path) -> Tracking:
    return Tracking(name, folder, "config.json", "summary.json")


def run_in_two_parts(name: str, folder: Path) -> None:
    """Two starts of a run, with a tracking process of its own each."""
    first = track(name, folder)
    add_point(folder, 100, train__mean_return=1.5, test_clear_rate__1_1=0.25)
    assert first.update()
    add_point(folder, 200, train__mean_return=2.5)
    assert first.update() == ""
    first.finish()
    time.sleep(1.1)  # W&B names the folder of an offline run by the second
    second = track(name, folder)
    add_point(folder, 300, train__mean_return=3.5)
    assert second.update()
    second.finish()


@installed("mlflow")
def test_mlflow_reads_back_what_was_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run_in_two_parts("mlflow", folder)
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=(folder.parent / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("a3g")
    (run,) = client.search_runs([experiment.experiment_id])  # one, though it was resumed
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    returns = client.get_metric_history(run.info.run_id, "train/mean_return")
    assert [(each.step, each.value) for each in returns] == [(100, 1.5), (200, 2.5), (300, 3.5)]
    assert [each.value for each in client.get_metric_history(run.info.run_id, "test_clear_rate/1_1")] == [0.25]
    assert (run.data.params["lr"], run.data.params["stages"]) == ("0.5", "['1-1', '1-2']")
    assert run.data.tags["exit_reason"] == SUMMARY["exit_reason"]


def records_in(path: Path) -> Iterator[Any]:
    """The records of a .wandb file: LevelDB's log format behind a head of seven bytes, with W&B's own messages in it."""
    from wandb.proto import wandb_internal_pb2

    block_bytes, header_bytes, whole_types = 32_768, 7, (1, 4)
    data, position, collected = path.read_bytes(), 7, b""
    assert data.startswith(b":W&B")
    while position + header_bytes <= len(data):
        if block_bytes - position % block_bytes < header_bytes:
            position += block_bytes - position % block_bytes
            continue
        length, kind = int.from_bytes(data[position + 4 : position + 6], "little"), data[position + 6]
        collected += data[position + header_bytes : position + header_bytes + length]
        position += header_bytes + length
        if kind in whole_types:
            record = wandb_internal_pb2.Record()
            record.ParseFromString(collected)
            yield record
            collected = b""


@installed("wandb")
def test_wandbs_offline_files_hold_what_was_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(folder.parent))
    run_in_two_parts("wandb", folder)
    files = sorted((folder / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) >= 1
    records = [record for path in files for record in records_in(path)]
    runs = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    assert {run.run_id for run in runs} == {json.loads((folder / "tracking-wandb.json").read_text())["run_id"]}
    assert {run.project for run in runs} == {"a3g"}
    assert {run.display_name for run in runs} == {"run"}
    config = {each.key: json.loads(each.value_json) for each in runs[0].config.update if each.key in SETTINGS}
    assert config == SETTINGS
    points = []
    for record in records:
        if record.WhichOneof("record_type") == "history":
            values = {(each.key or ".".join(each.nested_key)): json.loads(each.value_json) for each in record.history.item}
            points.append((values["agent_steps"], values["train/mean_return"]))
    assert points == [(100, 1.5), (200, 2.5), (300, 3.5)]


@installed("mlflow")
def test_what_could_not_be_sent_is_sent_later(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (folder.parent / "mlruns").write_text("in the way")
    tracking = track("mlflow", folder)
    add_point(folder, 100, train__mean_return=1.5)
    with pytest.raises(Exception):  # noqa: B017, PT011 - whichever the library raises
        tracking.update()
    (folder.parent / "mlruns").unlink()
    assert tracking.update()
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=(folder.parent / "mlruns").as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("a3g").experiment_id])
    assert [each.value for each in client.get_metric_history(run.info.run_id, "train/mean_return")] == [1.5]


def test_a_tracker_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'a3g\[wandb\]'"):
        check_trackers(("wandb",))
    check_trackers(())
