"""Many games of one stage in the native core, played without pictures; what exploration and shortening stand on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from a3g.errors import UserError
from a3g.exploration.demonstrations import ACTION_SET, FRAME_SKIP, TIME_PER_STAGE
from a3g.game import memory
from a3g.game.emulators import make_emulator
from a3g.game.emulators.rom import find_rom
from a3g.game.options import ACTION_SETS, ENGINES
from a3g.game.stage_starts import go_to_start
from a3g.game.stages import Stage

LANES = 16
"""Games side by side: enough to hide what a step costs in Python."""
NO_OUTCOME, CLEARED = 0, 1

# The core has to be given a size of pictures, though none is drawn.
_PICTURE_PIXELS = 8


class Games:
    """Lanes that play one stage. A lane that `step` leaves out stays as it is."""

    def __init__(self, stage: Stage, idle_frames: int = 0, lanes: int = LANES) -> None:
        """
        Args:
            stage: what is played.
            idle_frames: frames without buttons before the first agent step, see `Start.idle_frames`.
            lanes: number of games.

        Raises:
            UserError: if the native core is not installed.
        """
        try:
            import a3g_native
        except ImportError as error:
            raise UserError(f"Exploration needs the native core: {ENGINES['native'].how_to_get}.") from error
        self.stage = stage
        self.idle_frames = idle_frames
        self.lanes = lanes
        self._batch: Any = a3g_native.Batch(
            find_rom().read_bytes(),
            lanes,
            frame_skip=FRAME_SKIP,
            stack=1,
            height=_PICTURE_PIXELS,
            width=_PICTURE_PIXELS,
            time_per_stage=TIME_PER_STAGE,
        )
        self._buttons = np.array(ACTION_SETS[ACTION_SET], np.uint8)
        self.variables: NDArray[np.int32] = np.zeros((lanes, len(a3g_native.VARIABLES)), np.int32)
        """As the core gives them: (lanes, variables)."""
        self.ram: NDArray[np.uint8] = np.zeros((lanes, memory.RAM_SIZE), np.uint8)
        """Work RAM, (lanes, 2048)."""
        columns = {name: i for i, name in enumerate(a3g_native.VARIABLES)}
        self.outcomes, self.progress = self.variables[:, columns["outcome"]], self.variables[:, columns["progress"]]
        self.x_positions, self.y_positions = self.variables[:, columns["x_pos"]], self.variables[:, columns["y_pos"]]
        state = go_to_start(make_emulator("native"), stage)
        for lane in range(lanes):
            # One frame more, as in `NativeVectorEnv`.
            self._batch.start(lane, state, list(stage), 1 + idle_frames, variables=self.variables, ram=self.ram)
        self.start: bytes = self.save(0)
        """The game before the first agent step."""

    def step(self, actions: NDArray[np.integer[Any]], active: NDArray[np.bool_] | None = None) -> None:
        """One agent step: indices into `ACTION_SET`, (lanes,), in all lanes or those that are `active`."""
        self._batch.step(self._buttons[actions], variables=self.variables, ram=self.ram, active=active)

    def save(self, lane: int) -> bytes:
        """A lane's game with its episode."""
        game: bytes = self._batch.save_game(lane)
        return game

    def load(self, lane: int, game: bytes) -> None:
        """Continue a game in a lane; `variables` and `ram` show it after the next step."""
        self._batch.load_game(lane, game)

    def areas(self) -> NDArray[np.int64]:
        """The area loaded in each lane, (lanes,): type and offset as one number below 4096."""
        kinds, offsets = self.ram[:, memory.AREA_TYPE], self.ram[:, memory.AREA_OFFSET]
        return (kinds.astype(np.int64) & 0xF) << 8 | offsets

    def places(self) -> NDArray[np.int64]:
        """Where Mario is, (lanes,): the area, and x in units of 16 pixels."""
        return self.areas() << 12 | (self.x_positions >> 4) & 0xFFF


def replay(games: Games, actions: NDArray[np.uint8]) -> int:
    """Play actions from the start in lane 0; returns the outcome with which they end the episode, `NO_OUTCOME` if not."""
    games.load(0, games.start)
    active = np.zeros(games.lanes, np.bool_)
    active[0] = True
    chosen = np.zeros(games.lanes, np.int64)
    for action in actions.tolist():
        chosen[0] = action
        games.step(chosen, active)
        if games.outcomes[0] != NO_OUTCOME:
            break
    return int(games.outcomes[0])
