"""Puts right what a model does from the very start of each stage: `python -m benchmarks.polish --help`, or `make polish`.

An episode without idle frames and sticky actions is always the same one. Where the model fails in it, a search finds a way on
(`a3g.exploration.teacher`), and the model learns the whole way by heart. Beside that it goes on with what it learns as ever: to
do as the expert does in the states that it gets into under sticky actions. What it clears there says how much it knows, and is
to be measured before and after.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from a3g.algorithms import algorithm_class
from a3g.algorithms.actor_critic import ActorCriticAlgorithm
from a3g.algorithms.dagger import Dagger, divergence
from a3g.command_line import parse_train
from a3g.errors import UserError
from a3g.experience.make import AnyCollector, check_experience, make_collector
from a3g.exploration.demonstrations import Demonstration, load_demonstrations
from a3g.exploration.games import CLEARED, Games, replay
from a3g.exploration.replay import DemonstrationPlayer
from a3g.exploration.teacher import Teacher
from a3g.game.native_vector import NativeVectorEnv
from a3g.game.options import GameOptions
from a3g.game.rules import Outcome
from a3g.game.stages import STAGES, WHOLE_GAME, Stage
from a3g.processes.evaluation import Evaluator
from a3g.ranges import require
from a3g.reporting.phases import PhaseClock
from a3g.runs.expert import load_expert
from a3g.runs.playable import find_weights
from a3g.runs.weights import save_weights, weights_path

# Agent steps that the teacher lets the model play at once, and seconds of a round in which it looks for ways.
_TAUGHT_STEPS, _TEACHING = 16, 12.0
# Samples of an update of each kind, and how much more often those of the ways that are still wrong are drawn.
_BATCH, _WRONG_WEIGHT = 128, 10.0
# Updates after which it is looked again which steps of the ways are wrong.
_MARKED_EVERY = 80
# A way that was learned in so many rounds, of which more steps than these are still wrong, gives place to a newer one.
_PATIENCE, _NEARLY = 8, 2
# Ways with at most so many wrong steps are made easier for the model where that is possible.
_FEW = 80
# A newer way is no use if so many of its steps can hardly be told apart: those of a way that waits, for example. Compared are
# steps at most so far apart, by the mean difference of their pixels, from 0 to 255.
_MOST_AMBIGUOUS, _SHORTLY, _HARDLY = 20, 40, 0.1
# Rollouts of new states in each round.
_NEW_ROLLOUTS = 2


@dataclass(frozen=True)
class Options:
    """Go on with a model until it clears all stages from their very starts, or time is up."""

    weights: Path = Path("trained_models/SuperMarioBros-v0.safetensors")
    """What to begin with: a weights file, a checkpoint or a run's folder."""
    expert: Path = Path("trained_models/experts")
    """Whom the model learns from elsewhere."""
    out: Path = Path("logs/polished")
    """Folder of the weights to write, those that clear the most."""
    stages: tuple[str, ...] = tuple(map(str, STAGES))
    minutes: float = 60.0
    updates: int = 400
    """In a round; then the stages are played."""
    states: int = 60_000
    """States that are kept, with what the expert does there; each takes 25.6 kB."""
    lr: float = 4e-4
    """Learning rate at the beginning of a round; it falls to nothing within it."""
    way_weight: float = 1.0
    """Weight of the loss of the ways beside that of the expert's states."""
    seed: int = 1


class ExpertStates:
    """States that the model got into, and what the expert says there; the newest ones."""

    def __init__(self, number: int, game: GameOptions) -> None:
        self._observations = torch.zeros(number, *game.observation_shape, dtype=torch.uint8)
        self._log_probs = torch.zeros(number, game.num_actions)
        self._next, self.filled = 0, 0

    def collect(self, collector: AnyCollector, rollouts: int) -> None:
        """Let the model play on."""
        for _ in range(rollouts):
            rollout = collector.collect()
            number = len(self._observations)
            observations = rollout.observations.flatten(0, 1)[-number:]
            rows = torch.arange(self._next, self._next + len(observations)) % number
            self._observations[rows] = observations
            self._log_probs[rows] = rollout.columns["expert_log_probs"].flatten(0, 1)[-number:]
            self._next += len(observations)
            self.filled = min(number, self._next)

    def draw(self, number: int) -> tuple[Tensor, Tensor]:
        """Observations, uint8 (number, stack, height, width), and the expert's log-probabilities, (number, actions)."""
        rows = torch.randint(self.filled, (number,))
        return self._observations[rows], self._log_probs[rows]


@dataclass
class Way:
    """A way through a stage from its very start, to be learned by heart."""

    observations: Tensor
    """uint8 (steps, stack, height, width)"""
    actions: Tensor
    """int64 (steps,)"""
    rounds: int = 0
    """In which it was learned."""
    wrong: int = 0
    """Steps in which the model then wants another action."""

    @classmethod
    def of(cls, demonstration: Demonstration, game: GameOptions) -> Way:
        """What is seen on the way."""
        player = DemonstrationPlayer([demonstration], 1, game, seed=0)
        seen = np.zeros((len(demonstration.actions), 1, *game.observation_shape), np.uint8)
        steps = next(i for i, observation in enumerate(seen, 1) if player.step(observation).dones[0])
        player.close()
        return cls(torch.from_numpy(seen[:steps, 0]), torch.from_numpy(demonstration.actions[:steps].astype(np.int64)))

    def ambiguous(self) -> int:
        """Steps that ask for another action than one shortly before does, though hardly anything in the picture has changed."""
        pictures, number = self.observations.float().flatten(1), 0
        for step in range(1, len(pictures)):
            first = max(0, step - _SHORTLY)
            alike = (pictures[first:step] - pictures[step]).abs().mean(1) < _HARDLY
            number += bool((self.actions[first:step][alike] != self.actions[step]).any())
        return number


class Polisher:
    """The model, the ways that it learns, and the games in which both come from."""

    def __init__(self, options: Options) -> None:
        """
        Raises:
            UserError: if weights, expert or demonstrations are missing, damaged or of another game.
        """
        self._options, self._deadline = options, time.monotonic() + 60.0 * options.minutes
        for name in ("minutes", "updates", "states", "lr"):
            value = getattr(options, name)
            require(value > 0, name, value, "more than 0")
        _, self._weights = find_weights(options.weights)
        spec, unfit = (
            self._weights.network,
            f"{options.weights} can't be polished: its network or game is not that of --preset all-stages.",
        )
        trained_by = algorithm_class(self._weights.algorithm)
        if self._weights.game.observation != "pictures" or not issubclass(trained_by, ActorCriticAlgorithm):
            raise UserError(unfit)
        arguments = ["--preset", "all-stages", "--expert", str(options.expert), "--seed", str(options.seed)]
        arguments += ["--stages", *options.stages, "--network", spec.encoder, "--hidden-size", str(spec.hidden_size)]
        arguments += ["--show-buttons" if self._weights.game.show_buttons else "--no-show-buttons"]
        config = parse_train(arguments)
        if spec != config.network_spec():
            raise UserError(unfit)
        check_experience(config, learns_from_demonstrations=True)
        self.stages = tuple(config.single_stages())
        self._policy = Dagger(config, torch.device("cpu"))
        self._policy.model.load_state_dict(self._weights.tensors)
        self._optimizer = torch.optim.Adam(self._policy.model.parameters(), options.lr, eps=config.adam_eps)
        self._game = replace(self._weights.game, noop_max=0, sticky_actions=0.0, episodic_life=False)
        self._states = ExpertStates(options.states, self._game)
        clock, expert = PhaseClock(), load_expert(config)
        self._collector = make_collector(config, 0, self._policy, options.seed, clock, lambda: None, expert)
        self._demonstrations = load_demonstrations(config.demos_dir, self.stages)
        self._teacher = Teacher(self._demonstrations, len(self.stages), self._game, 0.0, options.seed)
        self._evaluator = Evaluator(Dagger, config.emulator, self._game)
        self._games: dict[Stage, Games] = {}
        self.ways: dict[Stage, Way] = {}

    @property
    def time_is_up(self) -> bool:
        return time.monotonic() > self._deadline

    def begin(self) -> None:
        """Collect states."""
        while self._states.filled < self._options.states and not self.time_is_up:
            self._states.collect(self._collector, 1)

    def cleared(self) -> list[Stage]:
        """The stages that the model clears from their very starts, greedily."""
        results = self._evaluator.play(self._policy.model, [(stage, 0) for stage in self.stages])
        return [stage for stage, result in zip(self.stages, results, strict=True) if result.outcome == Outcome.CLEARED]

    def find_ways(self, cleared: list[Stage], resort: bool) -> int:
        """Let the teacher find what is still missing; returns the number of new ways.

        Args:
            cleared: stages that need no help.
            resort: take the demonstration of a stage through which no help brought the model so far.
        """
        for stage in self.ways.keys() - set(cleared):
            self.ways[stage] = self._made_easier(stage, self.ways[stage])
        missing = {stage for stage in self.stages if stage not in self.ways}
        known = self.ways.items()
        stubborn = {stage for stage, way in known if stage not in cleared and way.rounds >= _PATIENCE and way.wrong > _NEARLY}
        sought = {stage for stage in missing | stubborn if self._demonstrations[stage]}
        found: dict[Stage, Way] = {}
        self._teacher.teach(sought)
        end = time.monotonic() + _TEACHING
        while sought - found.keys() and time.monotonic() < end:
            for each in self._teacher.play(_TAUGHT_STEPS, self._greedy)[0]:
                if each.stage in sought - found.keys():
                    found[each.stage] = Way.of(each, self._game)
        for stage in missing - found.keys() if resort else ():
            plain = [each for each in self._demonstrations[stage] if not each.idle_frames and not each.sticky_actions]
            ways = [Way.of(each, self._game) for each in plain]
            if ways:
                found[stage] = min(ways, key=Way.ambiguous)
        kept = {stage: way for stage, way in found.items() if stage in missing or way.ambiguous() <= _MOST_AMBIGUOUS}
        self.ways |= kept
        return len(kept)

    def _made_easier(self, stage: Stage, way: Way) -> Way:
        """A way that is nearly known, with the model's own action at each step at which that leads to the end as well."""
        if not 0 < way.wrong <= _FEW:
            return way
        actions = way.actions.numpy().astype(np.uint8)
        games = self._games.setdefault(stage, Games(stage, lanes=1))
        env = NativeVectorEnv([stage], 1, self._game, copy=False)
        env.reset()
        for step in range(len(actions)):
            wanted = actions.copy()
            wanted[step] = self._greedy(env.observations)[0]
            if wanted[step] != actions[step] and replay(games, wanted) == CLEARED:
                actions = wanted
            if env.step(actions[step : step + 1].astype(np.int64))[2][0]:
                break
        env.close()
        return replace(Way.of(Demonstration(stage, 0, actions), self._game), rounds=way.rounds, wrong=way.wrong)

    def learn(self) -> tuple[float, float, float]:
        """One round of updates.

        Returns:
            the shares of wrong steps of the ways before and after, and the mean divergence from the expert in nats
        """
        ways, options = list(self.ways.values()), self._options
        observations, actions = torch.cat([way.observations for way in ways]), torch.cat([way.actions for way in ways])
        wrong = self._wrong(observations, actions)
        before, divergences = float(wrong.float().mean()), []
        for update in range(options.updates):
            if update and update % _MARKED_EVERY == 0:
                wrong = self._wrong(observations, actions)
                if not bool(wrong.any()):
                    break
            self._optimizer.param_groups[0]["lr"] = options.lr * (1 - update / options.updates)
            drawn = torch.multinomial(torch.where(wrong, _WRONG_WEIGHT, 1.0), _BATCH, replacement=True)
            states, expert_log_probs = self._states.draw(_BATCH)
            divergences.append(self._update(observations[drawn], actions[drawn], states, expert_log_probs))
        wrong = self._wrong(observations, actions)
        for way, part in zip(ways, wrong.split([len(way.actions) for way in ways]), strict=True):
            way.rounds, way.wrong = way.rounds + 1, int(part.sum())
        self._states.collect(self._collector, _NEW_ROLLOUTS)
        return before, float(wrong.float().mean()), float(np.mean(divergences))

    def what_is_left(self, cleared: list[Stage]) -> str:
        """The stages that are not cleared, with the number of wrong steps in their ways."""
        left = [stage for stage in self.stages if stage not in cleared]
        return " ".join(f"{stage}:{self.ways[stage].wrong if stage in self.ways else '?'}" for stage in left) or "none"

    def save(self, path: Path) -> None:
        """Write the model as it is now, without a score."""
        weights = self._weights
        path.parent.mkdir(parents=True, exist_ok=True)
        save_weights(path, self._policy.model, weights.env_id, weights.game, weights.agent_steps, None, weights.algorithm)

    def close(self) -> None:
        """End the games."""
        self._collector.close()
        self._evaluator.close()

    def _update(self, observations: Tensor, actions: Tensor, states: Tensor, expert_log_probs: Tensor) -> float:
        """Learn some steps of the ways and some of the expert; returns the divergence from the expert."""
        policy, both = self._policy, torch.cat((observations, states))
        every = torch.ones(len(both), dtype=torch.bool)
        with policy.computing():
            logits, _ = policy.preferences(policy.model, both, policy.initial_state(len(both)), every)
        log_probs = torch.log_softmax(logits.float(), dim=-1)
        away = divergence(expert_log_probs, log_probs[len(actions) :]).mean()
        self._optimizer.zero_grad()
        ways = F.nll_loss(log_probs[: len(actions)], actions)
        (self._options.way_weight * ways + away).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._policy.model.parameters(), 1.0)
        self._optimizer.step()
        return float(away.detach())

    @torch.no_grad()
    def _wrong(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Where the model wants another action, bool (steps,)."""
        with self._policy.computing():
            return torch.cat([self._policy.greedy(part) for part in observations.split(1024)]) != actions

    @torch.no_grad()
    def _greedy(self, observations: NDArray[np.uint8]) -> NDArray[np.int64]:
        with self._policy.computing():
            return self._policy.greedy(torch.from_numpy(observations)).numpy()


def polish(options: Options) -> int:
    """Do it; returns how many stages the weights that were written clear, or as many as the model did before."""
    polisher = Polisher(options)
    number, cleared = len(polisher.stages), polisher.cleared()
    print(f"cleared from the very start: {len(cleared)} of {number}", flush=True)
    polisher.begin()
    most, rounds = len(cleared), 0
    while len(cleared) < number and not polisher.time_is_up:
        found, rounds = polisher.find_ways(cleared, resort=rounds > 0), rounds + 1
        if not polisher.ways:
            print(f"round {rounds}: no way was found yet", flush=True)
            continue
        before, after, away = polisher.learn()
        cleared = polisher.cleared()
        print(
            f"round {rounds}: {found} new ways, {before:.2%} of steps wrong, then {after:.2%}; divergence {away:.3f}; "
            f"cleared {len(cleared)} of {number}; not yet, with wrong steps: {polisher.what_is_left(cleared)}",
            flush=True,
        )
        if len(cleared) >= most:
            most = len(cleared)
            polisher.save(weights_path(options.out, WHOLE_GAME))
    polisher.close()
    return most


def main() -> int:
    options = tyro.cli(Options)
    torch.manual_seed(options.seed)
    most, out = polish(options), weights_path(options.out, WHOLE_GAME)
    print(f"{most} of {len(options.stages)} stages: {out}" if out.is_file() else "nothing better was found")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"polish.py: {error}", file=sys.stderr)
        sys.exit(2)
