"""What is left to do to have enough demonstrations of every stage, as tasks for processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from a3g.exploration.demonstrations import Demonstration
from a3g.exploration.search import Report, SearchOptions, find_first, find_further, is_new, shorten
from a3g.game.stages import Stage

Kind = Literal["first", "shorten", "further"]
_KINDS: tuple[Kind, ...] = ("first", "shorten", "further")

# Stages that take the longest to explore come first, so that all processes are busy to the end. Seen in several explorations;
# the others differ little.
_HARDEST = tuple(Stage(*pair) for pair in ((8, 4), (4, 2), (8, 1), (7, 2), (7, 4), (2, 2), (6, 2), (8, 2), (8, 3), (6, 1)))


@dataclass(frozen=True, slots=True)
class Task:
    """A piece of work for one process."""

    kind: Kind
    stage: Stage
    attempt: int
    """Counts the tasks of this kind for this stage; each has a seed of its own."""
    known: Demonstration | None = None
    """What is shortened, or is the guide to further ways."""

    def run(self, options: SearchOptions) -> Iterator[Report]:
        """Do it. The same task with the same options finds the same.

        Raises:
            ValueError: if the known demonstration does not clear its stage.
        """
        seeds = (options.seed, *self.stage, _KINDS.index(self.kind), self.attempt)
        if self.known is None:
            return find_first(self.stage, seeds)
        if self.kind == "shorten":
            return shorten(self.known, options.shortening_steps, seeds)
        return find_further(self.known, options.sticky_actions, seeds)


@dataclass
class StageTasks:
    """One stage: its demonstrations, and what is left to do for it."""

    stage: Stage
    wanted: int
    """Demonstrations."""
    first: Demonstration | None = None
    """The shortest one from the very start of the stage without sticky actions; the guide to all others."""
    others: list[Demonstration] = field(default_factory=list)
    """As they were loaded."""
    further: dict[int, Demonstration] = field(default_factory=dict)
    """Found now, by attempt."""
    running: set[Task] = field(default_factory=set)
    is_shortened: bool = False
    _next_first: int = 0
    _next_further: int = 0

    @classmethod
    def of(cls, stage: Stage, wanted: int, demonstrations: Sequence[Demonstration]) -> StageTasks:
        """The work that is left when there are these demonstrations already."""
        others = list(demonstrations)
        plain = [each for each in others if each.idle_frames == 0 and not each.sticky_actions]
        first = min(plain, key=lambda each: len(each.actions), default=None)
        others = [each for each in others if each is not first]
        # One that is complete needs nothing; one that is not was perhaps interrupted while it was shortened.
        complete = first is not None and 1 + len(others) >= wanted
        return cls(stage, wanted, first, others, is_shortened=complete, _next_further=len(others))

    def demonstrations(self) -> list[Demonstration]:
        """Those there are, in an order that does not depend on which process was faster."""
        first = [] if self.first is None else [self.first]
        return [*first, *self.others, *(self.further[attempt] for attempt in sorted(self.further))]

    @property
    def missing(self) -> int:
        """Demonstrations that are still wanted."""
        return max(0, self.wanted - len(self.demonstrations()))

    @property
    def is_done(self) -> bool:
        return not self.missing and self.is_shortened and not self.running

    def next_task(self) -> Task | None:
        """Something to do now; None if there is nothing, or others have to be done first."""
        if self.first is None:
            return None if self.running else Task("first", self.stage, self._next_first)
        if not self.is_shortened:
            return None if self.running else Task("shorten", self.stage, 0, self.first)
        if self.missing > len(self.running):
            return Task("further", self.stage, self._next_further, self.first)
        return None

    def begin(self, task: Task) -> None:
        """A process does this now."""
        self.running.add(task)
        if task.kind == "further":
            self._next_further = max(self._next_further, task.attempt + 1)

    def end(self, task: Task, interrupted: bool = False) -> None:
        """A process has done this, or was interrupted."""
        self.running.discard(task)
        if interrupted:
            if task.kind == "further":
                self._next_further = min(self._next_further, task.attempt)
        elif task.kind == "first":
            self._next_first += 1
        elif task.kind == "shorten":
            self.is_shortened = True

    def add(self, task: Task, found: Demonstration) -> bool:
        """Keep what was found if it is new or better; returns whether the stage's file has to be written again."""
        if task.kind == "further":
            if not is_new(found.actions, found.idle_frames, self.demonstrations()):
                return False
            self.further[task.attempt] = found
        else:
            self.first = found
        return True


def choose(stages: Sequence[StageTasks]) -> Task | None:
    """The next task of all: first ways, the hardest stages' first, then shortening, then the stage with fewest ways."""
    tasks = [(stage, task) for stage in stages if (task := stage.next_task()) is not None]

    def urgency(pair: tuple[StageTasks, Task]) -> tuple[int, int, int]:
        stage, task = pair
        hardness = _HARDEST.index(stage.stage) if stage.stage in _HARDEST else len(_HARDEST)
        return _KINDS.index(task.kind), len(stage.demonstrations()) + len(stage.running), hardness

    return min(tasks, key=urgency, default=(None, None))[1]
