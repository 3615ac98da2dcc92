"""Films of recorded episodes: each is played again, frame by frame, since tests keep only actions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from a3g.errors import UserError
from a3g.files import sync_folder
from a3g.game.emulators import FRAMES_PER_SECOND, VISIBLE_HEIGHT, VISIBLE_WIDTH, Emulator, Image
from a3g.game.lane_vector import LaneVectorEnv
from a3g.game.rules import FrameHook, Outcome
from a3g.game.stages import parse_stage
from a3g.processes.evaluation import PlannedStarts
from a3g.reporting.film_grid import FilmGrid
from a3g.reporting.video import VideoWriter
from a3g.runs.recordings import VIDEOS, RecordedEpisode, Recording, best_path, path_of_test_film, recordings_in

# A grid's film has every second frame: half the work, and small pictures need no more.
GRID_FRAMES_PER_SECOND = FRAMES_PER_SECOND // 2
# More games than this are not told apart in one picture.
MOST_IN_GRID = 64
# How long a film shows its last picture.
_LAST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ReplayedFrame:
    """One frame of all games that still go on."""

    pictures: dict[int, Image]
    """By the episodes' numbers, uint8 (224, 240, 3)."""
    ended: list[int]
    """Episodes of which this is the last frame."""


def replay(recording: Recording) -> Iterator[ReplayedFrame]:
    """Play the episodes of a recording again side by side, a frame (1/60 s) each time.

    Raises:
        UserError: if the engine that played them isn't here.
    """
    episodes = recording.episodes
    options = replace(recording.game, episodic_life=True, observation="pictures")
    starts = PlannedStarts(len(episodes), options.noop_max, None)
    starts.stages = [parse_stage(episode.stage) for episode in episodes]
    env = LaneVectorEnv([None], len(episodes), options, recording.emulator, copy=False, starts=starts)
    waiting: list[deque[Image]] = [deque() for _ in episodes]

    def keep_frames_of(number: int) -> FrameHook:
        def keep(emulator: Emulator) -> None:
            waiting[number].append(emulator.rgb())

        return keep

    for i in range(len(episodes)):
        env.lanes[i].on_frame = keep_frames_of(i)
    try:
        env.reset(seed=[episode.seed for episode in episodes])
        played = [0] * len(episodes)
        playing = [i for i, episode in enumerate(episodes) if episode.actions]
        actions = np.zeros(len(episodes), np.int64)
        while playing:
            due = [i for i in playing if not waiting[i]]
            for i in range(len(episodes)):
                env.set_idle(i, i not in due)
                actions[i] = episodes[i].actions[played[i]] if i in due else 0
            if due:
                env.step(actions)
            for i in due:
                played[i] += 1
            ended = [i for i in playing if played[i] == len(episodes[i].actions) and len(waiting[i]) <= 1]
            yield ReplayedFrame({i: waiting[i].popleft() for i in playing if waiting[i]}, ended)
            playing = [i for i in playing if i not in ended]
    finally:
        env.close()


def film_waiting(folder: Path) -> Iterator[Path]:
    """Film what a run's tests have left: the newest test as a grid, and every stage's best episode that is new.

    Tests that came while another one was filmed are left out, but for their best episodes.

    Yields:
        each film when it is finished

    Raises:
        OSError: if something can't be written; what is left waits for another try.
        UserError: as `replay`.
    """
    waiting = recordings_in(folder)
    for path in waiting:
        try:
            recording = Recording.load(path)
        except UserError:
            path.unlink(missing_ok=True)  # nobody can film it
            continue
        for episode in recording.episodes:
            kept = best_path(folder, episode.stage, ".json")
            if _is_best(kept, episode):
                replace(recording, episodes=(episode,)).save(kept)
    for kept in sorted((folder / VIDEOS).glob("best-*.json")):
        film = kept.with_suffix(".mp4")
        if film.exists() and film.stat().st_mtime >= kept.stat().st_mtime:
            continue
        try:
            best = Recording.load(kept)
        except UserError:
            kept.unlink(missing_ok=True)
            continue
        film_episode(best, film)
        yield film
    if waiting and waiting[-1].exists():
        newest = Recording.load(waiting[-1])
        film = path_of_test_film(folder, newest.agent_steps)
        film_grid(newest, film)
        yield film
    for path in waiting:
        path.unlink(missing_ok=True)


def _is_best(kept: Path, episode: RecordedEpisode) -> bool:
    """Whether an episode is better than the best one of its stage so far."""
    try:
        return episode.is_better_than(Recording.load(kept).episodes[0])
    except (UserError, IndexError):  # there is none
        return True


def film_episode(recording: Recording, path: Path) -> None:
    """Write the film of a recording's only episode; a film that was there is replaced when the new one is whole.

    Raises:
        OSError: if it can't be written.
        UserError: as `replay`.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    picture: Image | None = None
    try:
        with VideoWriter(temporary, VISIBLE_HEIGHT, VISIBLE_WIDTH, frames_per_second=FRAMES_PER_SECOND) as video:
            for frame in replay(recording):
                picture = frame.pictures.get(0, picture)
                if picture is not None:
                    video.add(picture)
            if picture is not None:
                _hold(video, picture, FRAMES_PER_SECOND)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def film_grid(
    recording: Recording,
    path: Path,
    columns: int = 0,
    on_picture: Callable[[Image], None] = lambda picture: None,
) -> None:
    """Write all episodes of a recording side by side, straight into `path`: it can be watched while it grows.

    Args:
        columns: of the grid; see `FilmGrid`.
        on_picture: called with every picture of the film.

    Raises:
        OSError: if it can't be written; what is there can be played.
        UserError: as `replay`.
    """
    recording = replace(recording, episodes=choose_for_grid(recording.episodes))
    grid = FilmGrid([each.stage for each in recording.episodes], VISIBLE_HEIGHT, VISIBLE_WIDTH, columns)
    height, width = grid.picture.shape[:2]
    with VideoWriter(path, height, width, 1, GRID_FRAMES_PER_SECOND, quality=23) as video:
        for number, frame in enumerate(replay(recording)):
            shown = number % (FRAMES_PER_SECOND // GRID_FRAMES_PER_SECOND) == 0
            for i, picture in frame.pictures.items():
                if shown or i in frame.ended:
                    grid.show(i, picture)
            for i in frame.ended:
                episode = recording.episodes[i]
                grid.finish(i, episode.outcome == Outcome.CLEARED, describe_end(episode))
            if shown:
                video.add(grid.picture)
                on_picture(grid.picture)
        on_picture(grid.picture)
        _hold(video, grid.picture, GRID_FRAMES_PER_SECOND)


def choose_for_grid(episodes: Sequence[RecordedEpisode]) -> tuple[RecordedEpisode, ...]:
    """At most MOST_IN_GRID: the first of every stage, then the second of every stage, and so on; by stages."""
    seen: dict[str, int] = {}
    ranked = []
    for episode in episodes:
        ranked.append((seen.get(episode.stage, 0), episode))
        seen[episode.stage] = seen.get(episode.stage, 0) + 1
    ranked.sort(key=lambda pair: pair[0])
    return tuple(sorted((episode for _, episode in ranked[:MOST_IN_GRID]), key=lambda episode: episode.stage))


def describe_end(episode: RecordedEpisode) -> str:
    """How an episode ended, in a few letters."""
    return "cleared" if episode.outcome == Outcome.CLEARED else f"{episode.outcome} x {episode.progress}"


def _hold(video: VideoWriter, picture: Image, frames_per_second: int) -> None:
    for _ in range(round(_LAST_SECONDS * frames_per_second)):
        video.add(picture)
