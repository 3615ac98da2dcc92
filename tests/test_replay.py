"""Replay: what is drawn is what was played, priorities as a naive implementation has them, states that come back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from a3g.experience.replay_buffer import ReplayBuffer
from a3g.experience.replay_memory import bytes_per_step
from a3g.experience.replay_sampling import SMALLEST_ERROR, PrioritizedSampler, UniformSampler
from a3g.experience.rollout import Rollout
from a3g.experience.sum_tree import SumTree
from tests.running import ROOT

LANES, STACK, SIZE = 3, 4, 6
GAMMA = 0.9


class Played:
    """Random games whose every step is kept whole, stacks of pictures and all; hands out rollouts of them."""

    def __init__(self, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)
        self._stacks = [self._first() for _ in range(LANES)]
        self._begins = [True] * LANES
        self.steps: list[dict[str, np.ndarray]] = []

    def _picture(self) -> np.ndarray:
        return self._random.integers(0, 256, (SIZE, SIZE), dtype=np.uint8)

    def _first(self) -> np.ndarray:
        return np.stack([self._picture()] * STACK)

    def rollout(self, steps: int) -> Rollout:
        """So many more steps in every lane."""
        for _ in range(steps):
            dones = self._random.random(LANES) < 0.2
            step = {
                "observations": np.stack(self._stacks),
                "actions": self._random.integers(0, 5, LANES),
                "rewards": self._random.normal(size=LANES).astype(np.float32),
                "dones": dones,
                "episode_starts": np.array(self._begins),
            }
            self.steps.append(step)
            self._begins = dones.tolist()
            for lane in range(LANES):
                shifted = np.concatenate((self._stacks[lane][1:], self._picture()[None]))
                self._stacks[lane] = self._first() if dones[lane] else shifted
        tensors = {name: torch.from_numpy(np.stack([step[name] for step in self.steps[-steps:]])) for name in self.steps[-1]}
        empty = torch.zeros(2, LANES, 0)
        return Rollout(**tensors, columns={}, next_values=torch.zeros(LANES), initial_state=empty, episodes=[])


def filled(n_step: int = 1, slots: int = 20, rollouts: int = 7, folder: Path | None = None) -> tuple[Played, ReplayBuffer]:
    played = Played()
    buffer = ReplayBuffer(slots * LANES + 1, LANES, (STACK, SIZE, SIZE), n_step, GAMMA, folder)
    for _ in range(rollouts):
        buffer.extend(played.rollout(5))
    return played, buffer


# -- what is drawn


@pytest.mark.parametrize("n_step", [1, 2, 5])
@pytest.mark.parametrize("rollouts", [2, 7], ids=["not full", "overwritten"])
def test_every_step_comes_back_with_what_followed(n_step: int, rollouts: int, tmp_path: Path) -> None:
    """Against the games as they were kept whole, one step after the other."""
    for folder in (None, tmp_path):
        played, buffer = filled(n_step, rollouts=rollouts, folder=folder)
        times = buffer.drawable
        oldest = max(5 * rollouts - 20, 0)
        assert times == range(oldest + STACK - 1, 5 * rollouts - n_step)
        indices = buffer.indices(times)
        batch = buffer.get(indices)
        for i, (time, lane) in enumerate((time, lane) for time in times for lane in range(LANES)):
            step = played.steps[time]
            np.testing.assert_array_equal(batch.observations[i].numpy(), step["observations"][lane])
            assert int(batch.actions[i]) == step["actions"][lane]
            total, ended = 0.0, False
            for k in range(n_step):
                if not ended:
                    total += GAMMA**k * played.steps[time + k]["rewards"][lane]
                    ended = bool(played.steps[time + k]["dones"][lane])
            assert float(batch.returns[i]) == pytest.approx(total, abs=1e-5)
            assert float(batch.discounts[i]) == pytest.approx(0.0 if ended else GAMMA**n_step)
            if not ended:
                later = played.steps[time + n_step]["observations"][lane]
                np.testing.assert_array_equal(batch.next_observations[i].numpy(), later)


def test_a_rollout_longer_than_the_buffer_leaves_its_end() -> None:
    played, buffer = Played(), ReplayBuffer(10 * LANES, LANES, (STACK, SIZE, SIZE), 1, GAMMA)
    buffer.extend(played.rollout(33))
    assert buffer.drawable == range(23 + STACK - 1, 32)
    batch = buffer.get(buffer.indices(buffer.drawable))
    np.testing.assert_array_equal(batch.observations[-1].numpy(), played.steps[31]["observations"][-1])


def test_each_picture_is_kept_once() -> None:
    buffer = ReplayBuffer(1_000, 1, (STACK, 80, 80), 1, GAMMA)
    kept = sum(tensor.nbytes for name, tensor in buffer._columns.items())
    assert kept == 1_000 * bytes_per_step(80, 80) == 1_000 * 6_407  # what the help says


def test_nothing_is_left_of_a_replay_in_a_file(tmp_path: Path) -> None:
    _, buffer = filled(folder=tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())
    assert buffer.filled == 20 * LANES


def test_uniform_draws_reach_all_steps_alike_and_no_other() -> None:
    torch.manual_seed(0)
    _, buffer = filled(n_step=2)
    sampler = UniformSampler(buffer)
    drawn = sampler.draw(60_000, beta=1.0)
    assert bool((drawn.weights == 1).all())
    wanted = buffer.indices(buffer.drawable)
    found, counts = np.unique(drawn.indices, return_counts=True)
    np.testing.assert_array_equal(found, np.sort(wanted))
    expected = 60_000 / len(wanted)
    assert np.abs(counts - expected).max() < 6 * np.sqrt(expected)


# -- priorities


@pytest.mark.parametrize("capacity", [1, 2, 3, 7, 64, 100])
def test_the_tree_finds_what_a_running_sum_finds(capacity: int) -> None:
    random = np.random.default_rng(capacity)
    tree, leaves = SumTree(capacity), np.zeros(capacity)
    for _ in range(20):
        indices = random.integers(0, capacity, 5)
        values = random.integers(0, 4, 5).astype(float)  # whole numbers: sums are exact
        tree.set(indices, values)
        for index, value in zip(indices, values, strict=True):
            leaves[index] = value
        np.testing.assert_array_equal(tree.leaves, leaves)
        assert tree.total == leaves.sum()
        if tree.total:
            points = random.random(50) * tree.total
            naive = [int(np.flatnonzero(np.cumsum(leaves) > point)[0]) for point in points]
            assert tree.find(points).tolist() == naive


def test_rounding_never_leads_to_a_leaf_without_priority() -> None:
    random = np.random.default_rng(0)
    tree = SumTree(1000)
    leaves = np.where(random.random(1000) < 0.5, 0.0, random.random(1000) ** 20)
    tree.load(leaves)
    points = np.concatenate((random.random(10_000) * tree.total, [0.0, np.nextafter(tree.total, 0)]))
    assert (leaves[tree.find(points)] > 0).all()


class NaivePriorities:
    """Schaul et al. 2016, algorithm 1, with a dictionary."""

    def __init__(self, alpha: float) -> None:
        self.alpha, self.highest = alpha, 1.0
        self.rates: dict[tuple[int, int], float] = {}

    def extend(self, drawable: range) -> None:
        steps = [(time, lane) for time in drawable for lane in range(LANES)]
        self.rates = {step: self.rates.get(step, self.highest) for step in steps}

    def update(self, steps: list[tuple[int, int]], errors: np.ndarray) -> None:
        for step, error in zip(steps, errors, strict=True):
            self.rates[step] = (abs(float(error)) + SMALLEST_ERROR) ** self.alpha
            self.highest = max(self.highest, self.rates[step])

    def weights(self, steps: list[tuple[int, int]], beta: float) -> np.ndarray:
        total = sum(self.rates.values())
        weights = [(len(self.rates) * self.rates[step] / total) ** -beta for step in steps]
        return np.array(weights) / max(weights)


def test_priorities_are_those_of_a_naive_implementation() -> None:
    torch.manual_seed(1)
    random = np.random.default_rng(1)
    played, buffer = Played(), ReplayBuffer(20 * LANES, LANES, (STACK, SIZE, SIZE), 3, GAMMA)
    sampler, naive = PrioritizedSampler(buffer, alpha=0.6), NaivePriorities(0.6)
    for _ in range(25):
        buffer.extend(played.rollout(4))
        sampler.update_range()
        naive.extend(buffer.drawable)
        if not naive.rates:
            continue
        time_of = {int(index): time for time in buffer.drawable for index in buffer.indices(range(time, time + 1))}
        for _ in range(3):
            drawn = sampler.draw(8, beta=0.5)
            steps = [(time_of[int(index)], int(index) % LANES) for index in drawn.indices]
            np.testing.assert_allclose(drawn.weights.numpy(), naive.weights(steps, 0.5), rtol=1e-5)
            # One error a step, as a network gives: steps may be drawn twice.
            errors = np.array([3 * np.sin(97 * time + lane) for time, lane in steps], np.float32) * random.random()
            sampler.update_errors(drawn.indices, errors)
            naive.update(steps, errors)
            expected = np.zeros(buffer.slots * LANES)
            for (time, lane), rate in naive.rates.items():
                expected[time % buffer.slots * LANES + lane] = rate
            np.testing.assert_allclose(sampler.priorities, expected, rtol=1e-12)


def test_steps_are_drawn_at_the_rates_of_their_priorities() -> None:
    torch.manual_seed(2)
    _, buffer = filled()
    sampler = PrioritizedSampler(buffer, alpha=0.7)
    sampler.update_range()
    all_steps = buffer.indices(buffer.drawable)
    errors = np.random.default_rng(0).exponential(size=len(all_steps)).astype(np.float32)
    sampler.update_errors(all_steps, errors)
    rates = (errors.astype(float) + SMALLEST_ERROR) ** 0.7
    drawn = np.concatenate([sampler.draw(64, 0.0).indices for _ in range(2_000)])
    counts = np.array([(drawn == index).sum() for index in all_steps])
    expected = len(drawn) * rates / rates.sum()
    assert np.abs(counts - expected).max() < 6 * np.sqrt(expected.max())


def test_errors_that_are_no_numbers_change_no_priority() -> None:
    _, buffer = filled()
    sampler = PrioritizedSampler(buffer, alpha=0.6)
    sampler.update_range()
    before = sampler.priorities.copy()
    drawn = sampler.draw(4, 0.4)
    sampler.update_errors(drawn.indices, np.array([1.0, np.nan, 2.0, np.inf], np.float32))
    np.testing.assert_array_equal(sampler.priorities, before)


# -- states


def copies(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in state.items()}


@pytest.mark.parametrize("rollouts", [2, 7], ids=["not full", "overwritten"])
def test_a_state_that_is_loaded_goes_on_exactly(rollouts: int) -> None:
    played, buffer = filled(n_step=2, rollouts=rollouts)
    sampler = PrioritizedSampler(buffer, alpha=0.6)
    sampler.update_range()
    sampler.update_errors(
        buffer.indices(buffer.drawable)[::2], np.linspace(0, 5, 100, dtype=np.float32)[: 3 * len(buffer.drawable)][::2]
    )
    kept, priorities = copies(buffer.state_dict()), copies(sampler.state_dict())

    other = ReplayBuffer(20 * LANES + 1, LANES, (STACK, SIZE, SIZE), 2, GAMMA)
    into = {name: other.memory(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in kept.items()}
    assert [name for name, memory in into.items() if memory is None] == ["time"]
    for name, memory in into.items():
        if memory is not None:
            memory.copy_(kept[name])
            kept[name] = memory
    other.load_state_dict(kept)
    other_sampler = PrioritizedSampler(other, alpha=0.6)
    other_sampler.load_state_dict(priorities)

    rollout = played.rollout(5)
    for each, each_sampler in ((buffer, sampler), (other, other_sampler)):
        each.extend(rollout)
        each_sampler.update_range()
    np.testing.assert_array_equal(sampler.priorities, other_sampler.priorities)
    torch.manual_seed(3)
    ours = sampler.draw(32, 0.4)
    torch.manual_seed(3)
    theirs = other_sampler.draw(32, 0.4)
    np.testing.assert_array_equal(ours.indices, theirs.indices)
    assert torch.equal(ours.weights, theirs.weights)
    for name in ("observations", "actions", "returns", "next_observations", "discounts"):
        assert torch.equal(getattr(buffer.get(ours.indices), name), getattr(other.get(ours.indices), name))


def test_a_state_is_no_copy() -> None:
    """It would take as much memory again."""
    _, buffer = filled()
    assert buffer.state_dict()["pictures"].data_ptr() == buffer._columns["pictures"].data_ptr()


WRITE_AND_READ = """
import resource, sys
from pathlib import Path
import torch
from a3g.experience.replay_buffer import ReplayBuffer
from a3g.files import load_tensors, save_tensors

buffer, other = (ReplayBuffer(20_000, 4, (4, 80, 80), 1, 0.9) for _ in range(2))
for each in (buffer, other):
    each.state_dict()["actions"].fill_(3)
    each._columns["pictures"].fill_(7)
buffer.time = buffer.slots
path = Path(sys.argv[1]) / "replay.safetensors"
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
save_tensors(path, buffer.state_dict(), {})
state, _ = load_tensors(path, "replay", memory=other.memory)
other.load_state_dict(state)
assert other.filled == 20_000
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_saving_and_loading_take_no_memory_beside_the_replays(tmp_path: Path) -> None:
    """128 MB each: kilobytes more than both at the highest point, in a process of its own."""
    command = [sys.executable, "-c", WRITE_AND_READ, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert int(done.stdout) < 16_000


@pytest.mark.parametrize("slots", [15, 30])
def test_a_state_of_another_size_is_refused(slots: int) -> None:
    _, buffer = filled()
    other = ReplayBuffer(slots * LANES, LANES, (STACK, SIZE, SIZE), 1, GAMMA)
    with pytest.raises(ValueError, match="--replay-size"):
        other.load_state_dict(buffer.state_dict())
    assert other.filled == 0
