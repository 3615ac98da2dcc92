"""Where training episodes begin: curricula over stages and along demonstrations, retries, and what plays demonstrations."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from a3g.config import TrainConfig
from a3g.errors import UserError
from a3g.experience.make import check_experience, make_starts
from a3g.exploration.curriculum import PARTS, CurriculumStarts
from a3g.exploration.demonstrations import Demonstration, load_demonstrations, save_demonstrations
from a3g.exploration.replay import DemonstrationPlayer, StateRecorder
from a3g.exploration.retries import RetryStarts
from a3g.game.emulators import available_emulators
from a3g.game.options import GameOptions
from a3g.game.rules import Outcome
from a3g.game.stages import STAGES, Stage
from a3g.game.starts import Start, UniformStarts, pack_starts, unpack_starts
from tests.running import ROOT

pytestmark = pytest.mark.skipif("native" not in available_emulators(), reason="the native core is not built here")
RUN, JUMP = 3, 4
OPTIONS = GameOptions(noop_max=5)
HERE, THERE = Stage(1, 1), Stage(4, 1)


def demonstration(stage: Stage, steps: int, idle_frames: int = 0) -> Demonstration:
    """Running right with a jump now and then; what is called a demonstration here need not clear anything."""
    actions = np.array([JUMP if 20 <= step % 40 < 30 else RUN for step in range(steps)], np.uint8)
    return Demonstration(stage, idle_frames, actions)


def curriculum(**options: object) -> CurriculumStarts:
    demonstrations = {HERE: [demonstration(HERE, 60), demonstration(HERE, 40, idle_frames=7)]}
    return CurriculumStarts(
        [HERE, THERE], OPTIONS, demonstrations, **{"adaptive": True, "sticky_actions": (0.0, 0.25), **options}
    )  # type: ignore[arg-type]


def report(source: CurriculumStarts, start: Start, cleared: bool, times: int) -> None:
    for _ in range(times):
        source.episode_ended(start, Outcome.CLEARED if cleared else Outcome.DIED, 100)


def test_a_recorder_keeps_the_states_that_a_demonstration_passes_through() -> None:
    from a3g.game.native_vector import NativeVectorEnv

    shown = demonstration(HERE, 40, idle_frames=3)
    states = StateRecorder(OPTIONS).states(shown, every=5, leave_out=18)
    assert len(states) == 4
    env = NativeVectorEnv([HERE], 1, GameOptions(noop_max=0), starts=_Fixed([Start(HERE, shown.idle_frames)]))
    env.reset()
    for step, action in enumerate(shown.actions[:20].tolist(), 1):
        env.step([action])
        if step % 5 == 0:
            assert env.console(0) == states[step // 5 - 1], f"after {step} steps"


def test_a_player_shows_what_was_seen_before_each_action_and_begins_anew_at_an_end() -> None:
    """Each demonstration against a game of its own that is stepped with the same actions."""
    from a3g.game.native_vector import NativeVectorEnv

    shown = [demonstration(stage, 200, idle_frames=i) for i, stage in enumerate((HERE, THERE, Stage(6, 1)))]  # all die in time
    player = DemonstrationPlayer(shown, 3, OPTIONS, seed=5)
    observations = np.zeros((3, *OPTIONS.observation_shape), np.uint8)
    games: list[NativeVectorEnv | None] = [None] * 3
    played = [np.zeros(0, np.uint8)] * 3
    ends = 0
    for _ in range(150):
        before = player.observations.copy()
        step = player.step(observations)
        np.testing.assert_array_equal(observations, before)
        for lane in range(3):
            game = games[lane]
            if game is None:  # which one begins can be told from what is seen
                for each in shown:
                    game = NativeVectorEnv([HERE], 1, OPTIONS, starts=_Fixed([Start(each.stage, each.idle_frames)]))
                    game.reset()
                    if np.array_equal(game.observations[0], observations[lane]):
                        games[lane], played[lane] = game, each.actions
                        break
                assert game is not None
            np.testing.assert_array_equal(observations[lane], game.observations[0])
            assert step.actions[lane] == played[lane][0]
            played[lane] = played[lane][1:]
            _, rewards, terminated, _, _ = game.step([step.actions[lane]])
            assert step.rewards[lane] == rewards[0]
            assert step.dones[lane] == terminated[0]
            if terminated[0]:
                games[lane], ends = None, ends + 1
    assert ends > 2, "the test is too short"


def test_a_player_goes_on_with_another_when_a_demonstrations_actions_end_before_its_episode() -> None:
    """Regression: an IndexError in the worker."""
    shown = [demonstration(HERE, 7), demonstration(HERE, 200)]  # the second one dies in time
    player = DemonstrationPlayer(shown, 4, OPTIONS, seed=1)
    observations = np.zeros((4, *OPTIONS.observation_shape), np.uint8)
    first_pictures = player.observations[0].copy()
    short_ends = 0
    for _ in range(150):
        lengths = np.array([len(each.actions) for each in player._playing])
        positions = player._positions.copy()
        step = player.step(observations)
        used_up = positions + 1 == lengths
        assert step.dones[used_up].all()
        short_ends += int(used_up.sum())
        for lane in np.flatnonzero(step.dones):
            np.testing.assert_array_equal(player.observations[lane], first_pictures)
    assert short_ends > 8, "the test is too short"


def test_no_episode_begins_along_a_demonstration_that_is_too_short(tmp_path: Path) -> None:
    """Regression: an IndexError in the worker."""
    starts = CurriculumStarts([HERE], OPTIONS, {HERE: [demonstration(HERE, 10)]}, adaptive=True, sticky_actions=None)
    random = np.random.default_rng(1)
    assert {starts.next(random, 0).state for _ in range(30)} == {None}


def test_a_player_goes_on_from_its_state_and_refuses_that_of_other_stages() -> None:
    shown = [demonstration(HERE, 200), demonstration(THERE, 200)]
    observations = np.zeros((2, *OPTIONS.observation_shape), np.uint8)
    player, other = (DemonstrationPlayer(shown, 2, OPTIONS, seed) for seed in (1, 2))
    player.add(demonstration(HERE, 250, idle_frames=2))
    for _ in range(70):
        player.step(observations)
    state = player.state_dict()
    other.load_state_dict(state)
    for _ in range(70):
        np.testing.assert_array_equal(player.step(observations).actions, other.step(observations).actions)
        np.testing.assert_array_equal(player.observations, other.observations)
    with pytest.raises(ValueError, match="other stages"):
        DemonstrationPlayer(shown[:1], 2, OPTIONS, 1).load_state_dict(state)


class _Fixed(UniformStarts):
    """Starts in the order given, then the last one for ever."""

    def __init__(self, starts: list[Start]) -> None:
        super().__init__([HERE], 0)
        self._given = starts

    def next(self, rng: np.random.Generator, lane: int) -> Start:
        return self._given.pop(0) if len(self._given) > 1 else self._given[0]


def test_what_is_cleared_is_played_less_and_never_left_out() -> None:
    source = curriculum()
    assert source.stage_shares() == pytest.approx([0.5, 0.5])
    report(source, Start(HERE), cleared=True, times=200)
    report(source, Start(THERE), cleared=False, times=200)
    shares = source.stage_shares()
    assert 0.05 < shares[0] < 0.2
    assert curriculum(adaptive=False).stage_shares() == pytest.approx([0.5, 0.5])


def test_true_starts_become_all_as_a_stage_is_mastered() -> None:
    source = curriculum()
    report(source, Start(HERE), cleared=False, times=200)
    assert source.true_share(0) == pytest.approx(0.25, abs=0.01)
    report(source, Start(HERE), cleared=True, times=300)
    assert source.true_share(0) == pytest.approx(1.0, abs=0.01)


def test_episodes_begin_most_where_success_varies() -> None:
    source = curriculum()
    for part in range(1, 1 + PARTS):
        report(source, Start(HERE, id=part), cleared=part > 4, times=200)
    for _ in range(100):
        report(source, Start(HERE, id=3), cleared=True, times=1)
        report(source, Start(HERE, id=3), cleared=False, times=1)
    rng = np.random.default_rng(0)
    starts = [source.next(rng, 0) for _ in range(2000)]
    along = [start.id for start in starts if start.state is not None]
    counts = np.array([along.count(part) for part in range(1, 1 + PARTS)])
    assert counts.argmax() == 2
    assert counts.min() > 0, "a part is never practised"
    assert all(start.stage == HERE for start in starts if start.state is not None), "4-1 has no demonstration"
    chances = [start.sticky_actions for start in starts]
    assert 0.0 <= min(chances) < 0.02  # type: ignore[type-var, operator]
    assert 0.23 < max(chances) < 0.25  # type: ignore[type-var, operator]
    assert {start.idle_frames for start in starts if start.state is None} == set(range(6))


def test_a_curriculum_goes_on_from_its_state() -> None:
    source, other = curriculum(), curriculum()
    report(source, Start(HERE), cleared=True, times=30)
    report(source, Start(HERE, id=2), cleared=False, times=30)
    other.load_state_dict(source.state_dict())
    ours, theirs = np.random.default_rng(3), np.random.default_rng(3)
    assert [source.next(ours, 0) for _ in range(100)] == [other.next(theirs, 0) for _ in range(100)]
    with pytest.raises(ValueError, match="other stages"):
        CurriculumStarts([HERE], OPTIONS, {}, True, None).load_state_dict(source.state_dict())


def retry_env(share: float) -> tuple[RetryStarts, object]:
    from a3g.game.native_vector import NativeVectorEnv

    source = RetryStarts(UniformStarts([HERE], 0, 1, (0.0, 0.0)), share, 1)
    return source, NativeVectorEnv([HERE], 1, GameOptions(noop_max=0), starts=source)


def test_after_a_death_the_next_episode_begins_shortly_before_it() -> None:
    _, env = retry_env(1.0)
    _, infos = env.reset(seed=0)  # type: ignore[attr-defined]
    begun, reached = [], []
    x = int(infos["x_pos"][0])
    for _ in range(120):
        _, _, terminated, _, infos = env.step([RUN])  # type: ignore[attr-defined]
        if terminated[0]:
            reached.append(x)
            begun.append(int(infos["x_pos"][0]))
        x = int(infos["x_pos"][0])
    assert len(begun) > 3
    assert 40 < begun[0] < reached[0] - 10, "the second episode began elsewhere"


def test_no_retries_without_a_share_and_none_after_a_clear_or_a_timeout() -> None:
    source = RetryStarts(UniformStarts([HERE], 0), 1.0, 1)
    rng = np.random.default_rng(0)
    start = source.next(rng, 0)
    for outcome in (Outcome.CLEARED, Outcome.TIMEOUT, Outcome.WARPED, None):
        source.trail_ended(0, start, outcome, [b"a", b"b", b"c"])
        assert source.next(rng, 0).state is None, outcome
    source.trail_ended(0, Start(HERE, sticky_actions=0.2), Outcome.DIED, [b"a", b"b", b"c"])
    retried = source.next(rng, 0)
    assert retried.state in (b"a", b"b"), "death may be sealed in the newest state"
    assert retried.sticky_actions == 0.2
    assert source.next(rng, 0).state is None, "one death, one retry"
    source, env = retry_env(0.0)
    env.reset(seed=0)  # type: ignore[attr-defined]
    starts = [int(env.step([RUN])[4]["x_pos"][0]) for _ in range(100)]  # type: ignore[attr-defined]
    assert min(starts) == 40


def test_retries_go_on_from_a_checkpoint() -> None:
    def play(env: object, steps: int) -> list[NDArray[np.uint8]]:
        return [env.step([RUN])[0].copy() for _ in range(steps)]  # type: ignore[attr-defined]

    _, env = retry_env(0.8)
    env.reset(seed=4)  # type: ignore[attr-defined]
    play(env, 61)
    state = env.state_dict()  # type: ignore[attr-defined]
    expected = play(env, 100)
    _, other = retry_env(0.8)
    other.reset(seed=5)  # type: ignore[attr-defined]
    play(other, 10)
    other.load_state_dict(state)  # type: ignore[attr-defined]
    for ours, theirs in zip(expected, play(other, 100), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_stickiness_of_an_episode_is_kept_in_checkpoints_and_absent_in_old_ones() -> None:
    starts = [Start(HERE, 3, b"state", "id", 0.2), None, Start(None)]
    packed = pack_starts("s", starts)
    assert unpack_starts("s", packed) == starts


def settings(folder: Path, **options: object) -> TrainConfig:
    return TrainConfig().with_values({"env": "SuperMarioBros-v0", "demos_dir": folder, "lanes": 4, **options})


def test_starts_follow_the_options(tmp_path: Path) -> None:
    assert isinstance(make_starts(settings(tmp_path), 0), UniformStarts)
    assert isinstance(make_starts(settings(tmp_path, retry_share=0.5), 0), RetryStarts)
    source = make_starts(settings(tmp_path, stage_sampling="adaptive"), 0)
    assert isinstance(source, CurriculumStarts)
    rng = np.random.default_rng(0)
    assert {source.next(rng, 0).stage for _ in range(1000)} == set(STAGES)


@pytest.mark.parametrize("options", [{"starts": "demonstrations"}, {"algorithm": "imitation"}], ids=["starts", "imitation"])
def test_a_file_whose_first_demonstration_does_not_clear_is_refused_before_training(
    tmp_path: Path, options: dict[str, str]
) -> None:
    good = load_demonstrations(ROOT / "trained_models" / "demos", [HERE])[HERE][0]
    cut = Demonstration(HERE, good.idle_frames, good.actions[:-30])
    settings_here = settings(tmp_path, **options)
    imitates = settings_here.algorithm == "imitation"
    save_demonstrations(tmp_path, HERE, [good, cut])
    check_experience(settings_here, imitates)
    save_demonstrations(tmp_path, HERE, [cut, good])
    with pytest.raises(UserError, match=r"first demonstration in .*1-1.safetensors does not clear 1-1: remove"):
        check_experience(settings_here, imitates)


def test_missing_and_damaged_demonstrations_and_other_engines_are_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no demonstration in .*explore"):
        make_starts(settings(tmp_path, starts="demonstrations"), 0)
    save_demonstrations(tmp_path, HERE, [demonstration(HERE, 30)])
    assert isinstance(make_starts(settings(tmp_path, starts="demonstrations"), 0), CurriculumStarts)
    path = tmp_path / "1-1.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"1-1\.safetensors"):
        make_starts(settings(tmp_path, starts="demonstrations"), 0)
    for options in ({"starts": "demonstrations"}, {"retry_share": 0.5}):
        with pytest.raises(UserError, match="native engine"):
            make_starts(settings(tmp_path, emulator="nes-py", **options), 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--starts", "demonstrations"], "no demonstration in"),
        (["--algorithm", "imitation"], "no demonstration in"),
        (["--starts", "demonstrations", "--skip-rate", "2"], "--skip-rate 4, not"),
        (["--algorithm", "imitation", "--actions", "simple"], "--actions a3g"),
        (["--retry-share", "0.5", "--emulator", "nes-py"], "native engine"),
        (["--sticky-actions", "0.2", "--sticky-actions-max", "0.1"], "--sticky-actions-max must be 0 or at least"),
    ],
)
def test_mistakes_are_one_sentence_before_anything_starts(arguments: list[str], said: str, tmp_path: Path) -> None:
    folders = ["--log-dir", str(tmp_path / "logs"), "--demos-dir", str(tmp_path / "none"), "--save-model-dir", str(tmp_path)]
    command = [sys.executable, str(ROOT / "main.py"), "--env", "SuperMarioBros-1-1-v0", *folders, *arguments]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2, ended.stderr
    assert said in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr
    assert not (tmp_path / "logs").exists()
