"""The rewards by name: gym-super-mario-bros' by its own formula on real play, and names that there are not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from a3g.config import TrainConfig
from a3g.errors import UserError
from a3g.game import memory
from a3g.game.emulators import Emulator, available_emulators, make_emulator
from a3g.game.lane import ACTION_SETS, GameOptions
from a3g.game.rules import Episode, Outcome
from a3g.game.stage_starts import go_to_start
from a3g.game.stages import Stage
from environment import make_env
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
def test_the_gym_reward_is_the_sum_of_its_frames(
    engine: str, stage: Stage | None, steps: list[int], time: int, expected: list[str]
) -> None:
    emulator = make_emulator(engine)
    go_to_start(emulator, Stage(1, 2) if steps[: len(WARP)] == WARP else Stage(1, 1))
    emulator.frame(0)
    frames: list[bytes] = []

    def look(_: Emulator) -> None:
        frames.append(bytes(emulator.ram()))

    episode = Episode(emulator.ram(), stage, time, look, "gym")
    last, outcomes = bytes(emulator.ram()), list[str]()
    for action in steps:
        frames.clear()
        attempted = episode.attempted_stage
        result = episode.step(emulator, BUTTONS[action], SKIP)
        # The frames with the agent's buttons; what is run out after them is no part of the reward.
        ends = [i for i, ram in enumerate(frames) if memory.is_dead(ram) or memory.is_stage_end(ram)]
        held = frames[: min([SKIP, *(end + 1 for end in ends)])]
        lost = result.outcome not in (None, Outcome.CLEARED)
        assert result.reward == sum(gym_rewards([last, *held], lost))
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
    for reward in ("a3g", "gym"):
        env = make_env("SuperMarioBros-1-1-v0", reward=reward, **REPLAY)
        env.reset()
        steps = [env.step(action) for action in actions(FLAGPOLE_1_1)]
        env.close()
        played.append(([step[4] for step in steps], [step[1] for step in steps]))
    assert played[0][0] == played[1][0]
    assert played[0][0][-1]["outcome"] == "cleared"
    assert played[0][1] != played[1][1]
    assert sum(played[1][1]) > 2_000, "the gym reward is not scaled: 1-1 is 3,000 pixels long"


def test_a_reward_that_there_is_not_is_a_sentence() -> None:
    with pytest.raises(UserError, match=r"^Unknown reward 'score': choose one of a3g, gym\.$"):
        GameOptions(reward="score")
    with pytest.raises(UserError, match=r"^--reward must be one of a3g, gym, not score\.$"):
        TrainConfig(reward="score")
