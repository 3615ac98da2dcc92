"""The planner as a teacher: the agent plays, and where it fails, a search from shortly before finds a way on.

What comes out are demonstrations of whole stages in which most steps are the agent's own: they show what to do in the states
that the agent itself gets into (DAgger, Ross et al. 2011; expert iteration, Anthony et al. 2017). The search follows known ways
through the stage where they come by, with random actions in between, as `a3g.exploration.explorer` does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from a3g.exploration.demonstrations import ACTION_SET, Demonstration
from a3g.exploration.explorer import ACTION_WEIGHTS, CHANGE, Guide
from a3g.exploration.games import CLEARED, NO_OUTCOME, Games
from a3g.game.button_display import draw_buttons
from a3g.game.emulators import Image, make_emulator
from a3g.game.emulators.rom import find_rom
from a3g.game.lane import PICTURE_CROP
from a3g.game.memory import RAM_SIZE
from a3g.game.options import ACTION_SETS, GameOptions
from a3g.game.rewards import REWARDS
from a3g.game.rules import Outcome
from a3g.game.stage_starts import StartStates
from a3g.game.stages import Stage

SEARCHING_LANES = 32
"""Games in which a way on is searched at once."""

# The agent fails when it dies, or makes no new ground of some pixels for so many agent steps.
_STANDSTILL, _LEAST_GROUND = 45, 4
# Its games are kept every so many agent steps, the newest ones.
_SPACING, _KEPT = 5, 12
# A search begins 3 to 22 agent steps before the failure, and in later rounds up to 60.
_SEALED, _FIRST_REACH, _REACH, _FIRST_ROUNDS, _ROUNDS = 3, 22, 60, 2, 10
# A way on counts if it is so many pixels beyond the failure after this many agent steps more, and Mario lives.
_GROUND_BEYOND, _STEPS_BEYOND, _LEAST_STEPS, _MOST_STEPS = 32, 20, 24, 90
# The last steps of a way on are left to the agent: nobody knows where they lead.
_LEFT_TO_AGENT = 8
# Of ways on, shorter ones with fewer changes of the action are better; pixels beyond that are worth an action change.
_STEP_COST, _PIXELS_WORTH = 0.15, 16.0
_GUIDED = 0.75
_LONGEST_DELAY = 8
_MOST_RESCUES = 80


@dataclass(frozen=True, slots=True)
class Lesson:
    """How one of the agent's episodes went."""

    stage: Stage
    outcome: Outcome
    """That of the agent alone, at its first failure; `TIMEOUT` is a standstill."""
    progress: int
    """Pixels of new ground until then."""
    agent_steps: int
    """Agent steps until then."""
    episode_return: float
    """Sum of rewards until then."""


@dataclass(slots=True)
class _Kept:
    """The agent's game at a step of its episode."""

    step: int
    game: bytes
    observation: Image


@dataclass(slots=True)
class _Pupil:
    """An episode of the agent."""

    stage: Stage
    idle_frames: int
    sticky_actions: float
    actions: list[int] = field(default_factory=list)
    kept: deque[_Kept] = field(default_factory=lambda: deque(maxlen=_KEPT))
    shown: deque[int] = field(default_factory=deque)
    """Steps of a way on that are still to be played."""
    episode_return: float = 0.0
    furthest: int = 0
    standing: int = 0
    rescues: int = 0


class Teacher:
    """Lanes in which the agent plays, is rescued where it fails, and plays on."""

    def __init__(
        self,
        demonstrations: Mapping[Stage, Sequence[Demonstration]],
        lanes: int,
        options: GameOptions,
        sticky_actions: float,
        seed: int,
    ) -> None:
        """
        Args:
            demonstrations: known ways through each stage; stages without any are not taught.
            lanes: games that the agent plays.
            options: the game.
            sticky_actions: each episode draws its chance of a repeated action from 0 to this.
            seed: of all that is random.
        """
        import a3g_native

        self._options, self._sticky_actions = options, sticky_actions
        self._guides = {
            stage: [Guide.along(Games(stage, each.idle_frames, lanes=1), each.actions) for each in known[:_MOST_GUIDES]]
            for stage, known in demonstrations.items()
            if known
        }
        self._random = np.random.default_rng(seed)
        self._batch: Any = a3g_native.Batch(
            find_rom().read_bytes(),
            lanes,
            frame_skip=options.skip_rate,
            stack=options.stack,
            height=options.height,
            width=options.width,
            two_frame_max=options.two_frame_max,
            time_per_stage=options.time_per_stage,
            reward=options.reward,
            crop=list(PICTURE_CROP),
        )
        self._starts = StartStates(make_emulator("native"))
        self._buttons = np.array(ACTION_SETS[ACTION_SET], np.uint8)
        self._observations = np.zeros((lanes, *options.observation_shape), np.uint8)
        self._variables = np.zeros((lanes, len(a3g_native.VARIABLES)), np.int32)
        self._rewards = np.zeros(lanes, np.float32)
        self._ram = np.zeros((lanes, RAM_SIZE), np.uint8)
        names = {name: i for i, name in enumerate(a3g_native.VARIABLES)}
        self._outcomes, self._progress = self._variables[:, names["outcome"]], self._variables[:, names["progress"]]
        self._search = Games(next(iter(self._guides)), lanes=SEARCHING_LANES)
        sums = np.cumsum(ACTION_WEIGHTS)
        self._action_sums = sums / sums[-1]
        self._episodes = dict.fromkeys(self._guides, 0)
        self._taught = frozenset(self._guides)
        self._pupils = [self._begin(lane) for lane in range(lanes)]

    def play(self, num_steps: int, choose: Callable[[Image], NDArray[np.int64]]) -> tuple[list[Demonstration], list[Lesson]]:
        """Let the agent play on.

        Args:
            num_steps: agent steps in every lane.
            choose: the agent's actions, int64 (lanes,), for observations uint8 (lanes, stack, height, width).

        Returns:
            the stages cleared, alone or with help; and how the agent's episodes ended or would have ended
        """
        found: list[Demonstration] = []
        lessons: list[Lesson] = []
        for _ in range(num_steps):
            actions = choose(self._observations)
            for lane, pupil in enumerate(self._pupils):
                if pupil.shown:
                    actions[lane] = pupil.shown.popleft()
                elif pupil.actions and self._random.random() < pupil.sticky_actions:
                    actions[lane] = pupil.actions[-1]
                pupil.actions.append(int(actions[lane]))
            self._batch.step(self._buttons[actions], self._observations, self._rewards, self._variables, self._ram)
            if self._options.show_buttons:
                draw_buttons(self._observations[:, -1], self._ram)
            for lane in range(len(self._pupils)):
                self._look(lane, found, lessons)
        return found, lessons

    def teach(self, stages: Collection[Stage]) -> None:
        """Let episodes that begin from now on be of these stages, or of all if there is no demonstration of any."""
        self._taught = frozenset(self._guides).intersection(stages) or frozenset(self._guides)

    def _begin(self, lane: int) -> _Pupil:
        """Begin an episode of the stage that was played least."""
        order = self._random.permutation(len(self._episodes))
        stages = list(self._episodes)
        stage = min((stages[i] for i in order if stages[i] in self._taught), key=self._episodes.__getitem__)
        self._episodes[stage] += 1
        idle_frames = int(self._random.integers(self._options.noop_max + 1))
        chance = float(np.float32(self._random.random() * self._sticky_actions))
        state, frames = self._starts.state(stage), 1 + idle_frames
        self._batch.start(lane, state, list(stage), frames, self._observations, variables=self._variables, ram=self._ram)
        if self._options.show_buttons:
            draw_buttons(self._observations[lane : lane + 1], self._ram[lane : lane + 1])
        pupil = _Pupil(stage, idle_frames, chance)
        self._keep(lane, pupil)
        return pupil

    def _keep(self, lane: int, pupil: _Pupil) -> None:
        pupil.kept.append(_Kept(len(pupil.actions), self._batch.save_game(lane), self._observations[lane].copy()))

    def _look(self, lane: int, found: list[Demonstration], lessons: list[Lesson]) -> None:
        """See what a step has brought in a lane."""
        pupil, outcome = self._pupils[lane], int(self._outcomes[lane])
        pupil.episode_return += float(self._rewards[lane]) / REWARDS[self._options.reward].scale
        if outcome == CLEARED:
            actions = np.array(pupil.actions, np.uint8)
            found.append(Demonstration(pupil.stage, pupil.idle_frames, actions, pupil.sticky_actions))
            if not pupil.rescues:
                lessons.append(
                    Lesson(pupil.stage, Outcome.CLEARED, int(self._progress[lane]), len(actions), pupil.episode_return)
                )
            self._pupils[lane] = self._begin(lane)
            return
        progress = int(self._progress[lane])
        if progress > pupil.furthest + _LEAST_GROUND:
            pupil.furthest, pupil.standing = progress, 0
        else:
            pupil.standing += 1
        if outcome != NO_OUTCOME or (pupil.standing > _STANDSTILL and not pupil.shown):
            if not pupil.rescues:
                ended = Outcome.TIMEOUT if outcome == NO_OUTCOME else list(Outcome)[outcome - 1]
                lessons.append(Lesson(pupil.stage, ended, pupil.furthest, len(pupil.actions), pupil.episode_return))
            pupil.rescues += 1
            if pupil.rescues > _MOST_RESCUES or not self._rescue(lane, pupil):
                self._pupils[lane] = self._begin(lane)
        elif len(pupil.actions) % _SPACING == 0:
            self._keep(lane, pupil)

    def _rescue(self, lane: int, pupil: _Pupil) -> bool:
        """Search a way on from before a failure, and put the agent there; returns whether there is one."""
        for number in range(_ROUNDS):
            reach = _FIRST_REACH if number < _FIRST_ROUNDS else _REACH
            ages = [len(pupil.actions) - each.step for each in pupil.kept]
            near = [each for each, age in zip(pupil.kept, ages, strict=True) if _SEALED <= age <= reach] or list(pupil.kept)
            begun = [near[i] for i in self._random.integers(len(near), size=SEARCHING_LANES)]
            way = self._search_round(pupil, begun)
            if way is None:
                continue
            start, actions = way
            self._batch.load_game(lane, start.game)
            self._observations[lane] = start.observation
            del pupil.actions[start.step :]
            while pupil.kept[-1].step > start.step:
                pupil.kept.pop()
            pupil.shown, pupil.standing = deque(actions), 0
            return True
        return False

    def _search_round(self, pupil: _Pupil, begun: list[_Kept]) -> tuple[_Kept, list[int]] | None:
        """Try one way from each of `begun`; returns the best one that leads on."""
        search, random, guides = self._search, self._random, self._guides[pupil.stage]
        for i, each in enumerate(begun):
            search.load(i, each.game)
        ages = np.array([len(pupil.actions) - each.step for each in begun])
        lengths = np.clip(ages + _STEPS_BEYOND, _LEAST_STEPS, _MOST_STEPS)
        guided = random.random(SEARCHING_LANES) < _GUIDED
        guide_of = [guides[i] for i in random.integers(len(guides), size=SEARCHING_LANES)]
        delays = random.integers(1, 1 + _LONGEST_DELAY, SEARCHING_LANES)
        positions: list[int | None] = [None] * SEARCHING_LANES
        chosen = self._draw(SEARCHING_LANES)
        ways: list[list[int]] = [[] for _ in begun]
        alive = np.ones(SEARCHING_LANES, np.bool_)
        good, cleared = np.zeros(SEARCHING_LANES, np.bool_), np.zeros(SEARCHING_LANES, np.bool_)
        for t in range(int(lengths.max())):
            alive &= t < lengths
            if not alive.any():
                break
            changes = random.random(SEARCHING_LANES) < CHANGE
            chosen = np.where(changes, self._draw(SEARCHING_LANES), chosen)
            places = search.places().tolist() if t else []
            for i in np.flatnonzero(alive & guided & (t >= delays)).tolist():
                position = guide_of[i].step_at(places[i]) if positions[i] is None else positions[i]
                if position is None:
                    guided[i] = False
                elif position < len(guide_of[i].actions):
                    chosen[i], positions[i] = guide_of[i].actions[position], position + 1
            for i in np.flatnonzero(alive).tolist():
                ways[i].append(int(chosen[i]))
            search.step(chosen, alive)
            cleared |= alive & (search.outcomes == CLEARED)
            arrived = alive & (t + 1 >= lengths) & (search.outcomes == NO_OUTCOME)
            good |= arrived & (search.progress >= pupil.furthest + _GROUND_BEYOND)
            alive &= search.outcomes == NO_OUTCOME
        good |= cleared
        if not good.any():
            return None
        changes_of = np.array([sum(a != b for a, b in zip(way[1:], way, strict=False)) for way in ways])
        ground = np.minimum(search.progress - pupil.furthest, 4 * _GROUND_BEYOND) / _PIXELS_WORTH
        score = np.where(good, ground + 1000.0 * cleared - _STEP_COST * lengths - changes_of, -np.inf)
        best = int(score.argmax())
        kept = len(ways[best]) if cleared[best] else max(1, len(ways[best]) - _LEFT_TO_AGENT)
        return begun[best], ways[best][:kept]

    def _draw(self, number: int) -> NDArray[np.int64]:
        return np.searchsorted(self._action_sums, self._random.random(number), side="right").astype(np.int64)


# Playing along a way costs a fraction of a second each, when the teacher is made.
_MOST_GUIDES = 4
