"""Exploring a stage to a clear, shortening, further ways with sticky actions, and that all of it repeats exactly."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("a3g_native")

from a3g.exploration.archive import Archive
from a3g.exploration.demonstrations import Demonstration, load_demonstrations
from a3g.exploration.explorer import Explorer, Guide
from a3g.exploration.games import CLEARED, NO_OUTCOME, Games, replay
from a3g.exploration.search import MAX_IDLE_FRAMES, SearchOptions, find_further, shorten
from a3g.exploration.shortening import Shortener, cost
from a3g.exploration.tasks import StageTasks, Task, choose
from a3g.exploration.verification import Verifier, clears
from a3g.game.emulators import make_emulator
from a3g.game.native_vector import NativeVectorEnv
from a3g.game.options import GameOptions
from a3g.game.stage_starts import StartStates
from a3g.game.stages import Stage
from a3g.game.starts import Start
from tests.recordings import AXE_1_4, FLAGPOLE_1_1, MAZE_7_4, PIPES_8_4, PIT_1_1, WRONG_TURN_4_4, actions
from tests.running import ROOT

CASTLE = Stage(1, 4)
OPTIONS = SearchOptions(seed=1, sticky_actions=0.25, shortening_steps=4_000)


def recorded(recording: str, stage: Stage) -> Demonstration:
    return Demonstration(stage, 0, np.array(actions(recording), np.uint8))


@pytest.fixture(scope="module")
def axe() -> Demonstration:
    return recorded(AXE_1_4, CASTLE)


# ---- games ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recording", "stage", "outcome"),
    [
        (FLAGPOLE_1_1, Stage(1, 1), CLEARED),
        (AXE_1_4, CASTLE, CLEARED),
        (MAZE_7_4, Stage(7, 4), CLEARED),
        (PIPES_8_4, Stage(8, 4), NO_OUTCOME),
        (PIT_1_1, Stage(1, 1), 2),
    ],
)
def test_recordings_replay_in_the_games_of_an_exploration(recording: str, stage: Stage, outcome: int) -> None:
    assert replay(Games(stage, lanes=2), np.array(actions(recording), np.uint8)) == outcome


# ---- exploring -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", [CASTLE, Stage(1, 1)], ids=str)
def test_a_stage_is_cleared_from_nothing(stage: Stage) -> None:
    explorer = Explorer(Games(stage), [0, *stage])
    explorer.explore(200_000, until_cleared=True)
    assert explorer.best is not None
    found = len(explorer.best)
    assert Verifier().clears(Demonstration(stage, 0, explorer.best))
    explorer.explore(10_000)
    assert len(explorer.best) <= found
    assert replay(Games(stage, lanes=1), explorer.best) == CLEARED


def test_the_same_seed_explores_the_same() -> None:
    explorers = [Explorer(Games(CASTLE, idle_frames=3), seed, sticky_actions=0.1) for seed in (5, 5, 6)]
    for explorer in explorers:
        for _ in range(4):
            explorer.explore(1_000)
    one, same, other = (explorer.archive.ways for explorer in explorers)
    assert one == same
    assert one != other
    assert [explorer.agent_steps for explorer in explorers] == [explorers[0].agent_steps] * 3


def test_every_way_in_the_archive_leads_to_its_game() -> None:
    """Sticky actions included: ways hold what was executed."""
    games = Games(Stage(1, 1), idle_frames=7)
    explorer = Explorer(games, 3, sticky_actions=0.25)
    explorer.explore(6_000)
    for number in np.random.default_rng(0).choice(len(explorer.archive), 40, replace=False).tolist():
        assert replay(games, np.frombuffer(explorer.archive.ways[number], np.uint8)) == NO_OUTCOME
        assert games.save(0) == explorer.archive.games[number]


def test_sticky_actions_repeat_actions() -> None:
    """With a chance of nearly one, actions change far less often."""
    changes = []
    for chance in (0.0, 0.99):
        explorer = Explorer(Games(Stage(1, 1)), 3, chance)
        explorer.explore(8_000)
        longest = np.frombuffer(max(explorer.archive.ways, key=len), np.uint8)
        changes.append(np.count_nonzero(np.diff(longest)) / len(longest))
    assert changes[1] < changes[0] / 2  # the archive prefers ways in which there happened to be some


def test_the_archive_prefers_rarely_visited_and_new_cells_and_shorter_ways() -> None:
    archive = Archive(b"start", -1)
    for cell in range(1, 40):
        archive.put(cell, bytes([cell]), bytes(10 * cell), cell)
    assert len(archive) == 40
    assert not archive.is_new_or_shorter(20, 195)  # too little gained
    assert archive.is_new_or_shorter(20, 150)
    archive.put(20, b"better", bytes(150), 20)
    assert (len(archive), archive.games[20], len(archive.ways[20])) == (40, b"better", 150)
    draws = np.random.default_rng(0).random(20_000)
    chosen = np.bincount([archive.choose(draw, 1 << 30) for draw in draws], minlength=40)
    assert chosen.min() > 0.5 * chosen[:30].mean()  # visits level out ...
    assert chosen[-5:].min() > 1.5 * chosen[:30].max()  # ... but the newest are chosen more often
    assert max(archive.choose(draw, 100) for draw in draws[:500]) < 10


# ---- shortening ----------------------------------------------------------------------------------------


def test_a_shortened_way_is_shorter_and_still_clears(axe: Demonstration) -> None:
    shortener = Shortener(Games(CASTLE), axe.actions, 0)
    shortener.shorten(12_000)
    assert len(shortener.best) < len(axe.actions)
    assert cost(shortener.best) < cost(axe.actions)
    assert Verifier().clears(Demonstration(CASTLE, 0, shortener.best))
    again = Shortener(Games(CASTLE), axe.actions, 0)
    again.shorten(12_000)
    np.testing.assert_array_equal(again.best, shortener.best)


@pytest.mark.parametrize("broken", ["cut off", "with more behind it", "lost"])
def test_what_does_not_clear_is_not_shortened(axe: Demonstration, broken: str) -> None:
    ways = {
        "cut off": axe.actions[:-3],
        "with more behind it": np.append(axe.actions, axe.actions[:1]),
        "lost": np.array(actions(PIT_1_1), np.uint8),
    }
    with pytest.raises(ValueError, match="does not clear 1-4"):
        list(shorten(Demonstration(CASTLE, 0, ways[broken]), 1_000, (0,)))


# ---- further ways --------------------------------------------------------------------------------------


def test_a_guide_knows_its_way_by_place(axe: Demonstration) -> None:
    games = Games(CASTLE, lanes=2)
    guide = Guide.along(games, axe.actions)
    games.load(0, games.start)
    for step, action in enumerate(axe.actions[:60].tolist()):
        games.step(np.full(2, action), np.array([True, False]))
        found = guide.step_at(int(games.places()[0]))
        assert found is not None
        assert found >= step + 1
    assert guide.step_at(1 << 40) is None


def test_further_ways_are_different_and_clear(axe: Demonstration) -> None:
    verifier, found = Verifier(), []
    for seed in range(3):
        found += [report.found for report in find_further(axe, 0.25, (seed,)) if report.found is not None]
    assert len(found) == 3
    assert len({demonstration.idle_frames for demonstration in found}) > 1
    for demonstration in found:
        assert 0 <= demonstration.idle_frames <= MAX_IDLE_FRAMES
        assert 0.0 <= demonstration.sticky_actions <= 0.25
        assert not np.array_equal(demonstration.actions, axe.actions)
        assert verifier.clears(demonstration)
    assert any(demonstration.sticky_actions for demonstration in found)
    once, again = (list(find_further(axe, 0.25, (0,)))[-1].found for _ in range(2))
    assert once is not None
    assert again is not None
    np.testing.assert_array_equal(once.actions, again.actions)
    # As training replays it: from its idle frames on, with sticky actions off.
    env = NativeVectorEnv([CASTLE], 1, GameOptions(time_per_stage=400), seed=0, starts=_Fixed(once))
    env.reset()
    for action in once.actions.tolist():
        infos = env.step(np.array([action]))[4]
    assert infos["final_info"]["outcome"][0] == "cleared"


class _Fixed:
    """Every episode begins as a demonstration does."""

    def __init__(self, demonstration: Demonstration) -> None:
        self._start = Start(demonstration.stage, demonstration.idle_frames)

    def next(self, rng: np.random.Generator, lane: int) -> Start:
        return self._start

    def episode_ended(self, *how: object) -> None:
        pass


# ---- verification --------------------------------------------------------------------------------------


def test_only_what_clears_with_its_last_action_is_a_demonstration(axe: Demonstration) -> None:
    console = make_emulator("native")
    starts = StartStates(console)

    def good(demonstration: Demonstration) -> bool:
        return clears(demonstration, console, starts)

    assert good(axe)
    assert not good(Demonstration(CASTLE, 0, axe.actions[:-1]))
    assert not good(Demonstration(CASTLE, 0, np.append(axe.actions, axe.actions[:1])))
    assert not good(Demonstration(CASTLE, 30, axe.actions))
    assert not good(recorded(PIT_1_1, Stage(1, 1)))
    assert not good(recorded(WRONG_TURN_4_4, Stage(4, 4)))
    assert not good(recorded(AXE_1_4, Stage(2, 4)))


# ---- tasks ---------------------------------------------------------------------------------------------


def test_tasks_bring_a_stage_to_the_number_wanted(axe: Demonstration) -> None:
    stage = StageTasks.of(CASTLE, 3, [])
    task = stage.next_task()
    assert task == Task("first", CASTLE, 0)
    stage.begin(task)
    assert stage.next_task() is None  # all others need it
    stage.end(task)  # in vain
    task = stage.next_task()
    assert task == Task("first", CASTLE, 1)
    stage.begin(task)
    assert stage.add(task, axe)
    stage.end(task)
    task = stage.next_task()
    assert task == Task("shorten", CASTLE, 0, axe)
    stage.begin(task)
    stage.end(task)
    further = []
    for attempt in range(2):
        further.append(stage.next_task())
        assert further[-1] == Task("further", CASTLE, attempt, axe)
        stage.begin(further[-1])
    assert stage.next_task() is None  # as many are on their way as are wanted
    later, earlier = Demonstration(CASTLE, 2, axe.actions), Demonstration(CASTLE, 1, axe.actions)
    assert stage.add(further[1], later)
    assert not stage.add(further[0], later)  # the same once more
    assert stage.add(further[0], earlier)
    for task in further:
        stage.end(task)
    assert stage.is_done
    assert stage.demonstrations() == [axe, earlier, later]


def test_tasks_go_on_from_what_there_is(axe: Demonstration) -> None:
    other = Demonstration(CASTLE, 4, axe.actions, 0.125)
    complete = StageTasks.of(CASTLE, 2, [other, axe])
    assert complete.is_done
    assert complete.demonstrations() == [axe, other]
    interrupted = StageTasks.of(CASTLE, 3, [axe, other])
    assert interrupted.next_task() == Task("shorten", CASTLE, 0, axe)
    without_first = StageTasks.of(Stage(8, 1), 3, [Demonstration(Stage(8, 1), 4, axe.actions, 0.125)])
    assert without_first.next_task() == Task("first", Stage(8, 1), 0)
    assert choose([interrupted, complete, without_first]) == Task("first", Stage(8, 1), 0)
    assert choose([interrupted, complete]) == Task("shorten", CASTLE, 0, axe)
    assert choose([complete]) is None


def test_a_task_that_was_interrupted_is_done_again(axe: Demonstration) -> None:
    stage = StageTasks.of(CASTLE, 2, [axe])
    for kind in ("shorten", "further"):
        task = stage.next_task()
        assert task is not None
        assert task.kind == kind
        stage.begin(task)
        stage.end(task, interrupted=True)
        assert stage.next_task() == task
        stage.begin(task)
        stage.end(task)


def test_a_task_does_what_its_kind_says() -> None:
    reports = list(Task("first", CASTLE, 0).run(OPTIONS))
    found = [report.found for report in reports if report.found is not None]
    assert found
    lengths = [len(each.actions) for each in found]
    assert lengths == sorted(lengths, reverse=True)
    shortened = [each.found for each in Task("shorten", CASTLE, 0, found[-1]).run(OPTIONS) if each.found is not None]
    assert all(cost(each.actions) < cost(found[-1].actions) for each in shortened)
    assert all(Verifier().clears(each) for each in (*found, *shortened))


# ---- what is shipped -----------------------------------------------------------------------------------


def test_shipped_demonstrations_clear_their_stages() -> None:
    """Of each stage the first one and one more; all of them were verified when they were found."""
    verifier, random = Verifier(), np.random.default_rng(1)
    for stage, demonstrations in load_demonstrations(ROOT / "trained_models" / "demos").items():
        for number, each in enumerate(demonstrations):
            if number in (0, random.integers(1, 1 + len(demonstrations))):
                assert verifier.clears(each), f"{stage}, number {number}"
