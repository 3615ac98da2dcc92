"""Many games as one Gymnasium vector environment: in Python on any engine, or all at once in the native core."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from a3g.errors import UserError
from a3g.game.emulators import FRAMES_PER_SECOND, Image, make_emulator, resolve_emulator
from a3g.game.lane import GameOptions, Lane, StartStates
from a3g.game.packing import State, pack_bytes, pack_values, unpack_bytes, unpack_values
from a3g.game.stages import Stage

StepResults = tuple[Image, NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]
# The last observation and info of each lane whose episode has just ended.
Final = dict[int, tuple[Image, dict[str, Any]]]


def observation_space(options: GameOptions) -> gymnasium.spaces.Space[Image]:
    """Pictures of one game, uint8 (stack, height, width)."""
    return gymnasium.spaces.Box(0, 255, options.observation_shape, np.uint8)


def lane_seeds(seed: int | None, num_lanes: int) -> list[np.random.SeedSequence]:
    """What the lanes of a vector environment with this seed are seeded with."""
    return np.random.SeedSequence(seed).spawn(num_lanes)


class MarioVectorEnv(gymnasium.vector.VectorEnv[Image, NDArray[np.int64], NDArray[Any]], ABC):
    """Many games, stepped together.

    Autoreset is Gymnasium's same-step mode: when a lane's episode ends, the observation returned is the first of its
    next episode, and `infos["final_obs"]` and `infos["final_info"]` hold the last one's.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_fps": FRAMES_PER_SECOND}

    def __init__(
        self, stages: Sequence[Stage | None], num_lanes: int, options: GameOptions, seed: int | None, copy: bool
    ) -> None:
        """
        Args:
            stages: what to play. Lane i plays stages i, i + num_lanes, … (one at random each episode) if there are
                more stages than lanes, else stage i modulo their number.
            num_lanes: games.
            options: see `GameOptions`.
            seed: of all lanes; each gets randomness of its own from it.
            copy: whether `step` and `reset` return a copy of the observations or the buffer that the next step changes.

        Raises:
            UserError: if the engine is missing or a number makes no sense.
        """
        if num_lanes < 1:
            raise UserError(f"The number of lanes must be at least 1, not {num_lanes}.")
        if not stages:
            raise UserError("A vector environment needs at least one stage.")
        self.num_envs = num_lanes
        self.options = options
        self.single_observation_space = observation_space(options)
        self.single_action_space = gymnasium.spaces.Discrete(options.num_actions)
        self.observation_space = batch_space(self.single_observation_space, num_lanes)
        self.action_space = batch_space(self.single_action_space, num_lanes)
        self.lane_stages = [
            tuple(stages[i::num_lanes]) if len(stages) > num_lanes else (stages[i % len(stages)],) for i in range(num_lanes)
        ]
        self._first_seed = seed
        self._copy = copy
        self._observations = np.zeros((num_lanes, *options.observation_shape), np.uint8)
        self._idle = np.zeros(num_lanes, np.bool_)

    @property
    def observations(self) -> Image:
        """The newest observations, uint8 (lanes, stack, height, width): the buffer itself, which the next step changes."""
        return self._observations

    def begin_episode(self, lane: int, stage: Stage | None, seed: int) -> None:
        """Begin an episode of `stage` in one lane, whatever was played there; its first picture is in `observations`.

        Args:
            stage: None is the whole game.
            seed: of everything random in the lane from now on.
        """
        self.lane_stages[lane] = (stage,)
        self._idle[lane] = False
        self._seed_lane(lane, seed)
        self._begin_in_lane(lane)

    def leave_idle(self, lane: int) -> None:
        """Nobody looks at this lane until `begin_episode`: engines that can leave it out of `step` do."""
        self._idle[lane] = True

    def move_observations(self, memory: Image) -> None:
        """Keep the observations in `memory`, uint8 (lanes, stack, height, width), from now on."""
        np.copyto(memory, self._observations)
        self._observations = memory

    def reset(
        self, *, seed: int | Sequence[int | np.random.SeedSequence | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Image, dict[str, Any]]:
        if isinstance(seed, Sequence):
            for lane, lane_seed in enumerate(seed):
                if lane_seed is not None:
                    self._seed_lane(lane, lane_seed)
        elif seed is not None:
            self._seed_lanes(seed)
        infos = self._reset_lanes()
        return self._returned_observations(), infos

    def _seed_lanes(self, seed: int | None) -> None:
        for lane, sequence in enumerate(lane_seeds(seed, self.num_envs)):
            self._seed_lane(lane, sequence)

    def _returned_observations(self) -> Image:
        return self._observations.copy() if self._copy else self._observations

    def _add_final(self, infos: dict[str, Any], final: Final) -> dict[str, Any]:
        """Put the last observations and infos of the episodes that ended beside those of the next ones."""
        for lane, (observation, info) in final.items():
            infos = self._add_info(infos, {"final_obs": observation, "final_info": info}, lane)
        return infos

    @abstractmethod
    def state(self) -> State:
        """Everything that the next steps depend on, as copies: games, episodes, observations, randomness."""

    @abstractmethod
    def restore(self, state: State) -> None:
        """Go on from what `state` gave, of an environment made with the same arguments on the same engine.

        Raises:
            ValueError, KeyError, TypeError: if it was another one's, or is damaged; the environment must be reset then.
        """

    @abstractmethod
    def _seed_lane(self, lane: int, seed: int | np.random.SeedSequence) -> None:
        """Make everything random in a lane follow from `seed`; its next reset begins an episode."""

    @abstractmethod
    def _begin_in_lane(self, lane: int) -> None:
        """Begin an episode in one lane and fill its observation."""

    @abstractmethod
    def _reset_lanes(self) -> dict[str, Any]:
        """Begin an episode in every lane and fill the observations; returns the infos."""


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
    ) -> None:
        """
        Args:
            emulator: engine, see `a3g.game.emulators`.
            stages, num_lanes, options, seed, copy: see `MarioVectorEnv`.
        """
        super().__init__(stages, num_lanes, options, seed, copy)
        self.lanes = [Lane(stages, options, None) for stages in self.lane_stages]
        self._seed_lanes(seed)
        engine = resolve_emulator(emulator)
        first = make_emulator(engine)
        if first.shares_states:
            self._emulators = [first] * num_lanes
            self._starts = [StartStates(first)] * num_lanes
        else:
            self._emulators = [first, *(make_emulator(engine) for _ in range(num_lanes - 1))]
            self._starts = [StartStates(each) for each in self._emulators]
        self._shared = first.shares_states
        self._rewards = np.zeros(num_lanes, np.float32)
        self._terminated = np.zeros(num_lanes, np.bool_)
        self._truncated = np.zeros(num_lanes, np.bool_)

    def step(self, actions: NDArray[np.int64]) -> StepResults:
        infos: list[dict[str, Any]] = []
        final: Final = {}
        for i, (lane, action) in enumerate(zip(self.lanes, actions.tolist(), strict=True)):
            if self._idle[i]:
                self._rewards[i], self._terminated[i], self._truncated[i] = 0.0, False, False
                infos.append({})
                continue
            if self._shared:
                self._emulators[i].load(lane.state)
            step = lane.step(self._emulators[i], action, self._observations[i])
            self._rewards[i], self._terminated[i], self._truncated[i] = step
            info = lane.info()
            if step[1] or step[2]:
                final[i] = self._observations[i].copy(), info
                self._reset_lane(i)
                info = lane.info()
            self._leave(lane, i)
            infos.append(info)
        return (
            self._returned_observations(),
            self._rewards.copy(),
            self._terminated.copy(),
            self._truncated.copy(),
            self._add_final(_batch_infos(infos), final),
        )

    def state(self) -> State:
        consoles = []
        for lane, emulator in zip(self.lanes, self._emulators, strict=True):
            if self._shared:
                emulator.load(lane.state)
            consoles.append(emulator.to_bytes())
        frames = [frame for lane in self.lanes for frame in lane.last_frames]
        return {
            "observations": self._observations.copy(),
            **pack_values("lanes", [lane.to_values() for lane in self.lanes]),
            **pack_bytes("consoles", consoles),
            "last_frames": np.stack(frames) if frames else np.zeros((0, 0, 0), np.uint8),
            "last_frames.numbers": np.array([len(lane.last_frames) for lane in self.lanes]),
        }

    def restore(self, state: State) -> None:
        np.copyto(self._observations, state["observations"])
        consoles, numbers = unpack_bytes("consoles", state), state["last_frames.numbers"].tolist()
        frames = iter(state["last_frames"])
        lanes = zip(self.lanes, unpack_values("lanes", state), consoles, numbers, strict=True)
        for i, (lane, values, console, number) in enumerate(lanes):
            self._emulators[i].from_bytes(console)
            lane.go_on(values, [next(frames).copy() for _ in range(number)], self._emulators[i])
            self._leave(lane, i)

    def close_extras(self, **kwargs: Any) -> None:
        for emulator in set(self._emulators):
            emulator.close()

    def _seed_lane(self, lane: int, seed: int | np.random.SeedSequence) -> None:
        self.lanes[lane].seed(seed)

    def _reset_lanes(self) -> dict[str, Any]:
        for i, lane in enumerate(self.lanes):
            self._reset_lane(i)
            self._leave(lane, i)
        return _batch_infos([lane.info() for lane in self.lanes])

    def _begin_in_lane(self, lane: int) -> None:
        self.lanes[lane].stages = self.lane_stages[lane]
        self._reset_lane(lane)
        self._leave(self.lanes[lane], lane)

    def _reset_lane(self, i: int) -> None:
        self.lanes[i].reset(self._emulators[i], self._starts[i], self._observations[i])

    def _leave(self, lane: Lane, i: int) -> None:
        if self._shared:
            lane.state = self._emulators[i].save()


def _batch_infos(infos: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Gymnasium's form of the lanes' infos: an array a key, and under `_key` a mask of the lanes that have it."""
    have = np.array([bool(info) for info in infos])  # idle lanes have none
    batched: dict[str, Any] = {}
    for key, example in next(filter(None, infos), {}).items():
        numeric = isinstance(example, (int, bool))
        missing = type(example)() if numeric else None
        batched[key] = np.array([info.get(key, missing) for info in infos], None if numeric else object)
        batched[f"_{key}"] = have
    return batched
