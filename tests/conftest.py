"""Settings of all tests, the markers that follow from what a test uses, and the runs that tests start."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator

import pytest
import torch

from tests.running import Run

# As in the program: one process, one core.
torch.set_num_threads(1)

NEED_NATIVE = ("test_native.py", "test_native_vector.py")
ARE_STRESS = ("test_survival.py",)
ARE_ALONE = (*ARE_STRESS, "test_films_browser.py", "test_watch_browser.py")
ARE_SLOW = ("test_fuzz.py", "test_start.py")

# They import it at their beginning.
collect_ignore = [] if importlib.util.find_spec("a3g_native") else list(NEED_NATIVE)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what follows from a test's file and fixtures; what else is slow is marked where it stands.

    Tests on a cluster of their own are left out unless `-m` names them.
    """
    if "cluster" not in config.getoption("markexpr"):
        items[:] = [item for item in items if item.get_closest_marker("cluster") is None]
    for item in items:
        if item.path.name in NEED_NATIVE:
            item.add_marker(pytest.mark.native)
        if item.path.name in ARE_STRESS:
            item.add_marker(pytest.mark.stress)
        # A whole run with real processes takes seconds to start.
        if item.path.name in ARE_SLOW or "start" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
        if item.path.name in ARE_ALONE or "start" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.alone)


@pytest.fixture
def start() -> Iterator[Callable[[list[str]], Run]]:
    runs: list[Run] = []

    def starter(command: list[str]) -> Run:
        runs.append(Run(command))
        return runs[-1]

    yield starter
    for run in runs:
        run.kill()
