"""Films: playable whenever their writer ends, and showing the episodes that were played."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

from a3g.reporting.video import VideoWriter
from tests.running import PATIENCE_SECONDS, ROOT

# Writes pictures until it is killed; each is of one brightness, which says its number.
ENDLESS = """
import itertools, sys
from pathlib import Path
import numpy as np
from a3g.reporting.video import VideoWriter
video = VideoWriter(Path(sys.argv[1]), 32, 48, frames_per_second=30)
for number in itertools.count():
    video.add(np.full((32, 48, 3), number % 200, np.uint8))
    print(number, flush=True)
"""


def pictures_in(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def killed_film(path: Path, number: signal.Signals) -> int:
    """Have a process write a film and kill it in the middle of the third second; returns how many pictures it was given."""
    process = subprocess.Popen([sys.executable, "-c", ENDLESS, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    given = 0
    for line in process.stdout:
        given = int(line) + 1
        if given >= 100:
            break
    process.send_signal(number)
    process.stdout.read()
    process.stdout.close()
    assert process.wait(PATIENCE_SECONDS) != 0
    return given


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_film_plays_up_to_its_last_seconds_after_a_kill(tmp_path: Path, number: signal.Signals) -> None:
    given = killed_film(tmp_path / "film.mp4", number)
    pictures = pictures_in(tmp_path / "film.mp4")
    assert len(pictures) >= given - 60  # two fragments of a second: one being filled, one in the encoder
    assert pictures[0].shape == (64, 96, 3)
    for i, picture in enumerate(pictures):
        assert abs(picture.mean() - i % 200) < 3, i


def test_a_finished_film_has_every_picture(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "new" / "film.mp4", 32, 48, scale=1, frames_per_second=60) as video:
        for i in range(150):
            video.add(np.full((32, 48, 3), i, np.uint8))
    assert len(pictures_in(tmp_path / "new" / "film.mp4")) == 150
