"""Batch jobs on a real Slurm cluster of two nodes on this machine, training on the real game: `make test-cluster`."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from operator import sub
from pathlib import Path

import pytest

from a3g.errors import UserError
from a3g.runs.checkpoint import load_progress
from a3g.runs.paths import checkpoints_in
from tests.cluster.slurm_cluster import SlurmCluster, missing_programs, slurm_cluster
from tests.ray_nodes import steps
from tests.running import ROOT, SMALL

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(bool(missing_programs()), reason=f"not installed: {', '.join(missing_programs())}"),
]

SCRIPT = ROOT / "a3g" / "cluster" / "slurm" / "train.sbatch"
RAY_SCRIPT = SCRIPT.with_name("ray.sbatch")
# On a busy machine a training takes minutes to start.
PATIENCE_SECONDS = 1500.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[SlurmCluster]:
    with slurm_cluster() as running:
        yield running


def small_flags() -> list[str]:
    flags = []
    for name, value in {**SMALL, "workers": 1}.items():
        flag = name.replace("_", "-")
        flags += ([f"--{flag}"] if value else [f"--no-{flag}"]) if isinstance(value, bool) else [f"--{flag}", str(value)]
    return flags


def agent_steps(folder: Path) -> int:
    return int(json.loads((folder / "summary.json").read_text())["agent_steps"])


def saved_steps(folder: Path) -> int:
    """Of the newest checkpoint; 0 if there is none, or it is being replaced."""
    try:
        return load_progress(checkpoints_in(folder)[-1]).agent_steps
    except (IndexError, UserError):
        return 0


def test_a_job_goes_on_after_preemption_and_after_its_time_limit(cluster: SlurmCluster, tmp_path: Path) -> None:
    run, output = tmp_path / "logs" / "mario", tmp_path / "output"

    def count(text: str) -> int:
        return output.read_text().count(text) if output.exists() else 0

    options = ["--parsable", "--job-name=mario", "--cpus-per-task=2", "--nodelist=a3g-node-1", f"--output={output}"]
    flags = [*small_flags(), "--log-dir", str(tmp_path / "logs"), "--save-model-dir", str(tmp_path / "models")]
    flags += ["--checkpoint-interval", "2"]
    job = cluster.run("sbatch", *options, f"--chdir={ROOT}", f"--export=ALL,PYTHON={sys.executable}", str(SCRIPT), *flags)
    cluster.wait_for(lambda: saved_steps(run) > 0, PATIENCE_SECONDS)

    # A job of a partition with a higher priority needs both nodes: this one is preempted, saved, and queued again.
    urgent = ["--partition=urgent", "--nodes=2", "--ntasks-per-node=2", f"--output={tmp_path / 'urgent'}", "--wrap=true"]
    cluster.run("sbatch", *urgent)
    cluster.wait_for(lambda: cluster.job(job)["Restarts"] == "1", PATIENCE_SECONDS)
    cluster.wait_for((run / "summary.json").exists, PATIENCE_SECONDS)
    before = agent_steps(run)
    assert count("a3g: SIGTERM: stopping, saving") == 1
    assert before > 0

    # It goes on from where it was. Then Slurm's signal before the time limit: it saves, stops, and requeues itself.
    cluster.wait_for(lambda: count("goes on from") == 1, PATIENCE_SECONDS)
    cluster.wait_for(lambda: saved_steps(run) > before, PATIENCE_SECONDS)
    cluster.run("scancel", "--signal=USR1", "--batch", job)
    cluster.wait_for(lambda: cluster.job(job)["Restarts"] == "2", PATIENCE_SECONDS)
    assert count("the time limit is near: requeues itself") == 1
    assert json.loads((run / "summary.json").read_text())["exit_reason"] == "SIGUSR1"
    middle = agent_steps(run)
    assert middle > before

    cluster.wait_for(lambda: count("goes on from") == 2, PATIENCE_SECONDS)
    cluster.wait_for(lambda: saved_steps(run) > middle, PATIENCE_SECONDS)
    cluster.run("scancel", job)
    cluster.wait_for(lambda: count("a3g: SIGTERM: stopping, saving") == 2, PATIENCE_SECONDS)
    cluster.wait_for(lambda: agent_steps(run) > middle, PATIENCE_SECONDS)
    assert count(f"{SMALL['env']}, 1 workers") == 3  # nothing began anew
    assert count("goes on from") == 2


def test_a_job_of_two_nodes_trains_with_ray_and_goes_on_after_its_time_limit(cluster: SlurmCluster, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    run, output = tmp_path / "logs" / "mario", tmp_path / "output"
    options = ["--parsable", "--job-name=mario", "--nodes=2", "--cpus-per-task=1", "--mem=4000", f"--output={output}"]
    flags = [*small_flags(), "--log-dir", str(tmp_path / "logs"), "--save-model-dir", str(tmp_path / "models")]
    flags += ["--checkpoint-interval", "2", "--cluster-updates", "2"]
    job = cluster.run("sbatch", *options, f"--chdir={ROOT}", f"--export=ALL,PYTHON={sys.executable}", str(RAY_SCRIPT), *flags)
    cluster.wait_for(lambda: min(steps(run)[:2]) > 0, PATIENCE_SECONDS)

    # Slurm's signal before the time limit: it saves, stops, and requeues itself; then both nodes go on.
    cluster.run("scancel", "--signal=USR1", "--batch", job)
    cluster.wait_for(lambda: cluster.job(job)["Restarts"] == "1", PATIENCE_SECONDS)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["exit_reason"] == "SIGUSR1"
    before = steps(run)[:2]
    assert summary["agent_steps"] == sum(before) > 0
    cluster.wait_for(lambda: min(map(sub, steps(run)[:2], before)) > 0, PATIENCE_SECONDS)
    assert "goes on from" in output.read_text()

    cluster.run("scancel", job)
    cluster.wait_for(lambda: agent_steps(run) > sum(before), PATIENCE_SECONDS)
    assert "Traceback" not in output.read_text()


def test_a_job_with_more_workers_than_processors_is_refused(cluster: SlurmCluster, tmp_path: Path) -> None:
    output = tmp_path / "output"
    options = ["--wait", "--cpus-per-task=1", f"--output={output}", f"--chdir={ROOT}", f"--export=ALL,PYTHON={sys.executable}"]
    flags = ["--workers", "2", "--log-dir", str(tmp_path), "--save-model-dir", str(tmp_path)]
    command = ["sbatch", *options, str(SCRIPT), *flags]
    done = subprocess.run(command, env=cluster.environment, timeout=PATIENCE_SECONDS, check=False)
    assert done.returncode == 2
    assert "--workers 2 is more than Slurm granted job" in output.read_text()


def test_a_sweep_trains_two_stages_and_collects_their_scores(cluster: SlurmCluster, tmp_path: Path) -> None:
    """As one job array; then the same command again has nothing left to do."""
    folder = tmp_path / "sweep"
    flags = [flag for flag in small_flags() if flag != "--env" and not flag.startswith("SuperMario")]
    flags += ["--total-steps", "64", "--test-episodes", "1", "--test-at-end"]
    command = [sys.executable, "-m", "a3g", "sweep", "--executor", "slurm", "--folder", str(folder), "--stages", "1-1", "1-2"]
    command += ["--cpus", "1", "--sbatch", "mem-per-cpu=100M", *flags]
    environment = {**cluster.environment, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "200"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=2 * PATIENCE_SECONDS, check=False
    )
    logs = "".join(path.read_text() for path in folder.rglob("*_log.*"))
    assert done.returncode == 0, (done.stdout, done.stderr, logs)
    jobs = json.loads((folder / "sweep.json").read_text())["jobs"]
    assert {job.split("_")[1] for job in jobs.values()} == {"0", "1"}
    with (folder / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["stage"], row["seed"], row["state"]) for row in rows] == [("1-1", "1", "done"), ("1-2", "1", "done")]
    for row in rows:
        assert int(row["agent_steps"]) >= 64
        assert int(row["episodes"]) >= 1
        assert float(row["progress"]) > 0
    assert (folder / "sweep.png").stat().st_size > 0
    assert "2 done" in done.stdout

    again = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert again.returncode == 0, (again.stdout, again.stderr)
    assert json.loads((folder / "sweep.json").read_text())["jobs"] == jobs
