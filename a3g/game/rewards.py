"""The rewards that an agent can learn from, by name. The core has the same ones in native/src/rewards.cpp."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from a3g.game import memory
from a3g.game.memory import Area, Ram
from a3g.game.stages import Stage


class Reward(Protocol):
    """The reward of one attempt at a stage.

    A new reward is a class here, an entry in `REWARDS`, and a class of that name in native/src/rewards.hpp.
    """

    scale: ClassVar[float]
    """What the agent sees is the reward divided by this."""

    def start(self, ram: Ram) -> None:
        """An attempt at a stage begins in `ram`: an episode's first one, the next life or stage, or one after a warp.

        The agent step that a warp ends belongs to the new attempt; `step` is called after this.
        """

    def frame(self, ram: Ram) -> None:
        """A frame with the agent's buttons ended in `ram`; not called for frames that are skipped (pipes, cutscenes)."""

    def step(self, ram: Ram, new_ground: int) -> float:
        """The reward of an agent step that ended in `ram`, after which the attempt goes on.

        Args:
            new_ground: pixels of new ground covered in it, see `a3g.game.progress`.
        """

    def finish(self) -> float:
        """The reward of the agent step that cleared the stage."""

    def failure(self) -> float:
        """The reward of the agent step in which the attempt was lost: by death, by a warp or by the end of its time."""

    def state_dict(self) -> dict[str, Any]:
        """What the next rewards depend on between two agent steps, as plain values."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` gave."""


# The amounts of A3GReward, in pixels of new ground.
FINISH_REWARD = 30.0
FAILURE_PENALTY = -30.0
RIGHT_TURN_REWARD = 30.0
FALLING_PENALTY = -1.0
FALLING_HEIGHT = 70  # below this y_pos Mario is under the ground's surface: in a pit, if he falls
CEILING_PENALTY = -1.0
CEILING_HEIGHT = 254  # above this y_pos Mario walks over the ceiling, the way to the warp zones
STAGES_WITH_WARP_ZONE = frozenset({Stage(1, 2), Stage(4, 2)})


class A3GReward(Reward):
    """The reward of the original A3G (https://github.com/dgriff777/SuperMarioRL), in pixels of new ground.

    Pays for new ground, finishing and right turns in mazes; fines falling, dying and warping. Other than in the original
    A3G, no ground is paid twice, and right turns are recognised by the ROM's own counters.
    """

    scale = 30.0

    def start(self, ram: Ram) -> None:
        self._turns_paid: set[tuple[Area, int]] = set()
        self._maze = _MazeReading(ram)

    def frame(self, ram: Ram) -> None:
        pass

    def step(self, ram: Ram, new_ground: int) -> float:
        y = memory.y_position(ram)
        reward = new_ground + self._right_turn(ram)
        if y > CEILING_HEIGHT and memory.stage_now(ram) in STAGES_WITH_WARP_ZONE:
            reward = CEILING_PENALTY
        if y < FALLING_HEIGHT and memory.is_falling(ram):
            reward = FALLING_PENALTY
        return reward

    def finish(self) -> float:
        return FINISH_REWARD

    def failure(self) -> float:
        return FAILURE_PENALTY

    def state_dict(self) -> dict[str, Any]:
        return {
            "turns_paid": sorted([*area, page] for area, page in self._turns_paid),
            "maze": [getattr(self._maze, name) for name in _MazeReading.__slots__],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._turns_paid = {((world, stage, kind, offset), page) for world, stage, kind, offset, page in state["turns_paid"]}
        for name, value in zip(_MazeReading.__slots__, state["maze"], strict=True):
            setattr(self._maze, name, value)

    def _right_turn(self, ram: Ram) -> float:
        """Pays each checkpoint of a maze once, when the ROM has found Mario on the right way there.

        The ROM clears its check flag at a checkpoint, and also whenever it loads an area, which pays nothing. A wrong
        way throws Mario back four pages, in 7-4 only after three checkpoints, of which it counts those passed rightly.
        """
        before, now = self._maze, _MazeReading(ram)
        self._maze = now
        if not before.ahead or now.ahead or (ram[memory.WORLD], ram[memory.LOADED_PAGE]) not in memory.MAZE_CHECKPOINTS:
            return 0.0
        thrown_back = now.x < before.x - memory.MAZE_SETBACK // 2
        three_turns = before.turns or now.turns  # 7-4: counted one by one
        if thrown_back or (three_turns and now.right_turns <= before.right_turns and now.turns > before.turns):
            return 0.0
        checkpoint = (memory.area_now(ram), ram[memory.LOADED_PAGE])
        if checkpoint in self._turns_paid:
            return 0.0
        self._turns_paid.add(checkpoint)
        return RIGHT_TURN_REWARD


class _MazeReading:
    """What the ROM knows of a maze in one frame."""

    __slots__ = ("ahead", "right_turns", "turns", "x")

    def __init__(self, ram: Ram) -> None:
        self.ahead = bool(ram[memory.MAZE_CHECK])
        self.right_turns = int(ram[memory.MAZE_RIGHT_TURNS])
        self.turns = int(ram[memory.MAZE_TURNS])
        self.x = memory.x_position(ram)


# The amounts of GymReward.
LARGEST_STRIDE = 5  # pixels a frame: a larger change of x is a pipe or a new start
DEATH_PENALTY = -25.0
LARGEST_FRAME_REWARD = 15.0


class GymReward(Reward):
    """gym-super-mario-bros' default reward, summed over the frames of an agent step.

    A frame pays the change of x (if it is at most `LARGEST_STRIDE`) and of the clock (if it has not been set up again);
    the frame in which the attempt is lost pays `DEATH_PENALTY` on top. Each frame's sum is clipped to
    +-`LARGEST_FRAME_REWARD`. There is nothing extra for finishing.
    Source: https://github.com/Kautenja/gym-super-mario-bros#reward-function and ``_get_reward`` in its smb_env.py.
    """

    scale = 1.0

    def __init__(self) -> None:
        self._frames: list[float] = []
        """Of the agent step under way, not clipped yet."""

    def start(self, ram: Ram) -> None:
        self._look(ram)

    def frame(self, ram: Ram) -> None:
        x, clock = self._x, self._clock
        self._look(ram)
        stride = self._x - x
        self._frames.append((stride if abs(stride) <= LARGEST_STRIDE else 0) + min(self._clock - clock, 0.0))

    def step(self, ram: Ram, new_ground: int) -> float:
        return self._sum()

    def finish(self) -> float:
        return self._sum()

    def failure(self) -> float:
        self._frames[-1] += DEATH_PENALTY
        return self._sum()

    def state_dict(self) -> dict[str, Any]:
        return {"x": self._x, "clock": self._clock}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._x, self._clock = state["x"], state["clock"]

    def _look(self, ram: Ram) -> None:
        self._x, self._clock = memory.x_position(ram), memory.number(ram, memory.CLOCK_DIGITS)

    def _sum(self) -> float:
        """Of the agent step under way, which ends with this."""
        frames, self._frames = self._frames, []
        return sum(max(-LARGEST_FRAME_REWARD, min(reward, LARGEST_FRAME_REWARD)) for reward in frames)


# The amounts of GymBonusReward.
FINISH_BONUS = 50.0
LOSS_PENALTY = -50.0


class GymBonusReward(GymReward):
    """gym-super-mario-bros' default reward, and `FINISH_BONUS` for clearing the stage, `LOSS_PENALTY` for losing the attempt.

    Other than in the source, running out of time is a loss as well: there it cost nothing to stand still until then.
    Source: https://github.com/CVHvn/Mario_A2C_A3C.
    """

    scale = 10.0

    def finish(self) -> float:
        return self._sum() + FINISH_BONUS

    def failure(self) -> float:
        return super().failure() + LOSS_PENALTY


# The amounts of GymForwardReward.
DIRECTION_REWARD = 1.0
LARGEST_STEP_REWARD = 10.0
GOAL_BONUS = 1000.0


class GymForwardReward(GymReward):
    """gym-super-mario-bros' default reward, and a little for the direction, much for clearing the stage.

    An agent step pays `DIRECTION_REWARD` on top if it ended further right than it began, costs as much if further left,
    and its sum is clipped to +-`LARGEST_STEP_REWARD`. Clearing the stage pays `GOAL_BONUS`, losing the attempt
    `LOSS_PENALTY`. Other than in the source, these two are not clipped: there the flag paid no more than a step to the right.
    Source: https://github.com/willierhart/super-mario-dqn.
    """

    scale = 10.0

    def start(self, ram: Ram) -> None:
        super().start(ram)
        self._x_before = self._x

    def step(self, ram: Ram, new_ground: int) -> float:
        return max(-LARGEST_STEP_REWARD, min(self._sum() + self._direction(), LARGEST_STEP_REWARD))

    def finish(self) -> float:
        return self._sum() + self._direction() + GOAL_BONUS

    def failure(self) -> float:
        return super().failure() + self._direction() + LOSS_PENALTY

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "x_before": self._x_before}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._x_before = state["x_before"]

    def _direction(self) -> float:
        """Of the agent step under way, which ends with this."""
        before, self._x_before = self._x_before, self._x
        return DIRECTION_REWARD * float((self._x > before) - (self._x < before))


REWARDS: dict[str, type[Reward]] = {
    "a3g": A3GReward,
    "gym": GymReward,
    "gym-bonus": GymBonusReward,
    "gym-forward": GymForwardReward,
}
"""What `GameOptions.reward` can name."""
