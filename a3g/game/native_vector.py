"""The vector environment of the native core: all lanes, rules and rewards included, in one call without Python.

The rules in the core are those of `a3g.game.rules` and `a3g.game.rewards`; tests/test_native_vector.py compares this
environment with `LaneVectorEnv` step by step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from a3g.game.emulators import make_emulator
from a3g.game.emulators.rom import find_rom
from a3g.game.lane import ACTION_SETS, PICTURE_CUT, GameOptions, StartStates
from a3g.game.memory import STATUS_NAMES
from a3g.game.packing import State, pack_bytes, pack_values, unpack_bytes, unpack_values
from a3g.game.rewards import REWARD_SCALE
from a3g.game.rules import Outcome
from a3g.game.stages import STAGES, Stage
from a3g.game.vector import Final, MarioVectorEnv, StepResults

_OUTCOMES = np.array([None, *(str(outcome) for outcome in Outcome)], object)
_STATUSES = np.array(STATUS_NAMES, object)
# What the lanes' next steps depend on beside the games and the randomness.
_ARRAYS = ("observations", "goes_on", "last_actions", "variables", "episode_steps", "attempt_steps", "attempt_over")
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
    ) -> None:
        """
        Args:
            threads: threads that step the lanes.
            stages, num_lanes, options, seed, copy: see `MarioVectorEnv`.
        """
        import a3g_native

        super().__init__(stages, num_lanes, options, seed, copy)
        self._random = [np.random.default_rng() for _ in range(num_lanes)]
        self._goes_on = np.zeros(num_lanes, np.bool_)
        self._seed_lanes(seed)
        self._batch = a3g_native.Batch(
            find_rom().read_bytes(),
            num_lanes,
            frame_skip=options.skip_rate,
            stack=options.stack,
            height=options.height,
            width=options.width,
            two_frame_max=options.two_frame_max,
            time_per_stage=options.time_per_stage,
            cut=list(PICTURE_CUT),
            threads=threads,
        )
        self._starts = StartStates(make_emulator("native"))
        self._buttons = np.array(ACTION_SETS[options.actions], np.uint8)
        self._last_actions = np.zeros(num_lanes, np.int64)
        self._rewards = np.zeros(num_lanes, np.float32)
        self._variables = np.zeros((num_lanes, len(a3g_native.VARIABLES)), np.int32)
        self._column = {name: i for i, name in enumerate(a3g_native.VARIABLES)}
        self._episode_steps = np.zeros(num_lanes, np.int64)
        self._attempt_steps = np.zeros(num_lanes, np.int64)
        self._attempt_over = np.zeros(num_lanes, np.bool_)
        self._everyone = np.ones(num_lanes, np.bool_)

    def step(self, actions: NDArray[np.int64]) -> StepResults:
        options = self.options
        chosen = np.array(actions, np.int64)
        if options.sticky_actions:
            sticky = [random.random() < options.sticky_actions for random in self._random]
            chosen = np.where(sticky, self._last_actions, chosen)
        self._last_actions[:] = chosen
        self._attempt_steps[self._attempt_over] = 0
        self._episode_steps += 1
        self._attempt_steps += 1

        self._batch.step(self._buttons[chosen], self._observations, self._rewards, self._variables)
        rewards = self._rewards / np.float32(REWARD_SCALE)
        game_over = self._read("game_over") != 0
        self._attempt_over = self._read("outcome") != 0
        self._goes_on = self._attempt_over & ~game_over & options.episodic_life
        terminated = game_over | self._goes_on
        truncated = ~terminated & (self._episode_steps >= options.max_episode_length)

        ended = np.flatnonzero(terminated | truncated)
        final: Final = {}
        if len(ended):
            infos = self._infos()
            for lane in ended:
                # tolist() gives plain values, from which Gymnasium tells the arrays' types.
                info = {name: values[lane : lane + 1].tolist()[0] for name, values in infos.items() if name[0] != "_"}
                final[int(lane)] = self._observations[lane].copy(), info
                self._reset_lane(int(lane))
        return self._returned_observations(), rewards, terminated, truncated, self._add_final(self._infos(), final)

    def state(self) -> State:
        return {
            **{name: getattr(self, f"_{name}").copy() for name in _ARRAYS},
            **pack_values("random", [random.bit_generator.state for random in self._random]),
            **pack_bytes("games", [self._batch.save_game(lane) for lane in range(self.num_envs)]),
        }

    def restore(self, state: State) -> None:
        for name in _ARRAYS:
            np.copyto(getattr(self, f"_{name}"), state[name])
        for random, value in zip(self._random, unpack_values("random", state), strict=True):
            random.bit_generator.state = value
        games = unpack_bytes("games", state)
        for lane in range(self.num_envs):
            self._batch.load_game(lane, games[lane])

    def _seed_lane(self, lane: int, seed: int | np.random.SeedSequence) -> None:
        self._random[lane] = np.random.default_rng(seed)
        self._goes_on[lane] = False

    def _reset_lanes(self) -> dict[str, Any]:
        for lane in range(self.num_envs):
            self._reset_lane(lane)
        return self._infos()

    def _begin_in_lane(self, lane: int) -> None:
        self._reset_lane(lane)

    def _reset_lane(self, lane: int) -> None:
        """Begin an episode, or the next life of one; draws random numbers in the order in which `Lane` does."""
        self._last_actions[lane] = self._attempt_steps[lane] = 0
        self._attempt_over[lane] = False
        if self._goes_on[lane]:
            self._goes_on[lane] = False
            self._observations[lane] = self._observations[lane, -1]
            # The core has gone on to the next attempt and says so from its next step on.
            row = self._variables[lane]
            row[self._column["outcome"]] = row[self._column["progress"]] = row[self._column["game_over"]] = 0
            row[self._column["attempt_world"]] = row[self._column["world"]]
            row[self._column["attempt_stage"]] = row[self._column["stage"]]
            return
        stages, random = self.lane_stages[lane], self._random[lane]
        stage = stages[random.integers(len(stages))] if len(stages) > 1 else stages[0]
        idle_frames = 1 + int(random.integers(self.options.noop_max + 1))
        state = self._starts.state(stage or STAGES[0])
        self._batch.start(lane, state, stage and list(stage), idle_frames, self._observations, variables=self._variables)
        self._episode_steps[lane] = 0

    def _read(self, variable: str) -> NDArray[np.int32]:
        return self._variables[:, self._column[variable]]

    def _infos(self) -> dict[str, Any]:
        """The lanes' infos in Gymnasium's form; keys as in `Lane.info`."""
        infos: dict[str, Any] = {name: self._read(name).astype(np.int64) for name in _PLAIN_VARIABLES}
        infos["game_over"] = self._read("game_over") != 0
        infos["flag_get"] = self._read("flag_get") != 0
        infos["status"] = _STATUSES[self._read("status")]
        infos["outcome"] = _OUTCOMES[self._read("outcome")]
        pairs = zip(self._read("attempt_world").tolist(), self._read("attempt_stage").tolist(), strict=True)
        infos["attempt"] = np.array([f"{world}-{stage}" for world, stage in pairs], object)
        infos["attempt_steps"] = self._attempt_steps.copy()
        return {**infos, **{f"_{name}": self._everyone for name in infos}}
