"""The vector environment of the native core: all lanes, rules and rewards included, in one call without Python.

The rules in the core are those of `a3g.game.rules` and `a3g.game.rewards`; tests/test_native_vector.py compares this
environment with `LaneVectorEnv` step by step.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from a3g.game.button_display import draw_buttons
from a3g.game.emulators import Image, make_emulator
from a3g.game.emulators.rom import find_rom
from a3g.game.lane import PICTURE_CROP
from a3g.game.map_observation import write_maps
from a3g.game.memory import RAM_SIZE, STATUS_NAMES
from a3g.game.options import ACTION_SETS, GameOptions
from a3g.game.packing import State, pack_bytes, pack_values, unpack_bytes, unpack_values
from a3g.game.rewards import REWARDS
from a3g.game.rules import Outcome
from a3g.game.stage_starts import StartStates
from a3g.game.stages import STAGES, Stage
from a3g.game.starts import Start, TrailFollower
from a3g.game.vector import MarioVectorEnv, Seed, VectorEnvArguments

_OUTCOMES = np.array([None, *(str(outcome) for outcome in Outcome)], object)
_STATUSES = np.array(STATUS_NAMES, object)
# What the lanes' next steps depend on beside the games and the randomness.
_ARRAYS = ("continues_game", "last_actions", "variables", "episode_steps", "attempt_steps", "attempt_over")
_PLAIN_VARIABLES = ("coins", "life", "score", "stage", "time", "world", "x_pos", "y_pos", "progress")


class NativeVectorEnv(MarioVectorEnv):
    """Games in the native core."""

    def __init__(
        self,
        stages: Sequence[Stage | None],
        num_lanes: int,
        options: GameOptions,
        seed: int | None = 0,
        copy: bool = True,
        threads: int = 1,
        **arguments: Unpack[VectorEnvArguments],
    ) -> None:
        """
        Args:
            threads: threads that step the lanes.
            stages, num_lanes, options, seed, copy, arguments: see `MarioVectorEnv`.
        """
        import a3g_native

        super().__init__(stages, num_lanes, options, seed, copy, **arguments)
        self._random = [np.random.default_rng() for _ in range(num_lanes)]
        self._current_starts: list[Start | None] = [None] * num_lanes
        self._continues_game = np.zeros(num_lanes, np.bool_)
        self._seed_lanes(seed)
        # For maps no picture is drawn, but the core has to be given a size.
        shown = options.observation == "pictures"
        stack, height, width = options.observation_shape if shown else (1, 8, 8)
        self._batch = a3g_native.Batch(
            find_rom().read_bytes(),
            num_lanes,
            frame_skip=options.skip_rate,
            stack=stack,
            height=height,
            width=width,
            two_frame_max=options.two_frame_max,
            time_per_stage=options.time_per_stage,
            reward=options.reward,
            crop=list(PICTURE_CROP),
            threads=threads,
        )
        self._console = make_emulator("native")
        self._stage_starts = StartStates(self._console)
        self._buttons = np.array(ACTION_SETS[options.actions], np.uint8)
        self._last_actions = np.zeros(num_lanes, np.int64)
        self._sticky_actions = np.zeros(num_lanes)
        """Each lane's chance, that of its episode."""
        self._rewards = np.zeros(num_lanes, np.float32)
        self._shows_pictures = shown
        self.ram: NDArray[np.uint8] = np.zeros((num_lanes, RAM_SIZE), np.uint8)
        """Work RAM of each lane, (lanes, 2048), as it is now."""
        self._variables = np.zeros((num_lanes, len(a3g_native.VARIABLES)), np.int32)
        self._column = {name: i for i, name in enumerate(a3g_native.VARIABLES)}
        self._episode_steps = np.zeros(num_lanes, np.int64)
        self._attempt_steps = np.zeros(num_lanes, np.int64)
        self._attempt_over = np.zeros(num_lanes, np.bool_)
        self._everyone = np.ones(num_lanes, np.bool_)
        self._follower = self.starts if isinstance(self.starts, TrailFollower) else None
        length = 0 if self._follower is None else self._follower.trail_length
        self._trails: list[deque[bytes]] = [deque(maxlen=length) for _ in range(num_lanes)]

    def _step_lanes(
        self, actions: NDArray[np.int64], beginning: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
        options = self.options
        for lane in np.flatnonzero(beginning).tolist():
            self._begin_episode(lane)
        active = ~(beginning | self._idle)
        for lane in np.flatnonzero(active & (self._sticky_actions > 0)).tolist():
            if self._random[lane].random() < self._sticky_actions[lane]:
                actions[lane] = self._last_actions[lane]
        np.copyto(self._last_actions, actions, where=active)
        self._attempt_steps[self._attempt_over] = 0
        self._episode_steps += active
        self._attempt_steps += active

        pictures = self._observations if self._shows_pictures else None
        self._batch.step(self._buttons[actions], pictures, self._rewards, self._variables, self.ram, active)
        if not self._shows_pictures:
            write_maps(self.ram, self._observations)
        elif options.show_buttons:
            draw_buttons(self._observations[:, -1], self.ram)
        rewards = np.where(active, self._rewards / np.float32(REWARDS[options.reward].scale), np.float32(0.0))
        game_over = self._read("game_over") != 0
        self._attempt_over = self._read("outcome") != 0
        self._continues_game = self._attempt_over & ~game_over & options.episodic_life
        terminated = game_over | self._continues_game
        truncated = ~terminated & (self._episode_steps >= options.max_episode_length)
        for lane in np.flatnonzero(game_over | truncated).tolist():
            self._report_end(lane)
        if self._follower is not None:
            kept_now = active & ~game_over & (self._episode_steps % self._follower.trail_spacing == 0)
            for lane in np.flatnonzero(kept_now).tolist():
                self._trails[lane].append(self._batch.save(lane))
        return rewards, terminated, truncated

    def _begin_episode(self, lane: int) -> None:
        """Draws random numbers in the order in which `Lane` does."""
        self._last_actions[lane] = self._attempt_steps[lane] = 0
        self._attempt_over[lane] = False
        if self._continues_game[lane]:
            self._continues_game[lane] = False
            if self._shows_pictures:
                self._observations[lane] = self._observations[lane, -1]
            # The core has gone on to the next attempt and says so from its next step on.
            row = self._variables[lane]
            row[self._column["outcome"]] = row[self._column["progress"]] = row[self._column["game_over"]] = 0
            row[self._column["attempt_world"]] = row[self._column["world"]]
            row[self._column["attempt_stage"]] = row[self._column["stage"]]
            return
        start = self._current_starts[lane] = self.starts.next(self._random[lane], self.first_lane + lane)
        self._sticky_actions[lane] = self._sticky_of(start)
        state = self._stage_starts.state(start.stage or STAGES[0]) if start.state is None else start.state
        # One frame more, as in `Lane`.
        frames = 1 + start.idle_frames
        pictures = self._observations if self._shows_pictures else None
        stage = start.stage and list(start.stage)
        self._batch.start(lane, state, stage, frames, pictures, variables=self._variables, ram=self.ram)
        if not self._shows_pictures:
            write_maps(self.ram[lane : lane + 1], self._observations[lane : lane + 1])
        elif self.options.show_buttons:
            draw_buttons(self._observations[lane : lane + 1], self.ram[lane : lane + 1])
        self._episode_steps[lane] = 0
        self._trails[lane].clear()

    def _report_end(self, lane: int) -> None:
        start = self._current_starts[lane]
        if start is not None:
            outcome = _OUTCOMES[self._read("outcome")[lane]]
            self.starts.episode_ended(start, outcome and Outcome(outcome), int(self._read("progress")[lane]))
            if self._follower is not None:
                trail = tuple(self._trails[lane])
                self._follower.trail_ended(self.first_lane + lane, start, outcome and Outcome(outcome), trail)

    def _sticky_of(self, start: Start | None) -> float:
        own = None if start is None else start.sticky_actions
        return self.options.sticky_actions if own is None else own

    def _seed_lane(self, lane: int, seed: Seed) -> None:
        self._random[lane] = np.random.default_rng(seed)
        self._continues_game[lane] = False

    def console(self, lane: int) -> bytes:
        """A lane's console as it is now, which an episode can begin with, see `Start.state`."""
        state: bytes = self._batch.save(lane)
        return state

    def view(self, lane: int) -> bytes:
        return self.console(lane)

    def _pictures(self) -> tuple[Image, ...]:
        """Those of one frame later: the core keeps no colours, so a copy of each game runs a frame."""
        pictures = []
        for lane in range(self.num_envs):
            self._console.load(self._batch.save(lane))
            self._console.frame(0)
            pictures.append(self._console.rgb())
        return tuple(pictures)

    def _lane_starts(self) -> list[Start | None]:
        return list(self._current_starts)

    def _games_state_dict(self) -> State:
        return {
            **{name: getattr(self, f"_{name}").copy() for name in _ARRAYS},
            **pack_values("random", [random.bit_generator.state for random in self._random]),
            **pack_values("trail_lengths", [len(trail) for trail in self._trails]),
            **pack_bytes("trails", [state for trail in self._trails for state in trail]),
            "ram": self.ram.copy(),
            **pack_bytes("games", [self._batch.save_game(lane) for lane in range(self.num_envs)]),
        }

    def _load_games(self, state: State, starts: list[Start | None]) -> None:
        if "goes_on" in state:  # its name in the first version's checkpoints
            state = {**state, "continues_game": state["goes_on"]}
        for name in _ARRAYS:
            np.copyto(getattr(self, f"_{name}"), state[name])
        for random, value in zip(self._random, unpack_values("random", state), strict=True):
            random.bit_generator.state = value
        games = unpack_bytes("games", state)
        for lane in range(self.num_envs):
            self._batch.load_game(lane, games[lane])
        if "ram" in state:  # not in the checkpoints of earlier versions, which had no use for it
            np.copyto(self.ram, state["ram"])
        if "trail_lengths" in state:
            trails = iter(unpack_bytes("trails", state))
            for trail, length in zip(self._trails, unpack_values("trail_lengths", state), strict=True):
                trail.clear()
                trail.extend(itertools.islice(trails, length))
        self._current_starts = starts
        self._sticky_actions[:] = [self._sticky_of(start) for start in starts]

    def _read(self, variable: str) -> NDArray[np.int32]:
        return self._variables[:, self._column[variable]]

    def _lane_info(self, lane: int) -> dict[str, Any]:
        # tolist() gives plain values, from which Gymnasium tells the arrays' types.
        return {name: values[lane : lane + 1].tolist()[0] for name, values in self._infos().items() if name[0] != "_"}

    def _infos(self) -> dict[str, Any]:
        infos: dict[str, Any] = {name: self._read(name).astype(np.int64) for name in _PLAIN_VARIABLES}
        infos["game_over"] = self._read("game_over") != 0
        infos["flag_get"] = self._read("flag_get") != 0
        infos["status"] = _STATUSES[self._read("status")]
        infos["outcome"] = _OUTCOMES[self._read("outcome")]
        pairs = zip(self._read("attempt_world").tolist(), self._read("attempt_stage").tolist(), strict=True)
        infos["attempt"] = np.array([f"{world}-{stage}" for world, stage in pairs], object)
        infos["attempt_steps"] = self._attempt_steps.copy()
        return {**infos, **{f"_{name}": self._everyone for name in infos}}
