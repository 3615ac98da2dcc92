"""`python main.py --watch` and `python -m a3g watch` as a user runs them, with real processes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from a3g.command_line import parse_train
from a3g.processes.heartbeat import HeartbeatMonitor, Heartbeats
from a3g.processes.supervisor import MAX_DEATHS_WITHOUT_WORK, Child, Supervisor
from a3g.processes.watch_server import TITLE
from a3g.reporting.watch.address import bind
from tests.running import ROOT, Run, Start, arguments, summary_of
from tests.test_watch import make_run
from tests.watching import wait_for


def free_port() -> int:
    with bind("127.0.0.1", 0) as listening:
        return int(listening.getsockname()[1])


def answers(url: str) -> Any:
    try:
        return httpx.get(url, timeout=5).json()
    except (httpx.TransportError, ValueError):
        return None


def test_training_outlives_its_page_and_the_page_comes_back(start: Start, tmp_path: Path) -> None:
    port = free_port()
    run: Run = start(arguments(tmp_path, "--run-name", "one", "--watch", str(port)))
    status = run.wait_for(lambda: (found := answers(f"http://127.0.0.1:{port}/api/status")) and found["agent_steps"] and found)
    assert {process["title"] for process in status["processes"]} == {"a3g train 0", "a3g train 1", "a3g test"}
    first = run.wait_for(lambda: run.children().get(TITLE))
    first.kill()
    second = run.wait_for(lambda: (child := run.children().get(TITLE)) and child.pid != first.pid and child)
    assert second.is_running()
    later = run.wait_for(lambda: answers(f"http://127.0.0.1:{port}/api/status"))
    assert later["agent_steps"] >= status["agent_steps"]
    run.process.send_signal(signal.SIGINT)
    out, _ = run.finish(128 + signal.SIGINT)
    assert f"watch it at http://127.0.0.1:{port}/" in out
    assert f"{TITLE} died by SIGKILL" in out
    assert summary_of(tmp_path / "logs" / "one")["agent_steps"] > 0


def test_a_port_that_is_taken_ends_the_command_before_anything_is_made(tmp_path: Path) -> None:
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        commands = [arguments(tmp_path, "--watch", str(port)), [sys.executable, "gym_eval.py", "--watch", str(port)]]
        processes = [
            subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for command in commands
        ]
        for process in processes:
            _, error = process.communicate()
            assert process.returncode == 2
            assert re.search(f"port {port} is taken by another program: choose another one", error)
            assert len(error.splitlines()) == 1
    assert not (tmp_path / "logs").exists()


def test_a_page_that_keeps_dying_is_left_out() -> None:
    """Of the run's other processes the same would be the end."""

    class Dead:
        exitcode, pid = 1, 1

        def is_alive(self) -> bool:
            return False

        def join(self, timeout: float) -> None:
            """Nothing to wait for."""

    child = Child(TITLE, lambda restarts: cast(Any, Dead()), HeartbeatMonitor(Heartbeats(1), 0), lambda: 0, is_essential=False)
    supervisor = Supervisor([child], 60.0)
    supervisor.start(0.0)
    for second in range(100):
        assert supervisor.check(float(second)) is None
    assert child.finished
    assert child.restarts == MAX_DEATHS_WITHOUT_WORK - 1
    assert "the run goes on without it" in supervisor.messages[-1]


def test_a_run_that_is_over_is_served_until_ctrl_c(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "one")
    command = [sys.executable, "-m", "a3g", "watch", "one", "--log-dir", str(tmp_path), "--port", "0"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"watch it at (http://\S+/),", process.stdout.readline())
        assert found
        assert wait_for(lambda: answers(f"{found[1]}api/run"))["name"] == folder.name
        process.send_signal(signal.SIGINT)
        _, error = process.communicate()
        assert process.returncode == 0, error
        assert error == ""
    finally:
        process.kill()


@pytest.mark.parametrize("content", [None, "{", json.dumps({"algorithm": 3}), json.dumps({"lanes": "many"})])
def test_a_folder_that_is_no_runs_is_said(tmp_path: Path, content: str | None) -> None:
    from a3g.commands import watch_command

    if content is not None:
        (tmp_path / "config.json").write_text(content)
    assert watch_command([str(tmp_path), "--port", "0"], "a3g watch") == 2


def test_who_may_look_is_no_setting_of_a_run() -> None:
    from a3g.config_json import describe_changes

    assert describe_changes(parse_train([]), parse_train(["--watch", "8080", "--watch-host", "0.0.0.0"])) == ""
