"""The rewards by name: gym-super-mario-bros' and what others made of it by their own formulas on real play; other names."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from a3g.command_line import parse_train
from a3g.config import TrainConfig
from a3g.errors import UserError
from a3g.game import memory
from a3g.game.buttons import BUTTON_A, BUTTON_RIGHT
from a3g.game.emulators import Emulator, available_emulators, make_emulator
from a3g.game.lane import ACTION_SETS, GameOptions
from a3g.game.options import REWARD_ALIASES
from a3g.game.rewards import REWARDS
from a3g.game.rules import Episode
from a3g.game.stage_starts import go_to_start
from a3g.game.stages import Stage
from a3g.processes.prepare import prepare_run
from environment import make_env, make_vector_env
from tests.recordings import FLAGPOLE_1_1, PIPE_1_1, PIT_1_1, REPLAY, WARP_1_2, actions

BUTTONS = ACTION_SETS["a3g"]
SKIP = 4
STAND = [0] * 40
WARP = actions(WARP_1_2)
RANDOM = np.random.default_rng(5).choice(10, 1_500, p=[0.02, 0.1, 0.15, 0.15, 0.45, 0.02, 0.02, 0.02, 0.02, 0.05]).tolist()


def gym_rewards(frames: list[bytes], lost: bool) -> list[float]:
    """gym-super-mario-bros' reward of each frame after the first one of `frames`, as its smb_env.py computes it."""
    rewards = []
    for number, (before, now) in enumerate(itertools.pairwise(frames), 2):
        x = [ram[0x6D] * 0x100 + ram[0x86] for ram in (before, now)]
        time = [int("".join(str(digit) for digit in ram[0x07F8:0x07FB])) for ram in (before, now)]
        x_reward = x[1] - x[0] if -5 <= x[1] - x[0] <= 5 else 0
        time_penalty = time[1] - time[0] if time[1] <= time[0] else 0
        died = now[0x0E] in (0x0B, 0x06) or now[0xB5] > 1
        # Its episodes know neither our limit of time nor a stage that a warp leaves: both count as a death.
        death_penalty = -25 if died or (lost and number == len(frames)) else 0
        rewards.append(float(np.clip(x_reward + time_penalty + death_penalty, -15, 15)))
    return rewards


def x_of(ram: bytes) -> int:
    return ram[0x6D] * 0x100 + ram[0x86]


def bonus_reward(frames: list[bytes], outcome: str | None) -> float:
    """That of https://github.com/CVHvn/Mario_A2C_A3C times 10, with the penalty for running out of time, too."""
    reward = sum(gym_rewards(frames, outcome not in (None, "cleared")))
    if outcome == "cleared":
        reward += 50
    elif outcome is not None:
        reward -= 50
    return reward


def forward_reward(frames: list[bytes], outcome: str | None) -> float:
    """That of https://github.com/willierhart/super-mario-dqn times 10, where only what is no end is clipped."""
    reward = sum(gym_rewards(frames, outcome not in (None, "cleared")))
    if x_of(frames[-1]) > x_of(frames[0]):
        reward += 1
    elif x_of(frames[-1]) < x_of(frames[0]):
        reward -= 1
    if outcome is None:
        return float(np.clip(reward / 10, -1, 1)) * 10
    return reward + (1000 if outcome == "cleared" else -50)


FORMULAS: dict[str, Callable[[list[bytes], str | None], float]] = {
    "gym": lambda frames, outcome: sum(gym_rewards(frames, outcome not in (None, "cleared"))),
    "gym-bonus": bonus_reward,
    "gym-forward": forward_reward,
}


@pytest.mark.parametrize("reward", FORMULAS)
@pytest.mark.parametrize("engine", [engine for engine in available_emulators() if engine != "nes-py"])
@pytest.mark.parametrize(
    ("stage", "steps", "time", "expected"),
    [
        pytest.param(Stage(1, 1), actions(FLAGPOLE_1_1), 400, ["cleared"], id="flagpole"),
        pytest.param(Stage(1, 1), actions(PIPE_1_1), 400, [], id="pipe"),
        pytest.param(Stage(1, 1), actions(PIT_1_1), 400, ["died"], id="pit"),
        pytest.param(Stage(1, 2), WARP, 400, ["warped"], id="warp"),
        pytest.param(Stage(1, 1), STAND, 3, ["timeout"], id="time limit"),
        pytest.param(None, [*WARP, *STAND], 400, [], id="warp in the whole game"),
        pytest.param(None, [*actions(FLAGPOLE_1_1), *RANDOM], 400, ["cleared", "died"], id="whole game"),
    ],
)
def test_the_rewards_after_gyms_are_those_of_their_formulas(
    reward: str, engine: str, stage: Stage | None, steps: list[int], time: int, expected: list[str]
) -> None:
    emulator = make_emulator(engine)
    go_to_start(emulator, Stage(1, 2) if steps[: len(WARP)] == WARP else Stage(1, 1))
    emulator.frame(0)
    frames: list[bytes] = []

    def look(_: Emulator) -> None:
        frames.append(bytes(emulator.ram()))

    episode = Episode(emulator.ram(), stage, time, look, reward)
    last, outcomes = bytes(emulator.ram()), list[str]()
    for action in steps:
        frames.clear()
        attempted = episode.attempted_stage
        result = episode.step(emulator, BUTTONS[action], SKIP)
        # The frames with the agent's buttons; what is run out after them is no part of the reward.
        ends = [i for i, ram in enumerate(frames) if memory.is_dead(ram) or memory.is_stage_end(ram)]
        held = frames[: min([SKIP, *(end + 1 for end in ends)])]
        outcome = None if result.outcome is None else str(result.outcome)
        assert result.reward == pytest.approx(FORMULAS[reward]([last, *held], outcome))
        # A new attempt counts from where it begins.
        goes_on = result.outcome is None and episode.attempted_stage == attempted
        last = held[-1] if goes_on else bytes(emulator.ram())
        if result.outcome is not None:
            outcomes.append(str(result.outcome))
        if result.game_over:
            break
    assert set(outcomes) >= set(expected)
    assert expected or not outcomes
    emulator.close()


def test_progress_and_outcome_do_not_depend_on_the_reward() -> None:
    played = []
    for reward in REWARDS:
        env = make_env("SuperMarioBros-1-1-v0", reward=reward, **REPLAY)
        env.reset()
        steps = [env.step(action) for action in actions(FLAGPOLE_1_1)]
        env.close()
        played.append(([step[4] for step in steps], [step[1] for step in steps]))
    assert all(infos == played[0][0] for infos, _ in played)
    assert played[0][0][-1]["outcome"] == "cleared"
    assert played[0][1] != played[1][1]
    assert sum(played[1][1]) > 2_000, "the gym reward is not scaled: 1-1 is 3,000 pixels long"
    assert sum(played[2][1]) == pytest.approx((sum(played[1][1]) + 50) / 10)
    assert max(played[3][1][:-1]) <= 1.0
    assert played[3][1][-1] > 100.0, "regression: the source clips the flag's 1,000 to no more than a step to the right"


@pytest.mark.parametrize(("other", "name"), REWARD_ALIASES.items())
def test_rewards_have_other_names(other: str, name: str) -> None:
    assert GameOptions(reward=other) == GameOptions(reward=name)
    config = parse_train(["--reward", other])
    assert config.reward == config.game_options().reward == name


def test_a_reward_that_there_is_not_is_a_sentence() -> None:
    with pytest.raises(UserError, match=r"^Unknown reward 'score': choose one of a3g, gym, gym-bonus, gym-forward\.$"):
        GameOptions(reward="score")
    with pytest.raises(UserError, match=r"^--reward must be one of a3g, gym, gym-bonus, gym-forward, not score\.$"):
        TrainConfig(reward="score")


@pytest.mark.skipif("native" not in available_emulators(), reason="the native core is not built here")
def test_a_core_from_before_a_reward_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import a3g_native

    monkeypatch.setattr(a3g_native, "REWARDS", ("a3g", "gym"))
    for use in (
        lambda: make_vector_env(["1-1"], 1, reward="gym-bonus"),
        lambda: prepare_run(TrainConfig(reward="gym-bonus", workers=1, log_dir=tmp_path / "logs")),
    ):
        with pytest.raises(UserError, match=r"too old for the reward gym-bonus: build it anew by `pip install ./native`"):
            use()
    assert not (tmp_path / "logs").exists()


def test_the_two_actions_of_walk_jump() -> None:
    assert [make_env("SuperMarioBros-1-1-v0", actions="walk-jump").action_space.n] == [2]  # type: ignore[attr-defined]
    assert ACTION_SETS["walk-jump"] == (BUTTON_RIGHT, BUTTON_RIGHT | BUTTON_A)
    assert parse_train(["--actions", "walk-jump"]).network_spec().num_actions == 2
