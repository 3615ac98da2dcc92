"""Many games as one Gymnasium vector environment: what the one in Python and the native one share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypedDict

import gymnasium
import numpy as np
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from a3g.errors import UserError
from a3g.game.action_checks import check_actions
from a3g.game.emulators import FRAMES_PER_SECOND, Image
from a3g.game.options import GameOptions
from a3g.game.packing import State
from a3g.game.stages import Stage
from a3g.game.starts import Start, StartSource, UniformStarts, pack_starts, unpack_starts

AfterStep = Callable[["MarioVectorEnv", NDArray[np.int64], "StepResults"], None]
"""Called with the environment, the actions and what the step returned."""
StepResults = tuple[Image, NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]
Seed = int | np.random.SeedSequence


class VectorEnvArguments(TypedDict, total=False):
    """The later arguments of `MarioVectorEnv`, where its subclasses and makers hand them on."""

    starts: StartSource | None
    first_lane: int
    autoreset_mode: AutoresetMode | str
    render_mode: str | None


def observation_space(options: GameOptions) -> gymnasium.spaces.Space[Image]:
    """Pictures of one game, uint8 (stack, height, width)."""
    return gymnasium.spaces.Box(0, 255, options.observation_shape, np.uint8)


def lane_seeds(seed: int | None, num_lanes: int) -> list[np.random.SeedSequence]:
    """What the lanes of a vector environment with this seed are seeded with."""
    return np.random.SeedSequence(seed).spawn(num_lanes)


class MarioVectorEnv(gymnasium.vector.VectorEnv[Image, NDArray[np.int64], NDArray[Any]], ABC):
    """Many games, stepped together.

    What happens when a lane's episode ends is Gymnasium's autoreset mode, and the games are the same in all three:

    - SAME_STEP: the observation returned is the first of the lane's next episode, and `infos["final_obs"]` and
      `infos["final_info"]` hold the last one's.
    - NEXT_STEP: the lane's next step ignores its action and returns the first observation, with reward 0. Gymnasium's
      vector observation wrappers need this mode.
    - DISABLED: the lane must be reset by ``reset(options={"reset_mask": mask})`` before the next step.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "autoreset_mode": AutoresetMode.SAME_STEP}

    def __init__(
        self,
        stages: Sequence[Stage | None],
        num_lanes: int,
        options: GameOptions,
        seed: int | None,
        copy: bool,
        starts: StartSource | None = None,
        first_lane: int = 0,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
    ) -> None:
        """
        Args:
            stages: what to play, shared out among the lanes as `UniformStarts` says; unused if `starts` is given.
            num_lanes: games.
            options: see `GameOptions`.
            seed: of all lanes; each gets randomness of its own from it.
            copy: whether `step` and `reset` return a copy of the observations or the buffer that the next step changes.
            starts: where episodes begin.
            first_lane: number that `starts` knows the first lane by, if this is a part of a larger environment.
            autoreset_mode: see above.
            render_mode: None or ``rgb_array``.

        Raises:
            UserError: if the engine is missing or a number or mode makes no sense.
        """
        if num_lanes < 1:
            raise UserError(f"The number of lanes must be at least 1, not {num_lanes}.")
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise UserError(f"Unknown render mode {render_mode!r} of a vector environment: choose rgb_array.")
        try:
            self.autoreset_mode = AutoresetMode(autoreset_mode)
        except ValueError as error:
            modes = ", ".join(str(mode) for mode in AutoresetMode)
            raise UserError(f"Unknown autoreset mode {autoreset_mode!r}: choose one of {modes}.") from error
        self.num_envs = num_lanes
        self.options = options
        self.starts = starts or UniformStarts(stages, options.noop_max, num_lanes)
        self.first_lane = first_lane
        self.render_mode = render_mode
        self.metadata = {
            **self.metadata,
            "autoreset_mode": self.autoreset_mode,
            "render_fps": FRAMES_PER_SECOND / options.skip_rate,
        }
        self.single_observation_space = observation_space(options)
        self.single_action_space = gymnasium.spaces.Discrete(options.num_actions)
        self.observation_space = batch_space(self.single_observation_space, num_lanes)
        self.action_space = batch_space(self.single_action_space, num_lanes)
        self.after_step: AfterStep | None = None
        """Called after every step, by those who look on."""
        self._copy = copy
        self._observations = np.zeros((num_lanes, *options.observation_shape), np.uint8)
        self._begun = False
        self._ended = np.zeros(num_lanes, np.bool_)
        """Lanes whose episode has ended and whose next has not begun."""
        self._idle = np.zeros(num_lanes, np.bool_)

    @property
    def observations(self) -> Image:
        """The newest observations, uint8 (lanes, stack, height, width): the buffer itself, which the next step changes."""
        return self._observations

    def set_idle(self, lane: int, idle: bool) -> None:
        """Say whether nobody looks at a lane at present: engines that can leave it out of `step` do."""
        self._idle[lane] = idle

    def move_observations(self, memory: Image) -> None:
        """Keep the observations in `memory`, uint8 (lanes, stack, height, width), from now on."""
        np.copyto(memory, self._observations)
        self._observations = memory

    def reset(
        self, *, seed: int | Sequence[Seed | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Image, dict[str, Any]]:
        """Begin episodes.

        Args:
            seed: of all lanes, or one for each lane, of which None leaves a lane's randomness as it is.
            options: ``{"reset_mask": mask}``, a bool array (lanes,), resets those lanes only; the infos are theirs.

        Raises:
            ValueError: if the number of seeds is not that of the lanes, or the mask is not such an array or all False.
            ResetNeeded: if a mask leaves lanes out that have never been reset.
        """
        mask = self._reset_mask(options)
        if isinstance(seed, (Sequence, np.ndarray)):
            seeds: Sequence[Seed | None] = seed
            if len(seeds) != self.num_envs:
                raise ValueError(f"{self.num_envs} lanes need {self.num_envs} seeds, not {len(seeds)}.")
        else:
            seeds = [None] * self.num_envs if seed is None else lane_seeds(seed, self.num_envs)
        self._check_open()
        if not (self._begun or mask.all()):
            raise ResetNeeded("Reset all lanes before some of them.")
        for lane in np.flatnonzero(mask).tolist():
            lane_seed = seeds[lane]
            if lane_seed is not None:
                self._seed_lane(lane, lane_seed)
            self._begin_episode(lane)
        self._begun = True
        self._ended[mask] = False
        if mask.all():
            return self._returned_observations(), self._infos()
        infos: dict[str, Any] = {}
        for lane in np.flatnonzero(mask).tolist():
            infos = self._add_info(infos, self._lane_info(lane), lane)
        return self._returned_observations(), infos

    def step(self, actions: NDArray[np.int64] | Sequence[int]) -> StepResults:
        """One agent step in every lane.

        Args:
            actions: a whole number below the number of actions for each lane.

        Returns:
            observations uint8 (lanes, stack, height, width), rewards float32 (lanes,), terminated and truncated bool
            (lanes,), infos.

        Raises:
            gymnasium.error.InvalidAction: for any other actions; nothing is stepped then.
            gymnasium.error.ResetNeeded: before the first reset, and with autoreset disabled after an episode's end.
        """
        chosen = check_actions(actions, self.num_envs, self.options.num_actions)
        results = self._step(chosen)
        if self.after_step is not None:
            self.after_step(self, chosen, results)
        return results

    def _step(self, chosen: NDArray[np.int64]) -> StepResults:
        """`step` with actions that were checked."""
        self._check_begun()
        if self.autoreset_mode == AutoresetMode.DISABLED and self._ended.any():
            raise ResetNeeded(f"The episodes of lanes {np.flatnonzero(self._ended).tolist()} have ended: reset these lanes.")
        rewards, terminated, truncated = self._step_lanes(chosen, beginning=self._ended)
        self._ended = terminated | truncated
        if self.autoreset_mode != AutoresetMode.SAME_STEP or not self._ended.any():
            return self._returned_observations(), rewards, terminated, truncated, self._infos()
        final = {
            lane: (self._observations[lane].copy(), self._lane_info(lane)) for lane in np.flatnonzero(self._ended).tolist()
        }
        for lane in final:
            self._begin_episode(lane)
        self._ended[:] = False
        infos = self._infos()
        for lane, (observation, info) in final.items():
            infos = self._add_info(infos, {"final_obs": observation, "final_info": info}, lane)
        return self._returned_observations(), rewards, terminated, truncated, infos

    def render(self) -> tuple[Image, ...] | None:
        """The lanes' pictures, uint8 (224, 240, 3) each; None without a render mode."""
        if self.render_mode is None:
            return None
        self._check_begun()
        return self._pictures()

    @abstractmethod
    def view(self, lane: int) -> bytes:
        """What a lane shows now, for `a3g.game.views.ViewRenderer`."""

    def state_dict(self) -> State:
        """Everything that the next steps depend on, as copies: games, episodes, observations, randomness, start source.

        Raises:
            ResetNeeded: before the first reset.
        """
        self._check_begun()
        return {
            **self._games_state_dict(),
            "observations": self._observations.copy(),
            "ended": self._ended.copy(),
            **pack_starts("lane_starts", self._lane_starts()),
            **{f"start_source.{name}": array for name, array in self.starts.state_dict().items()},
        }

    def load_state_dict(self, state: State) -> None:
        """Continue from what `state_dict` gave, of an environment made with the same arguments on the same engine.

        Raises:
            ValueError, KeyError, TypeError: if it was another one's, or is damaged; the environment must be reset then.
        """
        self._begun = False
        np.copyto(self._observations, state["observations"])
        # The first version's checkpoints know neither ends nor starts.
        self._ended[:] = state.get("ended", False)
        starts: list[Start | None] = [None] * self.num_envs
        if "lane_starts" in state:
            starts = unpack_starts("lane_starts", state)
        self._load_games(state, starts)
        prefix = "start_source."
        self.starts.load_state_dict({name[len(prefix) :]: state[name] for name in state if name.startswith(prefix)})
        self._begun = True

    def _reset_mask(self, options: dict[str, Any] | None) -> NDArray[np.bool_]:
        if options is None or "reset_mask" not in options:
            return np.ones(self.num_envs, np.bool_)
        mask = np.asarray(options["reset_mask"])
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_ or not mask.any():
            raise ValueError(f"reset_mask is a bool array ({self.num_envs},), True for at least one lane, not {mask!r}.")
        return mask

    def _check_open(self) -> None:
        if self.closed:
            raise ClosedEnvironmentError("This vector environment is closed.")

    def _check_begun(self) -> None:
        self._check_open()
        if not self._begun:
            raise ResetNeeded("Reset the vector environment before its first step.")

    def _seed_lanes(self, seed: int | None) -> None:
        for lane, sequence in enumerate(lane_seeds(seed, self.num_envs)):
            self._seed_lane(lane, sequence)

    def _returned_observations(self) -> Image:
        return self._observations.copy() if self._copy else self._observations

    @abstractmethod
    def _step_lanes(
        self, actions: NDArray[np.int64], beginning: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
        """Step all lanes but those `beginning`, in which an episode begins; returns rewards, terminated, truncated."""

    @abstractmethod
    def _begin_episode(self, lane: int) -> None:
        """Begin an episode, or the next life of one, in a lane and fill its observation."""

    @abstractmethod
    def _seed_lane(self, lane: int, seed: Seed) -> None:
        """Make everything random in a lane follow from `seed`; its next reset begins a game."""

    @abstractmethod
    def _infos(self) -> dict[str, Any]:
        """All lanes' infos in Gymnasium's form: an array a key, and under `_key` a mask of the lanes that have it."""

    @abstractmethod
    def _lane_info(self, lane: int) -> dict[str, Any]:
        """One lane's info as plain values, from which Gymnasium tells the arrays' types."""

    @abstractmethod
    def _pictures(self) -> tuple[Image, ...]:
        """The lanes' pictures in colour."""

    @abstractmethod
    def _lane_starts(self) -> list[Start | None]:
        """Where the lanes' games began."""

    @abstractmethod
    def _games_state_dict(self) -> State:
        """What `state_dict` returns of the games."""

    @abstractmethod
    def _load_games(self, state: State, starts: list[Start | None]) -> None:
        """Continue the games of a state, which began at `starts`."""
