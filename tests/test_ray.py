"""Training, evaluation and exploration on real Ray nodes on this machine, with the real game; and users' mistakes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from torch import Tensor
from websockets.sync.client import ClientConnection, connect

from a3g import __version__
from a3g.cluster.ray_cluster import check_versions, versions
from a3g.errors import UserError
from tests.ray_nodes import ENVIRONMENT, LOOPBACK, Nodes, newest, steps
from tests.running import ROOT, Run, arguments, summary_of
from tests.test_watch_run import free_port
from tests.watching import ask

ray = pytest.importorskip("ray")

PATIENCE_SECONDS = 600.0
HOGWILD_FLAGS = ["--workers", "1", "--cluster-updates", "2", "--checkpoint-interval", "2", "--run-name", "run"]


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with Nodes() as cluster:
        yield cluster


def run_command(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        check=False,
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )


def assert_one_sentence(ended: subprocess.CompletedProcess[str], what: str) -> None:
    assert ended.returncode == 2, ended
    assert re.search(what, ended.stderr), ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


# -- mistakes


@pytest.mark.parametrize("face", ["main", "gym_eval"])
def test_without_ray_there_is_one_sentence(face: str) -> None:
    call = {"main": "main(sys.argv[1:])", "gym_eval": "main()"}[face]
    code = f"import sys; sys.modules['ray'] = None; import {face}; sys.exit({face}.{call})"
    assert_one_sentence(run_command("-c", code, "--cluster", "auto"), r"needs Ray.*a3g\[cluster\]")


def test_an_unreachable_head_is_one_sentence() -> None:
    assert_one_sentence(run_command("main.py", "--cluster", "127.0.0.1:1"), "no Ray head answers there")


def test_an_address_that_is_none_is_one_sentence() -> None:
    assert_one_sentence(run_command("main.py", "--cluster", "head"), "auto or the Ray head's address")


def test_other_versions_are_refused() -> None:
    check_versions(versions(), "10.0.0.2")
    with pytest.raises(UserError, match=r"10\.0\.0\.2 has a3g 0\.0\.1, this one"):
        check_versions({**versions(), "a3g": "0.0.1"}, "10.0.0.2")


# -- real clusters


def working(viewer: ClientConnection) -> list[str]:
    """The processes and machines that the page says have begun."""
    header, _ = ask(viewer)
    return [each["title"].split(" (")[0] for each in header.get("status", {}).get("processes", []) if each["started"]]


def wait_for(run: Run, what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not what():
        assert run.process.poll() is None, run.process.communicate()
        assert time.monotonic() < deadline
        run.children()
        time.sleep(0.2)


@pytest.mark.cluster
@pytest.mark.timeout(3 * PATIENCE_SECONDS)
def test_training_goes_on_when_nodes_and_servers_are_lost_and_others_join(
    nodes: Nodes, start: Callable[[list[str]], Run], tmp_path: Path
) -> None:
    second = nodes.add()
    folder = tmp_path / "logs" / "run"
    port = free_port()
    run = start([*arguments(tmp_path), *HOGWILD_FLAGS, "--cluster", nodes.address, "--watch", str(port)])

    # Two machines train.
    wait_for(run, lambda: min(steps(folder)[:2]) > 0)

    # The page shows both, and the tester.
    with connect(f"ws://127.0.0.1:{port}/live") as viewer:
        wait_for(run, lambda: set(working(viewer)) == {"a3g test", "machine 0", "machine 1"})

        # One is lost: the other goes on, and nothing counted before is forgotten. Either number can be the lost node's.
        nodes.kill(second)
        before = steps(folder)
        wait_for(run, lambda: len(working(viewer)) == 2)
        wait_for(run, lambda: sum(steps(folder)) > sum(before))
        assert all(now >= then for now, then in zip(steps(folder), before, strict=False))

        # Another joins.
        nodes.add()
        wait_for(run, lambda: len(working(viewer)) == 3)
        then = steps(folder)
        wait_for(run, lambda: sum(now > old for now, old in zip(steps(folder), then, strict=False)) == 2)

    # The server is lost, and comes back with what it had.
    merged = int(newest(folder)["server.merged"])
    nodes.kill_process("ray::ParameterShard")
    wait_for(run, lambda: int(newest(folder).get("server.merged", Tensor([0]))) > merged)

    run.process.send_signal(signal.SIGINT)
    out, err = run.finish(128 + signal.SIGINT)
    assert "Traceback" not in err
    assert "was lost" in out
    assert "restored from the driver's copy" in out
    summary = summary_of(folder)
    assert summary["restarts"] >= 1
    assert summary["agent_steps"] == sum(steps(folder))

    # It can be gone on with, and stops where it is asked to.
    goal = summary["agent_steps"] + 500
    run = start([*arguments(tmp_path), "--resume", "run", "--total-steps", str(goal)])
    out, _ = run.finish(0)
    assert f"total_steps {goal} reached" in out
    assert summary_of(folder)["agent_steps"] >= goal


@pytest.mark.cluster
@pytest.mark.timeout(PATIENCE_SECONDS)
def test_a_cluster_of_one_node_can_listen_on_loopback_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {**ENVIRONMENT, **LOOPBACK}.items():
        monkeypatch.setenv(name, value)
    with Nodes(loopback=True) as cluster:
        ended = run_command(*arguments(tmp_path)[1:], *HOGWILD_FLAGS, "--cluster", cluster.address, "--total-steps", "500")
        assert ended.returncode == 0, ended
        assert not cluster.listening_elsewhere()


@pytest.mark.cluster
@pytest.mark.timeout(PATIENCE_SECONDS)
@pytest.mark.parametrize("rule", ["downpour", "easgd", "diloco"])
def test_every_rule_trains_to_its_end_with_a_server_in_parts(nodes: Nodes, tmp_path: Path, rule: str) -> None:
    flags = ["--cluster-rule", rule, "--cluster-shards", "2", "--total-steps", "2000"]
    ended = run_command(*arguments(tmp_path)[1:], *HOGWILD_FLAGS, "--cluster", nodes.address, *flags)
    assert ended.returncode == 0, ended
    assert int(newest(tmp_path / "logs" / "run")["server.merged"]) > 0


@pytest.mark.cluster
@pytest.mark.timeout(PATIENCE_SECONDS)
def test_evaluation_on_a_cluster_gives_what_one_machine_gives(nodes: Nodes, tmp_path: Path) -> None:
    results = []
    for cluster in ([], ["--cluster", nodes.address]):
        path = tmp_path / f"{len(cluster)}.json"
        ended = run_command("gym_eval.py", "--num-episodes", "5", "--max-episode-length", "60", "--json", str(path), *cluster)
        assert ended.returncode == 0, ended
        results.append(json.loads(path.read_text())["episodes"])
    assert results[0] == results[1]
    assert len(results[0]) == 5


@pytest.mark.cluster
@pytest.mark.timeout(PATIENCE_SECONDS)
def test_exploration_on_a_cluster_finds_ways(nodes: Nodes, tmp_path: Path) -> None:
    flags = ["--stages", "1-1", "--per-stage", "2", "--shortening-steps", "2000", "--demos-dir", str(tmp_path)]
    ended = run_command("main.py", "explore", "--cluster", nodes.address, *flags)
    assert ended.returncode == 0, ended
    assert any(tmp_path.iterdir())


@pytest.fixture
def another_version(tmp_path: Path) -> dict[str, str]:
    """Variables with which Python finds the program in another version, as on a machine where that is installed."""
    installed = tmp_path / "another"
    (installed / "a3g").mkdir(parents=True)
    for each in (ROOT / "a3g").iterdir():
        (installed / "a3g" / each.name).symlink_to(each)
    start = installed / "a3g" / "__init__.py"
    start.unlink()
    start.write_text((ROOT / "a3g" / "__init__.py").read_text() + '\n__version__ = "9.9.9"\n')
    # Ray puts the driver's folder first: what is imported before stays.
    (installed / "sitecustomize.py").write_text(f"import sys\nsys.path.insert(0, {str(installed)!r})\nimport a3g\n")
    return {"PYTHONPATH": str(installed)}


@pytest.mark.cluster
@pytest.mark.timeout(3 * PATIENCE_SECONDS)
def test_a_machine_with_another_version_is_refused_at_first_and_left_out_later(
    nodes: Nodes, another_version: dict[str, str], start: Callable[[list[str]], Run], tmp_path: Path
) -> None:
    folder = tmp_path / "logs" / "run"
    flags = [*arguments(tmp_path), *HOGWILD_FLAGS, "--cluster", nodes.address]
    run = start(flags)
    wait_for(run, lambda: steps(folder)[0] > 0)
    nodes.add(environment=another_version)
    log = folder / "train.log"
    wait_for(run, lambda: f"has a3g {__version__}, this one 9.9.9" in log.read_text())
    wait_for(run, lambda: "nothing is started there any more" in log.read_text())
    then = steps(folder)[0]
    wait_for(run, lambda: steps(folder)[0] > then)
    run.process.send_signal(signal.SIGINT)
    run.finish(128 + signal.SIGINT)
    assert sum(steps(folder)) == steps(folder)[0], "it took no part"

    refused = run_command(*flags[1:], "--run-name", "another")
    assert_one_sentence(refused, rf"has a3g 9\.9\.9, this one {re.escape(__version__)}: install the same version on both")


@pytest.mark.cluster
@pytest.mark.timeout(3 * PATIENCE_SECONDS)
def test_a_lost_head_ends_the_run_and_a_new_cluster_goes_on_with_it(
    start: Callable[[list[str]], Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "logs" / "run"
    with Nodes() as first:
        run = start([*arguments(tmp_path), *HOGWILD_FLAGS, "--cluster", first.address])
        wait_for(run, lambda: steps(folder)[0] > 0)
        first.kill(0)
        out, err = run.finish(1)
    assert re.search(r"Ray's head at .* has not answered", out), (out, err)
    assert "go on with it by" in out
    summary = summary_of(folder)
    assert summary["agent_steps"] >= sum(steps(folder)) > 0

    goal = summary["agent_steps"] + 200
    with Nodes() as second:
        run = start([*arguments(tmp_path), "--resume", "run", "--cluster", second.address, "--total-steps", str(goal)])
        run.finish(0)
    assert summary_of(folder)["agent_steps"] >= goal
