"""Films: playable whenever their writer ends, and showing the episodes that were played."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from a3g.__main__ import main
from a3g.algorithms import algorithm_class
from a3g.game.emulators import resolve_emulator
from a3g.game.options import GameOptions
from a3g.game.rules import FrameHook
from a3g.game.stages import Stage
from a3g.network_spec import NetworkSpec
from a3g.networks.actor_critic import ActorCritic
from a3g.processes.evaluation import Evaluator
from a3g.processes.films import choose_for_grid, film_waiting, replay
from a3g.reporting.film_grid import FilmGrid
from a3g.reporting.video import VideoWriter
from a3g.runs.recordings import (
    RecordedEpisode,
    Recording,
    best_path,
    path_of_test_film,
    recording_path,
    recordings_in,
)
from a3g.runs.weights import save_weights
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


# -- films of episodes

# Sticky actions and idle frames: the seed has to give them again.
GAME = GameOptions(sticky_actions=0.25, time_per_stage=6)
STAGES = (Stage(1, 1), Stage(1, 2), Stage(1, 1))


def recorded(sample: bool = True) -> tuple[Recording, list[list[np.ndarray]]]:
    """Episodes of an untrained network, and every frame that they showed when they were played."""
    torch.manual_seed(3)
    options = GAME
    spec = NetworkSpec("conv4", options.observation_shape, options.num_actions, 16, lstm=False, fc=True)
    model = ActorCritic(spec).eval()
    evaluator = Evaluator(algorithm_class("a3c"), "auto", options)
    episodes: list[RecordedEpisode] = []
    planned = [(stage, 7 + i) for i, stage in enumerate(STAGES)]
    evaluator.play(
        model, planned, sample=sample, on_actions=lambda result, actions: episodes.append(RecordedEpisode.of(result, actions))
    )
    episodes.sort(key=lambda episode: episode.seed)
    shown: list[list[np.ndarray]] = [[] for _ in STAGES]

    def hook(index: int) -> FrameHook:
        return lambda emulator: shown[index].append(emulator.rgb())

    evaluator.play(model, planned, sample=sample, on_frame=hook)
    evaluator.close()
    return Recording(1_000, options, resolve_emulator("auto"), tuple(episodes)), shown


@pytest.fixture(scope="module")
def episodes() -> tuple[Recording, list[list[np.ndarray]]]:
    return recorded()


def test_a_film_shows_every_frame_that_was_played(episodes: tuple[Recording, list[list[np.ndarray]]]) -> None:
    recording, shown = episodes
    replayed: list[list[np.ndarray]] = [[] for _ in STAGES]
    ended: list[int] = []
    for frame in replay(recording):
        for i, picture in frame.pictures.items():
            replayed[i].append(picture)
        ended += frame.ended
    assert sorted(ended) == [0, 1, 2]
    for before, after in zip(shown, replayed, strict=True):
        assert len(before) == len(after) > 100
        assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


def test_a_recording_is_read_as_it_was_written(tmp_path: Path, episodes: tuple[Recording, list[list[np.ndarray]]]) -> None:
    recording, _ = episodes
    recording.save(tmp_path / "recording.json")
    assert Recording.load(tmp_path / "recording.json") == recording


def test_tests_become_films_and_the_best_episodes_stay(
    tmp_path: Path, episodes: tuple[Recording, list[list[np.ndarray]]]
) -> None:
    recording, shown = episodes
    recording.save(recording_path(tmp_path, 1_000))
    # A newer test in which 1-1 was played worse and 1-2 as before.
    worse = tuple(replace(episode, progress=episode.progress - (episode.stage == "1-1")) for episode in recording.episodes)
    replace(recording, agent_steps=2_000, episodes=worse).save(recording_path(tmp_path, 2_000))
    written = list(film_waiting(tmp_path))
    assert written == [
        best_path(tmp_path, "1-1", ".mp4"),
        best_path(tmp_path, "1-2", ".mp4"),
        path_of_test_film(tmp_path, 2_000),
    ]
    assert recordings_in(tmp_path) == []
    best = max((0, 2), key=lambda i: recording.episodes[i].progress)
    assert Recording.load(best_path(tmp_path, "1-1", ".json")).episodes == (recording.episodes[best],)
    film = pictures_in(written[0])
    assert len(film) == len(shown[best]) + 60  # and a second of its last picture
    assert film[0].shape == (448, 480, 3)
    assert np.abs(film[100][::2, ::2].astype(int) - shown[best][100]).mean() < 8  # but for what the compression costs
    assert len(pictures_in(written[2])) == -(-max(map(len, shown)) // 2) + 30
    assert list(film_waiting(tmp_path)) == []  # nothing new


def test_a_damaged_recording_is_left_out(tmp_path: Path) -> None:
    recording_path(tmp_path, 5).parent.mkdir(parents=True)
    recording_path(tmp_path, 5).write_text('{"episodes": 3}')
    assert list(film_waiting(tmp_path)) == []
    assert recordings_in(tmp_path) == []


def test_a_better_episode_clears_sooner_or_else_gets_further() -> None:
    def episode(outcome: str, progress: int, steps: int) -> RecordedEpisode:
        return RecordedEpisode("1-1", 1, outcome, progress, (0,) * steps)

    order = [episode("died", 90, 5), episode("timeout", 95, 9), episode("cleared", 80, 9), episode("cleared", 70, 8)]
    for i, better in enumerate(order):
        assert [better.is_better_than(other) for other in order] == [j < i for j in range(len(order))]


def test_a_grid_has_a_bit_of_every_stage() -> None:
    many = [RecordedEpisode(f"1-{1 + i % 3}", i, "died", i, (0,)) for i in range(100)]
    chosen = choose_for_grid(many)
    assert len(chosen) == 64
    assert [sum(each.stage == stage for each in chosen) for stage in ("1-1", "1-2", "1-3")] == [22, 21, 21]
    assert [each.stage for each in chosen] == sorted(each.stage for each in chosen)


@pytest.mark.parametrize("count", [1, 2, 5, 31, 32, 64])
def test_a_grids_picture_suits_h264_and_holds_every_game(count: int) -> None:
    grid = FilmGrid([str(i) for i in range(count)], 224, 240)
    assert grid.picture.shape[0] % 2 == grid.picture.shape[1] % 2 == 0
    assert max(grid.picture.shape) <= 1_400
    for i in range(count):
        before = grid.picture.copy()
        grid.show(i, np.full((224, 240, 3), 200, np.uint8))
        changed = np.argwhere((grid.picture != before).any(-1))
        assert len(changed) == np.prod(changed.max(0) - changed.min(0) + 1)  # a rectangle, over no other game
        grid.finish(i, i % 2 == 0, "cleared")


def test_the_demo_films_all_stages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = NetworkSpec("conv4", GAME.observation_shape, GAME.num_actions, 16, lstm=False, fc=True)
    weights, out = tmp_path / "w.safetensors", tmp_path / "demo"
    save_weights(weights, ActorCritic(spec), "SuperMarioBros-v0", GAME, 5)
    assert main(["demo", "--weights", str(weights), "--episodes", "2", "-tps", "3", "--output", str(out)]) == 0
    results = json.loads((out / "scorecard.json").read_text())
    assert len(results["episodes"]) == 64
    assert len(results["clear_rate"]) == 32
    assert len(pictures_in(out / "stages.mp4")) > 30
    assert (out / "stages.webp").stat().st_size < 4_000_000
    assert (out / "scorecard.png").exists()
    assert "films the first episode of every stage" in capsys.readouterr().out
    assert main(["demo", "--weights", str(tmp_path / "none"), "--output", str(out)]) == 2
    assert "none" in capsys.readouterr().err
