"""The reward of the original A3G, with mazes rewarded by the ROM's own counters and no ground paid twice."""

from __future__ import annotations

from typing import Any

from a3g.game import memory
from a3g.game.memory import Ram
from a3g.game.stages import Stage

# All amounts are in pixels of new ground; what the agent sees is divided by REWARD_SCALE.
REWARD_SCALE = 30.0
MAX_STEP = 30  # a step pays at most this many pixels, so that a pipe or a maze does not pay a fortune
FINISH_REWARD = 30.0
FAILURE_PENALTY = -30.0
RIGHT_TURN_REWARD = 30.0
FALLING_PENALTY = -1.0
FALLING_HEIGHT = 70  # below this y_pos Mario is under the ground's surface: in a pit, if he falls
CEILING_PENALTY = -1.0
CEILING_HEIGHT = 254  # above this y_pos Mario walks over the ceiling, the way to the warp zones
STAGES_WITH_WARP_ZONE = frozenset({Stage(1, 2), Stage(4, 2)})

_AreaKey = tuple[int, int, int, int]


class ForwardReward:
    """Pays for ground never covered before, finishing and right turns in mazes; fines falling, dying and warping.

    The furthest x is kept for each area by itself, so a pipe into a new area starts a new count, and coming back
    or being thrown back by a maze earns nothing until Mario stands further right than ever.
    """

    def __init__(self, ram: Ram) -> None:
        self.progress = 0
        """Pixels of new ground covered since the start, over all areas."""
        self._furthest: dict[_AreaKey, int] = {_area(ram): memory.x_position(ram)}
        self._turns_paid: set[tuple[_AreaKey, int]] = set()
        self._maze = _MazeReading(ram)

    def step(self, ram: Ram) -> float:
        """Reward of one agent step that ended in `ram`, in pixels."""
        area, x, y = _area(ram), memory.x_position(ram), memory.y_position(ram)
        furthest = self._furthest.setdefault(area, x)
        gain = max(x - furthest, 0)
        self._furthest[area] = furthest + gain
        # A jump of x is a pipe inside the area, not ground covered.
        self.progress += min(gain, MAX_STEP)
        reward = float(min(gain, MAX_STEP))
        reward += self._right_turn(ram, area, x)
        if y > CEILING_HEIGHT and memory.stage_now(ram) in STAGES_WITH_WARP_ZONE:
            reward = CEILING_PENALTY
        if y < FALLING_HEIGHT and memory.is_falling(ram):
            reward = FALLING_PENALTY
        return reward

    def state_dict(self) -> dict[str, Any]:
        """What the next rewards depend on, as plain values."""
        return {
            "progress": self.progress,
            "furthest": [[*area, x] for area, x in self._furthest.items()],
            "turns_paid": sorted([*area, page] for area, page in self._turns_paid),
            "maze": [getattr(self._maze, name) for name in _MazeReading.__slots__],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` gave."""
        self.progress = state["progress"]
        self._furthest = {(world, stage, kind, offset): x for world, stage, kind, offset, x in state["furthest"]}
        self._turns_paid = {((world, stage, kind, offset), page) for world, stage, kind, offset, page in state["turns_paid"]}
        for name, value in zip(_MazeReading.__slots__, state["maze"], strict=True):
            setattr(self._maze, name, value)

    def _right_turn(self, ram: Ram, area: _AreaKey, x: int) -> float:
        """Pays each checkpoint of a maze once, when the ROM has found Mario on the right way there.

        The ROM clears its check flag at a checkpoint, and also whenever it loads an area, which pays nothing. A wrong
        way throws Mario back four pages, in 7-4 only after three checkpoints, of which it counts those passed rightly.
        """
        before, now = self._maze, _MazeReading(ram)
        self._maze = now
        if not before.ahead or now.ahead or (ram[memory.WORLD], ram[memory.LOADED_PAGE]) not in memory.MAZE_CHECKPOINTS:
            return 0.0
        thrown_back = x < before.x - memory.MAZE_SETBACK // 2
        three_turns = before.turns or now.turns  # 7-4: counted one by one
        if thrown_back or (three_turns and now.right_turns <= before.right_turns and now.turns > before.turns):
            return 0.0
        checkpoint = (area, ram[memory.LOADED_PAGE])
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


def _area(ram: Ram) -> _AreaKey:
    return ram[memory.WORLD], ram[memory.STAGE], ram[memory.AREA_TYPE], ram[memory.AREA_OFFSET]
