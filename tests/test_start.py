"""The first seconds of a command: what it imports, what Ctrl-C does meanwhile, and the server that processes come from."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import ROOT, Start, arguments, summary_of

COMMANDS = {
    "main.py": ["main.py", "--serial", "--total-steps", "1"],
    "gym_eval.py": ["gym_eval.py", "--env", "SuperMarioBros-1-1-v0"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("imported", ["a3g.errors", "torch._C"])
def test_ctrl_c_while_a_command_imports_ends_it_quietly(command: str, imported: str, tmp_path: Path) -> None:
    """Regression: it was a traceback, and the exit code that of a signal."""
    script, *options = COMMANDS[command]
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", str(ROOT / script), *options, "--log-dir", str(tmp_path)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.split("|")[-1].strip() == imported:
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130
    assert out == ""
    assert [line for line in err.splitlines() if not line.startswith("import time:")] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="there is no fork server")
def test_what_processes_are_forked_from_has_one_thread_and_no_cuda() -> None:
    program = (
        "import json, pathlib, sys\n"
        "import a3g.processes.preload\n"
        "import torch\n"
        "threads = len(list(pathlib.Path('/proc/self/task').iterdir()))\n"
        "print(json.dumps([threads, torch.cuda.is_initialized(), 'torch._dynamo' in sys.modules]))\n"
    )
    environment = {"PATH": "", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    out = subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, env=environment, capture_output=True).stdout
    assert json.loads(out) == [1, False, False]


@pytest.mark.skipif(sys.platform != "linux", reason="there is no fork server")
def test_a_run_goes_on_when_its_fork_server_is_killed(tmp_path: Path, start: Start) -> None:
    run = start(arguments(tmp_path, "--run-name", "run"))
    titles = {"a3g fork server", "a3g test", "a3g train 0", "a3g train 1"}
    run.wait_for(lambda: titles <= set(run.children()))
    run.wait_for((tmp_path / "logs" / "run" / "metrics.csv").exists)
    before = run.children()
    before["a3g fork server"].kill()
    # What came from it ends with it, and a new one starts all of them again.
    run.wait_for(lambda: all(run.children().get(title, before[title]) != before[title] for title in titles))
    run.process.send_signal(signal.SIGTERM)
    run.finish(128 + signal.SIGTERM)
    assert summary_of(tmp_path / "logs" / "run")["restarts"] == 3


@pytest.mark.skipif(sys.platform != "linux", reason="there is no fork server")
def test_processes_are_forked_wherever_the_command_is_given(tmp_path: Path, start: Start) -> None:
    """From a folder in which `a3g` can't be imported, the server imports it all the same."""
    run = start(["env", "-C", str(tmp_path), *arguments(tmp_path, "--workers", "1")])
    run.wait_for(lambda: "a3g fork server" in run.children())
    run.process.send_signal(signal.SIGTERM)
    run.process.communicate()
