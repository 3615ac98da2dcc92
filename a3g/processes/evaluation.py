"""Playing episodes with a trained model, for the test process and for `gym_eval.py` alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from a3g.algorithms.base import Algorithm
from a3g.exploration.played_starts import PlayedStarts
from a3g.game.emulators import emulator_class, resolve_emulator
from a3g.game.lane import GameOptions
from a3g.game.lane_vector import LaneVectorEnv
from a3g.game.native_vector import NativeVectorEnv
from a3g.game.packing import State
from a3g.game.rules import FrameHook, Outcome
from a3g.game.stages import WHOLE_GAME, Stage
from a3g.game.starts import Start
from a3g.game.vector import MarioVectorEnv
from a3g.networks.pixel_network import PixelNetwork
from a3g.runs.scores import EpisodeResult

# Games played side by side, so that the network runs on batches.
LANES = 64

# What to play, the whole game if None, and the seed of everything random in it.
PlannedEpisode = tuple[Stage | None, int]


class PlayObserver(Protocol):
    """Looks on while episodes are played."""

    @property
    def is_wanted(self) -> bool:
        """Whether to be told of steps; asked before each."""

    def begun(self, lane: int, index: int, stage: Stage | None) -> None:
        """Episode number `index` begins in a lane."""

    def stepped(
        self,
        env: MarioVectorEnv,
        lanes: Sequence[int],
        actions: NDArray[np.int64],
        preferences: NDArray[np.float32],
        values: NDArray[np.float32],
        rewards: NDArray[np.float32],
        infos: dict[str, Any],
    ) -> None:
        """The lanes that play were stepped; their episodes may have ended with it.

        Args:
            env: the games.
            lanes: that play.
            actions, rewards: (all lanes of the environment,).
            preferences: (lanes that play, actions), see `Algorithm.preferences`.
            values: (lanes that play,).
            infos: of the step.
        """

    def ended(self, lane: int, outcome: str) -> None:
        """The episode in a lane has ended."""


class PlannedStarts:
    """A start source: every lane plays the stage that was planned for it, after random idle frames."""

    def __init__(self, lanes: int, noop_max: int, played_starts: PlayedStarts | None) -> None:
        self.stages: list[Stage | None] = [None] * lanes
        self._noop_max, self._played_starts = noop_max, played_starts

    def next(self, rng: np.random.Generator, lane: int) -> Start:
        stage, idle_frames = self.stages[lane], int(rng.integers(self._noop_max + 1))
        state = self._played_starts.draw(stage, rng) if self._played_starts and stage is not None else None
        return Start(stage, idle_frames, state)

    def episode_ended(self, start: Start, outcome: Outcome | None, progress: int) -> None:
        """Changes nothing."""

    def state_dict(self) -> State:
        return {}

    def load_state_dict(self, state: State) -> None:
        """Nothing to load."""


class _Episode:
    """An episode under way in a lane."""

    def __init__(self, index: int, planned: PlannedEpisode, lane: int) -> None:
        self.index, self.lane = index, lane
        self.stage, self.seed = planned
        self.reward = 0.0
        self.actions: list[int] = []
        """Those chosen so far, an agent step each."""
        self.stages_cleared: list[str] = []
        self.lives_lost = 0
        self.begins_attempt = True
        """Whether its next step is the first of a life or a stage."""
        # Drawn from beside the game's own randomness, so that the same starts come with sampled actions too.
        self.action_random = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(0,)))

    def choose(self, preference: NDArray[np.float32], sample: bool) -> int:
        """The most likely action, or one drawn by the Gumbel-max trick; `preference` are its logits."""
        noise = self.action_random.gumbel(size=preference.shape) if sample else 0.0
        self.actions.append(int((preference + noise).argmax()))
        return self.actions[-1]

    def note(
        self,
        rewards: NDArray[np.float32],
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
        infos: dict[str, Any],
        max_steps: int,
    ) -> EpisodeResult | None:
        """Take in what a step of the vector environment brought; returns the result if the episode is over."""
        self.reward += float(rewards[self.lane])
        self.begins_attempt = bool(terminated[self.lane])
        if not (terminated[self.lane] or truncated[self.lane]):
            return None
        names = ("outcome", "game_over", "attempt", "x_pos", "progress")
        info = {name: infos["final_info"][name][self.lane] for name in names}
        if info["outcome"] == Outcome.CLEARED:
            self.stages_cleared.append(info["attempt"])
        self.lives_lost += info["outcome"] in (Outcome.DIED, Outcome.TIMEOUT)
        if not info["game_over"] and len(self.actions) < max_steps:
            return None  # the whole game goes on
        return EpisodeResult(
            stage=WHOLE_GAME if self.stage is None else str(self.stage),
            outcome=info["outcome"] if info["game_over"] else str(Outcome.TIMEOUT),
            reward=round(self.reward, 4),
            agent_steps=len(self.actions),
            x_pos=int(info["x_pos"]),
            seed=self.seed,
            progress=int(info["progress"]),
            stages_cleared=tuple(self.stages_cleared),
            stage_reached=info["attempt"],
            lives_lost=self.lives_lost,
        )


class Evaluator:
    """Plays episodes with a model through the environments of training, side by side where they can share an emulator.

    In the whole game every life and every stage begins as in training: with a zeroed LSTM and equal pictures.
    """

    def __init__(
        self,
        algorithm: type[Algorithm],
        emulator: str,
        options: GameOptions,
        device: torch.device | None = None,
        played_starts: PlayedStarts | None = None,
    ) -> None:
        """
        Args:
            algorithm: knows what the models given to `play` want.
            emulator: engine, see `a3g.game.emulators`.
            options: the game.
            device: where models given to `play` are.
            played_starts: where single stages begin, of the same engine; by default at their usual starts.
        """
        self._played_starts = played_starts
        self._algorithm, self._engine = algorithm, resolve_emulator(emulator)
        # The whole game's lives and stages end with a sign then, and the next one goes on from there.
        self._options = replace(options, episodic_life=True)
        self._device = device or torch.device("cpu")
        self._env: MarioVectorEnv | None = None
        self._hooked: LaneVectorEnv | None = None

    @torch.no_grad()
    def play(
        self,
        model: PixelNetwork,
        episodes: Iterable[PlannedEpisode],
        sample: bool = False,
        on_frame: Callable[[int], FrameHook | None] | None = None,
        on_result: Callable[[int, EpisodeResult], None] | None = None,
        on_actions: Callable[[EpisodeResult, list[int]], None] | None = None,
        stop: Callable[[], bool] = lambda: False,
        observer: PlayObserver | None = None,
    ) -> list[EpisodeResult]:
        """Play episodes.

        Args:
            model: takes the most likely action, or draws one with `sample`.
            episodes: stages and seeds. What a seed gives does not depend on the other episodes.
            on_frame: gives episode i its frame hook; with it, episodes are played one after the other.
            on_result: called with each episode's number and result, in the order in which they end.
            on_actions: called with each episode's result and its chosen actions, likewise.
            stop: asked before every step; if true, the episodes that ended so far are returned.
            observer: looks on.

        Returns:
            results in the order of `episodes`
        """
        waiting = enumerate(episodes)
        env = self._env_of_many() if on_frame is None else self._env_with_hooks()
        free = list(range(env.num_envs)) if on_frame is None else [0]
        playing: list[_Episode] = []
        states = model.initial_state(0)
        actions = np.zeros(env.num_envs, np.int64)
        results: dict[int, EpisodeResult] = {}
        while not stop():
            while free and (planned := next(waiting, None)) is not None:
                episode = _Episode(*planned, free.pop(0))
                if on_frame is not None:
                    assert isinstance(env, LaneVectorEnv)
                    env.lanes[episode.lane].on_frame = on_frame(episode.index)
                self._begin(env, episode)
                if observer is not None:
                    observer.begun(episode.lane, episode.index, episode.stage)
                playing.append(episode)
                states = torch.cat((states, model.initial_state(1)), dim=1)
            if not playing:
                break

            # Choose an action in every lane that plays.
            observations = torch.from_numpy(env.observations[[episode.lane for episode in playing]]).to(self._device)
            starts = torch.tensor([episode.begins_attempt for episode in playing], device=self._device)
            observed = observer is not None and observer.is_wanted
            if observed:
                preferences, values, states = self._algorithm.preferences_and_values(model, observations, states, starts)
            else:
                preferences, states = self._algorithm.preferences(model, observations, states, starts)
            for episode, preference in zip(playing, preferences.cpu().numpy(), strict=True):
                actions[episode.lane] = episode.choose(preference, sample)

            # Step them, and take out the episodes that ended.
            _, rewards, terminated, truncated, infos = env.step(actions)
            if observer is not None and observed:
                lanes = [episode.lane for episode in playing]
                observer.stepped(env, lanes, actions, preferences.cpu().numpy(), values.cpu().numpy(), rewards, infos)
            for episode in playing:
                result = episode.note(rewards, terminated, truncated, infos, self._options.max_episode_length)
                if result is not None:
                    env.set_idle(episode.lane, True)
                    free.append(episode.lane)
                    results[episode.index] = result
                    if observer is not None:
                        observer.ended(episode.lane, result.outcome)
                    if on_result is not None:
                        on_result(episode.index, result)
                    if on_actions is not None:
                        on_actions(result, episode.actions)
            still_playing = [i for i, episode in enumerate(playing) if episode.index not in results]
            playing, states = [playing[i] for i in still_playing], states[:, still_playing]
        for episode in playing:
            env.set_idle(episode.lane, True)
        return [results[i] for i in sorted(results)]

    def close(self) -> None:
        """Free the engine."""
        for env in filter(None, (self._env, self._hooked)):
            env.close()

    def _begin(self, env: MarioVectorEnv, episode: _Episode) -> None:
        """Begin an episode in its lane."""
        starts = env.starts
        assert isinstance(starts, PlannedStarts)
        starts.stages[episode.lane] = episode.stage
        env.set_idle(episode.lane, False)
        in_lane = np.arange(env.num_envs) == episode.lane
        env.reset(seed=[episode.seed if here else None for here in in_lane], options={"reset_mask": in_lane})

    def _env_of_many(self) -> MarioVectorEnv:
        """One with LANES lanes, or a single one where each lane would need an emulator of its own."""
        if self._env is None:
            shares = emulator_class(self._engine).shares_states
            lanes = LANES if shares else 1
            planned = PlannedStarts(lanes, self._options.noop_max, self._played_starts)
            if self._engine == "native":
                env: MarioVectorEnv = NativeVectorEnv([None], lanes, self._options, copy=False, starts=planned)
            else:
                env = LaneVectorEnv([None], lanes, self._options, self._engine, copy=False, starts=planned)
            self._env = _with_idle_lanes(env)
        return self._env

    def _env_with_hooks(self) -> MarioVectorEnv:
        """One that runs the game frame by frame in Python, to be used in lane 0."""
        if self._engine != "native":  # FCEUmm allows one emulator a process
            return self._env_of_many()
        if self._hooked is None:
            planned = PlannedStarts(1, self._options.noop_max, self._played_starts)
            self._hooked = LaneVectorEnv([None], 1, self._options, self._engine, copy=False, starts=planned)
            _with_idle_lanes(self._hooked)
        return self._hooked


def _with_idle_lanes(env: MarioVectorEnv) -> MarioVectorEnv:
    """An environment whose lanes wait for their first planned episode."""
    env.reset()
    for lane in range(env.num_envs):
        env.set_idle(lane, True)
    return env
