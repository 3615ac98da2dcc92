"""The vector environment in Python, for every engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from a3g.game.emulators import VISIBLE_HEIGHT, VISIBLE_WIDTH, Image, make_emulator, resolve_emulator
from a3g.game.lane import Lane
from a3g.game.options import GameOptions
from a3g.game.packing import State, pack_bytes, pack_values, unpack_bytes, unpack_values
from a3g.game.stage_starts import StartStates
from a3g.game.stages import Stage
from a3g.game.starts import Start
from a3g.game.vector import MarioVectorEnv, Seed, VectorEnvArguments


class LaneVectorEnv(MarioVectorEnv):
    """Games stepped one after the other on one emulator by saved states (on nes-py: on one emulator each)."""

    def __init__(
        self,
        stages: Sequence[Stage | None],
        num_lanes: int,
        options: GameOptions,
        emulator: str = "auto",
        seed: int | None = 0,
        copy: bool = True,
        **arguments: Unpack[VectorEnvArguments],
    ) -> None:
        """
        Args:
            emulator: engine, see `a3g.game.emulators`.
            stages, num_lanes, options, seed, copy, arguments: see `MarioVectorEnv`.
        """
        super().__init__(stages, num_lanes, options, seed, copy, **arguments)
        self.lanes = [
            Lane(stages, options, None, starts=self.starts, number=self.first_lane + lane) for lane in range(num_lanes)
        ]
        self._seed_lanes(seed)
        engine = resolve_emulator(emulator)
        first = make_emulator(engine)
        if first.shares_states:
            self._emulators = [first] * num_lanes
            self._stage_starts = [StartStates(first)] * num_lanes
        else:
            self._emulators = [first, *(make_emulator(engine) for _ in range(num_lanes - 1))]
            self._stage_starts = [StartStates(each) for each in self._emulators]
        self._shared = first.shares_states
        self._last_pictures: list[Image] = [np.zeros((VISIBLE_HEIGHT, VISIBLE_WIDTH, 3), np.uint8)] * num_lanes

    def close_extras(self, **kwargs: Any) -> None:
        for emulator in set(self._emulators):
            emulator.close()

    def _step_lanes(
        self, actions: NDArray[np.int64], beginning: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
        rewards = np.zeros(self.num_envs, np.float32)
        terminated, truncated = np.zeros(self.num_envs, np.bool_), np.zeros(self.num_envs, np.bool_)
        for i, (lane, action) in enumerate(zip(self.lanes, actions.tolist(), strict=True)):
            if self._idle[i]:
                continue
            if beginning[i]:
                self._begin_episode(i)
                continue
            self._load_game(i)
            rewards[i], terminated[i], truncated[i] = lane.step(self._emulators[i], action, self._observations[i])
            self._save_game(i)
        return rewards, terminated, truncated

    def _begin_episode(self, lane: int) -> None:
        if self.lanes[lane].continues_game:
            self._load_game(lane)
        self.lanes[lane].reset(self._emulators[lane], self._stage_starts[lane], self._observations[lane])
        self._save_game(lane)

    def _seed_lane(self, lane: int, seed: Seed) -> None:
        self.lanes[lane].seed(seed)

    def _infos(self) -> dict[str, Any]:
        infos = [lane.info() for lane in self.lanes]
        everyone = np.ones(self.num_envs, np.bool_)
        batched: dict[str, Any] = {}
        for key, example in infos[0].items():
            numeric = isinstance(example, (int, bool))
            batched[key] = np.array([info[key] for info in infos], None if numeric else object)
            batched[f"_{key}"] = everyone
        return batched

    def _lane_info(self, lane: int) -> dict[str, Any]:
        return self.lanes[lane].info()

    def view(self, lane: int) -> bytes:
        emulator = self._emulators[lane]
        self._load_game(lane)
        if emulator.name == "native":
            return emulator.to_bytes()
        if self._shared:  # a saved state has no picture; the next step loads it again
            emulator.frame(0)
        return emulator.rgb().tobytes()

    def _pictures(self) -> tuple[Image, ...]:
        return tuple(self._last_pictures)

    def _lane_starts(self) -> list[Start | None]:
        return [lane.start for lane in self.lanes]

    def _games_state_dict(self) -> State:
        consoles = []
        for i, emulator in enumerate(self._emulators):
            self._load_game(i)
            consoles.append(emulator.to_bytes())
        frames = [frame for lane in self.lanes for frame in lane.last_frames]
        return {
            **pack_values("lanes", [lane.state_dict() for lane in self.lanes]),
            **pack_bytes("consoles", consoles),
            "last_frames": np.stack(frames) if frames else np.zeros((0, 0, 0), np.uint8),
            "last_frames.numbers": np.array([len(lane.last_frames) for lane in self.lanes]),
        }

    def _load_games(self, state: State, starts: list[Start | None]) -> None:
        consoles, numbers = unpack_bytes("consoles", state), state["last_frames.numbers"].tolist()
        frames = iter(state["last_frames"])
        lanes = zip(self.lanes, unpack_values("lanes", state), starts, consoles, numbers, strict=True)
        for i, (lane, values, start, console, number) in enumerate(lanes):
            self._emulators[i].from_bytes(console)
            lane.load_state_dict(values, start, [next(frames).copy() for _ in range(number)], self._emulators[i])
            self._save_game(i)

    def _load_game(self, lane: int) -> None:
        """Put a lane's game into the emulator, if other lanes use that one too."""
        if self._shared:
            self._emulators[lane].load(self.lanes[lane].state)

    def _save_game(self, lane: int) -> None:
        """Keep a lane's game, if other lanes use its emulator too, and its picture, if somebody asks for it."""
        if self._shared:
            self.lanes[lane].state = self._emulators[lane].save()
        if self.render_mode is not None:
            self._last_pictures[lane] = self._emulators[lane].rgb()
