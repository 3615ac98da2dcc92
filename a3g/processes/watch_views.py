"""How the processes that play show their games on the watch page: the tester or an evaluation, and the workers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from a3g.algorithms.base import Algorithm
from a3g.experience.rollout import Rollout
from a3g.game.stages import STAGES, Stage
from a3g.game.vector import MarioVectorEnv, StepResults
from a3g.processes.watch_channel import OUTCOMES, TILES, Tile, TileState, WatchChannel, WatchSlot

# Pictures a second that are shown of each game.
FRAMES_PER_SECOND = 10.0
_STAGE_INDEX = {str(stage): i for i, stage in enumerate(STAGES)}


class _Games:
    """Enters the games of one process into its slot."""

    def __init__(self, channel: WatchChannel, source: int, always: bool = False) -> None:
        self._channel, self._source, self._always = channel, source, always
        self._shown_at = 0.0

    @property
    def slot(self) -> WatchSlot | None:
        """None while nobody looks."""
        return self._channel.slots[0] if self._always else self._channel.slot_of(self._source)

    def is_due(self) -> bool:
        """Whether it is time for the next pictures."""
        now = time.monotonic()
        if now - self._shown_at < 1.0 / FRAMES_PER_SECOND:
            return False
        self._shown_at = now
        return True


class EvaluationView:
    """Shows episodes that are played by an `Evaluator`, as a `PlayObserver`.

    Of several stages each has a place of its own; of a single one, or the whole game, each episode has.
    """

    def __init__(self, channel: WatchChannel, stages: Sequence[Stage | None], always: bool = False) -> None:
        """
        Args:
            channel: what is shown.
            stages: that are played.
            always: whether to show them even while nobody looks: where there is no training, it costs nothing that matters,
                and who comes at the end still sees something.
        """
        self._games = _Games(channel, channel.tester, always)
        different = list(dict.fromkeys(stages))
        self._places = {stage: i for i, stage in enumerate(different[:TILES])} if len(different) > 1 else None
        self._playing: dict[int, tuple[int, int]] = {}
        """Place and stage of each lane that plays, in the order in which they began."""
        self._over: dict[int, tuple[int, str]] = {}
        """Stage and outcome in each place where an episode has ended, for those who begin to look later."""
        self._shown: dict[int, int] = {}
        """The place of each lane that is shown: of several in the same place, the one that began first."""

    @property
    def is_wanted(self) -> bool:
        return self._games.slot is not None

    def begun(self, lane: int, index: int, stage: Stage | None) -> None:
        place = index % TILES if self._places is None else self._places.get(stage, TILES)
        if place < TILES:
            self._playing[lane] = place, _STAGE_INDEX.get(str(stage), -1)
            self._choose_shown()

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
        slot = self._games.slot
        if slot is None:
            return
        shown = [(row, lane, self._shown[lane]) for row, lane in enumerate(lanes) if lane in self._shown]
        if not shown:
            return
        rows, at, tiles = np.array(shown).T
        table, history = slot.tiles, slot.history
        # A game that somebody begins to look at in its middle is counted from there.
        table[tiles, Tile.STATE] = TileState.PLAYING
        table[tiles, Tile.STAGE] = [self._playing[lane][1] for lane in at.tolist()]
        table[tiles, Tile.STEPS] += 1
        table[tiles, Tile.REWARD] += rewards[at]
        table[tiles, Tile.X_POS] = infos["x_pos"][at]
        places = table[tiles, Tile.HISTORY].astype(np.int64) % history.shape[1]
        likely = np.exp(preferences[rows] - preferences[rows].max(-1, keepdims=True))
        history[tiles, places, :-3] = likely / likely.sum(-1, keepdims=True)
        history[tiles, places, -3], history[tiles, places, -2], history[tiles, places, -1] = (
            values[rows],
            rewards[at],
            actions[at],
        )
        table[tiles, Tile.HISTORY] += 1
        if not self._games.is_due():
            return
        for place, (stage, outcome) in self._over.items():
            if table[place, Tile.STATE] == TileState.EMPTY:
                table[place, Tile.STAGE], table[place, Tile.STATE] = stage, TileState.OVER
                table[place, Tile.OUTCOME] = OUTCOMES.index(outcome)
        observations = env.observations
        for lane, tile in zip(at.tolist(), tiles.tolist(), strict=True):
            slot.set_view(tile, env.view(lane))
            slot.observations[tile] = observations[lane]
        slot.published()

    def ended(self, lane: int, outcome: str) -> None:
        place, (_, stage) = self._shown.get(lane), self._playing.pop(lane, (0, -1))
        if place is not None:
            self._over[place] = stage, outcome
        self._choose_shown()
        slot = self._games.slot
        if place is None or slot is None:
            return
        row = slot.tiles[place]
        row[Tile.STATE], row[Tile.OUTCOME] = TileState.OVER, OUTCOMES.index(outcome)
        row[Tile.EPISODES] += 1
        row[Tile.STEPS] = row[Tile.REWARD] = 0.0
        slot.published()

    def _choose_shown(self) -> None:
        of_place: dict[int, int] = {}
        for lane, (place, _) in self._playing.items():
            of_place.setdefault(place, lane)
        self._shown = {lane: place for place, lane in of_place.items()}


class WorkerView:
    """Shows the games of a worker: `after_step` is what its environments call, see `MarioVectorEnv`."""

    def __init__(self, channel: WatchChannel, worker: int) -> None:
        self._games = _Games(channel, worker)

    def after_step(self, env: MarioVectorEnv, actions: NDArray[np.int64], results: StepResults) -> None:
        slot = self._games.slot
        if slot is None or env.first_lane >= TILES:
            return
        observations, rewards, terminated, truncated, infos = results
        lanes = np.arange(min(env.num_envs, TILES - env.first_lane))
        tiles = lanes + env.first_lane
        table = slot.tiles
        done = (terminated | truncated)[lanes]
        table[tiles, Tile.STATE] = TileState.PLAYING
        table[tiles, Tile.STEPS] = np.where(done, 0.0, table[tiles, Tile.STEPS] + 1)
        table[tiles, Tile.REWARD] = np.where(done, 0.0, table[tiles, Tile.REWARD] + rewards[lanes])
        for lane in np.flatnonzero(done).tolist():
            outcome = infos["final_info"]["outcome"][lane] or "truncated"
            table[env.first_lane + lane, Tile.OUTCOME] = OUTCOMES.index(str(outcome))
            table[env.first_lane + lane, Tile.EPISODES] += 1
        if env.first_lane == 0 and not self._games.is_due():
            return
        table[tiles, Tile.STAGE] = [_STAGE_INDEX.get(str(name), -1) for name in infos["attempt"][lanes].tolist()]
        table[tiles, Tile.X_POS] = infos["x_pos"][lanes]
        for lane, tile in zip(lanes.tolist(), tiles.tolist(), strict=True):
            slot.set_view(tile, env.view(lane))
            slot.observations[tile] = observations[lane]
        slot.published()

    def rollout_ended(self, rollout: Rollout, algorithm: Algorithm) -> None:
        """Show what the agent thought in the rollout: how likely each action and what value a state had in the games that
        somebody has chosen, in the others what the rollout tells.

        Args:
            rollout: the newest one.
            algorithm: that played it, its network unchanged since.
        """
        slot = self._games.slot
        if slot is None:
            return
        tiles = np.arange(min(rollout.actions.shape[1], TILES))
        steps = min(len(rollout.actions), slot.history.shape[1])
        rows = np.full((steps, len(tiles), slot.num_actions + 3), np.nan, np.float32)

        def latest(tensor: torch.Tensor) -> NDArray[np.float32]:
            return tensor[-steps:, : len(tiles)].float().cpu().numpy()

        actions = latest(rollout.actions)
        rows[..., -1], rows[..., -2] = actions, latest(rollout.rewards)
        if "values" in rollout.columns:
            rows[..., -3] = latest(rollout.columns["values"])
        if "log_probs" in rollout.columns:
            chosen = np.exp(latest(rollout.columns["log_probs"]))
            np.put_along_axis(rows, actions.astype(np.int64)[..., None], chosen[..., None], axis=-1)
        for tile in slot.chosen[slot.chosen < len(tiles)].tolist():
            likely, values = _thoughts(rollout, tile, algorithm)
            rows[:, tile, :-3], rows[:, tile, -3] = likely[-steps:], values[-steps:]
        table, history = slot.tiles, slot.history
        begin = table[tiles, Tile.HISTORY].astype(np.int64)
        for step in range(steps):
            history[tiles, (begin + step) % history.shape[1]] = rows[step]
        table[tiles, Tile.HISTORY] += steps


@torch.no_grad()
def _thoughts(rollout: Rollout, lane: int, algorithm: Algorithm) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How likely each action was, (T, actions), and what value each state had, (T,), in one lane.

    Computed again: a rollout keeps no more than the chosen actions' probabilities.
    """
    observations, begins = rollout.observations[:, lane], rollout.episode_starts[:, lane]
    state = rollout.initial_state[:, lane : lane + 1]
    with algorithm.computing():
        size = 1
        if not state.shape[-1]:  # without memory all steps can be computed at once
            size, state = len(observations), algorithm.initial_state(len(observations))
        likely, values = [], []
        for observation, begin in zip(torch.split(observations, size), torch.split(begins, size), strict=True):
            preferences, value, state = algorithm.preferences_and_values(algorithm.model, observation, state, begin)
            likely.append(preferences.float().softmax(-1))
            values.append(value.float())
    return torch.cat(likely).cpu().numpy(), torch.cat(values).cpu().numpy()
