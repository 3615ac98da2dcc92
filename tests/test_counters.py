"""Metrics by name, the run's counters, and the store between a worker and the run."""

from __future__ import annotations

import dataclasses
import inspect
import math
from typing import Any

import pytest
import torch
from torch import multiprocessing

from a3g.config import TrainConfig
from a3g.experience.episodes import EpisodeRecord
from a3g.networks.actor_critic import ActorCritic
from a3g.networks.flat_parameters import FlatParameters
from a3g.processes.counters import STAGE_INDEX, Count, RunCounters, StageCount
from a3g.processes.metrics_table import MAX_METRICS, MAX_NAME_BYTES, MetricsTable
from a3g.processes.parameter_store import ParameterStore, SharedMemoryStore
from a3g.processes.shared_run import SharedRun
from a3g.runs.progress import Progress

fork = multiprocessing.get_context("fork")


# -- metrics


def test_each_worker_has_its_own_names_in_the_order_in_which_they_came() -> None:
    table = MetricsTable(2)
    table.write(0, {"entropy": 1.5, "policy_loss": -2.0})
    table.write(1, {"ε": 0.5, "entropy": 3.0})
    table.write(0, {"baseline": 7.0, "entropy": 2.5})
    assert list(table.read(0).items()) == [("entropy", 2.5), ("policy_loss", -2.0), ("baseline", 7.0)]
    assert list(table.read(1).items()) == [("ε", 0.5), ("entropy", 3.0)]
    assert table.by_name() == {"entropy": [2.5, 3.0], "policy_loss": [-2.0], "baseline": [7.0], "ε": [0.5]}


def test_what_was_never_written_or_is_no_number_is_not_there() -> None:
    table = MetricsTable(2)
    assert (table.read(0), table.by_name()) == ({}, {})
    table.write(0, {"entropy": math.nan, "policy_loss": math.inf, "value_loss": 0.0})
    assert table.read(0) == {"policy_loss": math.inf, "value_loss": 0.0}
    table.write(0, {"entropy": 1.0})
    assert table.read(0)["entropy"] == 1.0
    assert table.by_name()["entropy"] == [1.0]


def test_other_processes_see_what_is_written() -> None:
    table = MetricsTable(2)
    processes = [fork.Process(target=table.write, args=(i, {f"of_{i}": 1.0 + i, "both": 5.0})) for i in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert table.by_name() == {"of_0": [1.0], "both": [5.0, 5.0], "of_1": [2.0]}
    again = fork.Process(target=table.write, args=(1, {"both": 6.0, "new": 7.0}))  # a worker that was started again
    again.start()
    again.join()
    assert table.read(1) == {"of_1": 2.0, "both": 6.0, "new": 7.0}


def test_names_that_do_not_fit_are_refused_and_change_nothing() -> None:
    table = MetricsTable(1)
    longest = "x" * MAX_NAME_BYTES
    table.write(0, {longest: 1.0})
    assert table.read(0) == {longest: 1.0}
    for name in ("", longest + "x", "ä" * (MAX_NAME_BYTES // 2 + 1)):
        with pytest.raises(ValueError, match="must have 1 to 48 bytes"):
            table.write(0, {name: 2.0})
    table.write(0, {f"metric {i}": float(i) for i in range(MAX_METRICS - 1)})
    with pytest.raises(ValueError, match=f"no room for the metric another: {MAX_METRICS}"):
        table.write(0, {"another": 1.0})
    assert len(table.read(0)) == MAX_METRICS
    assert table.read(0)[longest] == 1.0


# -- counters


PROGRESS = Progress(
    agent_steps=1000, updates=90, episodes=7, skipped_updates=1, restarts=2, resumed=1, restored=3, seconds=12.5
)


def counted(workers: int) -> RunCounters:
    counters = RunCounters(workers)
    counters.load(PROGRESS, {})
    for worker in range(workers):
        counters.counts[worker] = torch.tensor([32, 1, 2, 0])
        counters.note_episode(worker, "1-2", "cleared", 3000)
        counters.metrics.write(worker, {"entropy": 1.0 + worker})
    return counters


def test_a_sum_is_always_the_whole_run() -> None:
    counters = counted(2)
    found = counters.progress()
    expected = dataclasses.replace(PROGRESS, agent_steps=1064, updates=92, episodes=11, saved_at=found.saved_at)
    assert found == expected


def test_with_as_many_workers_each_goes_on_with_its_own() -> None:
    before, after = counted(2), RunCounters(2)
    after.load(before.progress(), {name: tensor.clone() for name, tensor in before.tensors().items()})
    assert torch.equal(after.counts, before.counts)
    assert torch.equal(after.stages, before.stages)
    assert after.metrics.by_name() == {"entropy": [1.0, 2.0]}
    assert dataclasses.replace(after.progress(), saved_at=0.0) == dataclasses.replace(before.progress(), saved_at=0.0)
    assert all(tensor.is_shared() for tensor in after.tensors().values())


@pytest.mark.parametrize("workers", [1, 3])
def test_with_another_number_of_workers_only_the_sums_go_on(workers: int) -> None:
    before, after = counted(2), RunCounters(workers)
    after.load(before.progress(), before.tensors())
    assert dataclasses.replace(after.progress(), saved_at=0.0) == dataclasses.replace(before.progress(), saved_at=0.0)
    assert not after.counts[:workers].any()
    assert not after.stages.any()
    assert after.metrics.by_name() == {}


def test_an_episode_counts_for_its_stage() -> None:
    counters = RunCounters(1)
    for outcome, progress in (("cleared", 3000), ("died", 1000), ("died", 200)):
        counters.note_episode(0, "1-2", outcome, progress)
    row = counters.stages[0, STAGE_INDEX["1-2"]]
    assert (row[StageCount.EPISODES], row[StageCount.CLEARED], row[StageCount.FURTHEST]) == (3, 1, 3000)
    assert float(row[StageCount.CLEAR_RATE]) == pytest.approx(0.95**2)
    assert float(row[StageCount.MEAN_PROGRESS]) == pytest.approx((3000 * 0.95 + 1000 * 0.05) * 0.95 + 200 * 0.05)


# -- the store


def make_store(**options: Any) -> tuple[SharedRun, FlatParameters, SharedMemoryStore]:
    settings = TrainConfig().with_values({"network": "conv4", "hidden_size": 8, "lstm": False, "workers": 2, **options})
    torch.manual_seed(0)
    shared = SharedRun(ActorCritic(settings.network_spec()), settings)
    local = FlatParameters(ActorCritic(settings.network_spec()))
    return shared, local, SharedMemoryStore(1, settings, shared, local)


def test_the_store_has_all_that_a_worker_may_ask_for() -> None:
    _, _, store = make_store()
    conforming: ParameterStore = store  # for the type checker
    for name, method in inspect.getmembers(ParameterStore, inspect.isfunction):
        if not name.startswith("_"):
            assert inspect.signature(getattr(SharedMemoryStore, name)) == inspect.signature(method), name
            assert callable(getattr(conforming, name))


def test_pulled_parameters_are_the_shared_ones_and_pushed_gradients_move_them() -> None:
    shared, local, store = make_store(lr=0.1)
    weights = shared.model.weights.detach()
    assert not torch.equal(local.parameters, weights)
    store.pull()
    assert torch.equal(local.parameters, weights)
    before = weights.clone()
    local.gradients.fill_(1.0)
    store.push()
    assert bool((weights < before).all())
    assert torch.equal(local.parameters, before)
    assert shared.counters.total(Count.UPDATES) == int(shared.counters.counts[1, Count.UPDATES]) == 1
    store.close(dict)


def test_what_is_reported_is_counted_for_this_worker_alone() -> None:
    shared, _, store = make_store(total_steps=100)
    episode = EpisodeRecord("1-1", "died", episode_return=-3.0, agent_steps=40, progress=500)
    seconds = [1.0, 2.0, 3.0, 4.0]
    store.report(agent_steps=64, skipped_updates=1, episodes=[episode], metrics={"entropy": 2.0}, phase_seconds=seconds)
    assert shared.counters.counts.tolist() == [[0, 0, 0, 0], [64, 0, 1, 1], [0, 0, 0, 0]]
    assert shared.counters.metrics.read(1) == {"entropy": 2.0, "staleness": 0.0, "mean_return": -3.0, "mean_length": 40.0}
    assert shared.counters.metrics.read(0) == {}
    assert shared.counters.phase_seconds[1].tolist() == seconds
    assert shared.control.heartbeats.count(1) == 1
    assert not store.should_stop()
    store.report(agent_steps=64)
    assert store.should_stop()
    store.close(dict)


@pytest.mark.parametrize("shared_optimizer", [True, False])
def test_the_stores_state_is_the_optimizers_of_this_worker(shared_optimizer: bool) -> None:
    _, local, store = make_store(shared_optimizer=shared_optimizer)
    local.gradients.normal_()
    store.push()
    state = store.state_dict()
    assert bool(state) is not shared_optimizer
    shared, _, other = make_store(shared_optimizer=shared_optimizer)
    other.load_state_dict(state)
    found = other.state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
    assert (shared.model.optimizer is not None) is shared_optimizer
    for each in (store, other):
        each.close(dict)
