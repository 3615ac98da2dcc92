"""Playing stages and scoring them, for the test process and for `gym_eval.py` alike."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from a3g.game.emulators import Emulator
from a3g.game.lane import GameOptions, Lane, StartStates
from a3g.game.rules import FrameHook, Outcome
from a3g.game.stages import WHOLE_GAME, Stage
from a3g.networks.actor_critic import ActorCritic

# Games played side by side, so that the network runs on batches.
LANES = 16


@dataclass(frozen=True)
class EpisodeResult:
    """One episode played."""

    stage: str
    """Such as ``1-1``; ``SuperMarioBros-v0`` for the whole game."""
    outcome: str
    """cleared, died, warped or timeout."""
    reward: float
    """Sum of rewards, in the scale that training uses."""
    agent_steps: int
    x_pos: int
    """Where Mario stood in the end, in pixels."""
    seed: int
    """With it (and the same settings) the episode can be played again."""
    progress: int
    """Pixels of new ground in the last attempt at a stage."""
    stages_cleared: tuple[str, ...]


@dataclass(frozen=True, order=True)
class Score:
    """How good weights are; the better score is the greater."""

    num_cleared: int
    """Stages cleared in the share of their episodes asked for."""
    mean_clear_rate: float
    mean_progress: float
    """Pixels of new ground, mean over stages."""
    stages_cleared: tuple[str, ...]
    clear_rate: tuple[tuple[str, float], ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "stages_cleared": list(self.stages_cleared),
            "clear_rate": dict(self.clear_rate),
            "mean_clear_rate": self.mean_clear_rate,
            "mean_progress": self.mean_progress,
        }


def sort_key(score: dict[str, Any]) -> tuple[int, float, float]:
    """Orders scores in their JSON form as `Score` orders itself; an empty one is the least."""
    if not score:
        return (-1, 0.0, 0.0)
    return len(score["stages_cleared"]), float(score["mean_clear_rate"]), float(score["mean_progress"])


def score_episodes(results: Sequence[EpisodeResult], clear_rate: float = 1.0) -> Score:
    """Score of single-stage episodes; a stage counts as cleared from a share `clear_rate` of its episodes on."""
    rates: dict[str, float] = {}
    progress: list[float] = []
    for stage in dict.fromkeys(result.stage for result in results):
        episodes = [result for result in results if result.stage == stage]
        rates[stage] = sum(result.outcome == Outcome.CLEARED for result in episodes) / len(episodes)
        progress.append(sum(result.progress for result in episodes) / len(episodes))
    cleared = tuple(stage for stage, rate in rates.items() if rate >= clear_rate)
    return Score(
        num_cleared=len(cleared),
        mean_clear_rate=sum(rates.values()) / len(rates),
        mean_progress=sum(progress) / len(progress),
        stages_cleared=cleared,
        clear_rate=tuple(rates.items()),
    )


def wilson_interval(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """95% confidence interval of a share (Wilson 1927)."""
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials
    centre = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def results_to_json(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    """The contract of `gym_eval.py --json`: episodes, stages cleared at least once, clear rate of every stage."""
    episodes = [asdict(result) for result in results]
    cleared = dict.fromkeys(stage for result in results for stage in result.stages_cleared)
    rates = dict(score_episodes(results).clear_rate)
    return {"episodes": episodes, "stages_cleared": list(cleared), "clear_rate": rates}


class _Game:
    """An episode under way."""

    def __init__(self, index: int, stage: Stage | None, options: GameOptions, seed: int, on_frame: FrameHook | None) -> None:
        self.index, self.stage, self.seed = index, stage, seed
        self.lane = Lane([stage], options, seed, on_frame)
        self.observation = np.zeros(options.observation_shape, np.uint8)
        self.reward = 0.0
        self.steps = 0


class Arena:
    """Plays episodes with a model, many at a time on one emulator (on nes-py one at a time)."""

    def __init__(self, emulator: Emulator, options: GameOptions, device: torch.device | None = None) -> None:
        """
        Args:
            emulator: the engine, used by nobody else.
            options: the game; `episodic_life` must be off.
            device: where models given to `play` are.
        """
        self._emulator, self._options = emulator, options
        self._device = device or torch.device("cpu")
        self._starts = StartStates(emulator)

    @torch.no_grad()
    def play(
        self,
        model: ActorCritic,
        stages: Sequence[Stage | None],
        seed: int,
        sample: bool = False,
        on_frame: Callable[[int], FrameHook | None] | None = None,
        on_result: Callable[[int, EpisodeResult], None] | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> list[EpisodeResult]:
        """Play one episode of each of `stages`; None is the whole game.

        Args:
            model: takes the most likely action, or draws one with `sample`.
            seed: episode i has the seed `seed + i`.
            on_frame: gives episode i its frame hook; with it, episodes are played one after the other.
            on_result: called with each episode's number and result, in the order in which they end.
            stop: asked before every step; if true, the episodes that ended so far are returned.

        Returns:
            results in the order of `stages`
        """
        waiting = deque(enumerate(stages))
        games: list[_Game] = []
        states = model.initial_state(0)
        results: dict[int, EpisodeResult] = {}
        lanes = LANES if self._emulator.shares_states and on_frame is None else 1
        while (waiting or games) and not stop():
            while waiting and len(games) < lanes:
                index, stage = waiting.popleft()
                hook = on_frame(index) if on_frame is not None else None
                games.append(self._start(_Game(index, stage, self._options, seed + index, hook)))
                states = torch.cat((states, model.initial_state(1)), dim=1)
            observations = torch.from_numpy(np.stack([game.observation for game in games])).to(self._device)
            no_resets = torch.zeros(1, len(games), dtype=torch.bool, device=self._device)
            logits, _, states = model(observations.unsqueeze(0), states, no_resets)
            preferences = logits[0].cpu().numpy()
            for game, preference in zip(games, preferences, strict=True):
                result = self._step(game, preference, sample)
                if result is not None:
                    results[game.index] = result
                    if on_result is not None:
                        on_result(game.index, result)
            still_playing = [i for i, game in enumerate(games) if game.index not in results]
            games, states = [games[i] for i in still_playing], states[:, still_playing]
        return [results[i] for i in sorted(results)]

    def _start(self, game: _Game) -> _Game:
        game.lane.reset(self._emulator, self._starts, game.observation)
        self._leave(game)
        return game

    def _step(self, game: _Game, preference: NDArray[np.float32], sample: bool) -> EpisodeResult | None:
        """One agent step of one game; returns its result if it is over."""
        if self._emulator.shares_states:
            self._emulator.load(game.lane.state)
        if sample:  # the Gumbel-max trick, with the episode's own randomness
            preference = preference + game.lane.random.gumbel(size=preference.shape)
        reward, terminated, truncated = game.lane.step(self._emulator, int(preference.argmax()), game.observation)
        game.reward += reward
        game.steps += 1
        if not (terminated or truncated):
            self._leave(game)
            return None
        info = game.lane.info()
        return EpisodeResult(
            stage=WHOLE_GAME if game.stage is None else str(game.stage),
            outcome=info["outcome"] or str(Outcome.TIMEOUT),
            reward=round(game.reward, 4),
            agent_steps=game.steps,
            x_pos=info["x_pos"],
            seed=game.seed,
            progress=info["progress"],
            stages_cleared=tuple(str(stage) for stage in game.lane.episode.stages_cleared),
        )

    def _leave(self, game: _Game) -> None:
        if self._emulator.shares_states:
            game.lane.state = self._emulator.save()
