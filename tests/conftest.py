"""Settings of all tests, and the runs that tests start."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from tests.running import Run

# As in the program: one process, one core.
torch.set_num_threads(1)


@pytest.fixture
def start() -> Iterator[Callable[[list[str]], Run]]:
    runs: list[Run] = []

    def starter(command: list[str]) -> Run:
        runs.append(Run(command))
        return runs[-1]

    yield starter
    for run in runs:
        run.kill()
