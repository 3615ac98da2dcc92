"""Merging what machines have learnt: the rules against slow formulations, rounding, and shards. Without Ray."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from a3g.cluster.compression import ErrorFeedback, pack, unpack
from a3g.cluster.exchange import Exchanger
from a3g.cluster.rules import Downpour, Push, make_rule
from a3g.cluster.server import ParameterShard, Reply, RuleSettings, ranges

RULES = ("additive", "downpour", "easgd", "diloco")
SIZE = 100


def differences(number: int, size: int = SIZE, scale: float = 1e-3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [scale * torch.randn(size, generator=generator) for _ in range(number)]


# -- rules, each against the formula of its paper, number by number


def test_additive_is_the_sum() -> None:
    parameters, given = torch.zeros(SIZE), differences(7)
    rule = make_rule("additive", SIZE, 1e-4, 1e-3)
    for difference in given:
        rule.merge(parameters, difference, Push(machines=3, updates=5))
    torch.testing.assert_close(parameters, torch.stack(given).sum(0))


def test_downpour_is_torch_adam_on_the_pseudo_gradients() -> None:
    """With one update a difference, so that the server's learning rate is the machines'."""
    learning_rate, given = 1e-2, differences(20)
    parameters = torch.zeros(SIZE)
    rule = Downpour(SIZE, learning_rate, eps=1e-3)
    reference = nn.Parameter(torch.zeros(SIZE))
    adam = torch.optim.Adam([reference], lr=learning_rate, eps=1e-3)
    for difference in given:
        rule.merge(parameters, difference, Push(machines=2, updates=1))
        reference.grad = -difference / learning_rate
        adam.step()
    torch.testing.assert_close(parameters, reference.detach(), rtol=1e-4, atol=1e-7)


def test_downpour_goes_as_far_as_the_updates_in_a_difference() -> None:
    parameters = torch.zeros(SIZE)
    Downpour(SIZE, 1e-4, eps=1e-12).merge(parameters, torch.full((SIZE,), 3e-3), Push(machines=1, updates=8))
    torch.testing.assert_close(parameters, torch.full((SIZE,), 8e-4))


def test_elastic_averaging_moves_both_by_the_same_step() -> None:
    """Zhang et al. 2015, algorithm 1, with numbers instead of vectors."""
    center, position = 1.0, 5.0
    rule = make_rule("easgd", 1, 1e-4, 1e-3)
    parameters = torch.tensor([center])
    rule.merge(parameters, torch.tensor([position - center]), Push(machines=4, updates=1))
    alpha = 0.9 / 4
    assert parameters.item() == pytest.approx(center + alpha * (position - center))
    assert rule.pull_strength(4) == pytest.approx(alpha)


def test_diloco_with_one_machine_is_torch_nesterov() -> None:
    parameters, given = torch.zeros(SIZE), differences(10)
    rule = make_rule("diloco", SIZE, 1e-4, 1e-3)
    reference = nn.Parameter(torch.zeros(SIZE))
    nesterov = torch.optim.SGD([reference], lr=0.7, momentum=0.9, nesterov=True)
    for difference in given:
        rule.merge(parameters, difference, Push(machines=1, updates=1))
        reference.grad = -difference
        nesterov.step()
    torch.testing.assert_close(parameters, reference.detach())


def test_a_round_of_diloco_is_one_nesterov_step_on_the_mean() -> None:
    """Whatever the order in which three machines' differences come, when the round is over it is as if they came at once."""
    parameters, given = torch.zeros(SIZE), differences(9)
    rule = make_rule("diloco", SIZE, 1e-4, 1e-3)
    reference = nn.Parameter(torch.zeros(SIZE))
    nesterov = torch.optim.SGD([reference], lr=0.7, momentum=0.9, nesterov=True)
    for begin in range(0, 9, 3):
        for difference in given[begin : begin + 3]:
            rule.merge(parameters, difference, Push(machines=3, updates=1))
        reference.grad = -torch.stack(given[begin : begin + 3]).mean(0)
        nesterov.step()
        torch.testing.assert_close(parameters, reference.detach())


# -- rounding


def test_what_is_unpacked_is_what_the_sender_knows() -> None:
    difference = differences(1)[0]
    packed, sent = pack(difference)
    assert packed.nbytes == 2 * SIZE
    assert torch.equal(unpack(packed), sent)
    assert float(((sent - difference) / difference).abs().max()) <= 2**-8


def test_error_feedback_loses_nothing_for_good() -> None:
    """Differences that are too small to be seen beside others add up; without feedback they never arrive."""
    feedback, arrived, arrived_without = ErrorFeedback(2), torch.zeros(2), torch.zeros(2)
    difference = torch.tensor([1.0 + 2**-10, 1e-3 / 3])
    for _ in range(1000):
        arrived += unpack(feedback.pack(difference)[0])
        arrived_without += unpack(pack(difference)[0])
    assert (arrived - 1000 * difference).abs().max() < 0.01  # one rounding
    assert (arrived_without - 1000 * difference).abs().max() > 0.9


# -- the server and its machines


class Cluster:
    """Machines and shards in one process; messages can be lost."""

    def __init__(self, rule: str, shards: int, machines: int, size: int = SIZE) -> None:
        self.size, self.rule = size, rule
        self.settings = RuleSettings(rule, 1e-3, 1e-3)
        self.parts = ranges(size, shards)
        self.shards = [ParameterShard(self.settings) for _ in self.parts]
        start = differences(1, size, 1.0)[0]
        for shard, part in zip(self.shards, self.parts, strict=True):
            shard.load(start[part].numpy(), {}, 0)
        self.weights = [torch.zeros(size) for _ in range(machines)]
        self.loses_replies = False
        elastic = make_rule(rule, 0, 1.0, 1.0).is_elastic
        self.exchangers = [
            Exchanger(weights, self.parts, elastic, lambda updates, messages, key=str(i): self.send(key, updates, messages))
            for i, weights in enumerate(self.weights)
        ]
        self.join(machines)

    def join(self, machines: int) -> None:
        for shard in self.shards:
            shard.set_machines(tuple(map(str, range(machines))))

    def send(self, key: str, updates: int, messages: list) -> list[Reply | None]:
        pairs = zip(self.shards, messages, strict=True)
        replies = [shard.exchange(key, seen, updates, packed) for shard, (seen, packed) in pairs]
        return [None] * len(replies) if self.loses_replies else replies

    def parameters(self) -> Tensor:
        return torch.cat([torch.tensor(shard.state().parameters) for shard in self.shards])


@pytest.mark.parametrize("rule", RULES)
def test_sharding_changes_nothing(rule: str) -> None:
    results = []
    for shards in (1, 3):
        cluster = Cluster(rule, shards, machines=2, size=1000)
        for number, change in enumerate(differences(12, 1000)):
            cluster.exchangers[number % 2].exchange(1)
            cluster.weights[number % 2] += change
        results.append((cluster.parameters(), *cluster.weights))
    assert len(Cluster(rule, 3, 1, 1000).shards) == 3
    for one, three in zip(*results, strict=True):
        torch.testing.assert_close(one, three)


@pytest.mark.parametrize("rule", RULES)
def test_a_machine_that_joins_begins_where_the_server_is(rule: str) -> None:
    cluster = Cluster(rule, 2, machines=1)
    assert not cluster.exchangers[0].is_complete
    assert cluster.exchangers[0].exchange(0)
    assert cluster.exchangers[0].is_complete
    assert torch.equal(cluster.weights[0], cluster.parameters())


def test_machines_of_the_additive_rule_have_what_all_have_learnt() -> None:
    cluster = Cluster("additive", 2, machines=3)
    for exchanger in cluster.exchangers:
        exchanger.exchange(0)
    start, given = cluster.parameters(), differences(30)
    for number, change in enumerate(given):
        cluster.weights[number % 3] += change
        cluster.exchangers[number % 3].exchange(1)
    for _ in range(3):  # what rounding cut off follows
        for exchanger in cluster.exchangers:
            exchanger.exchange(0)
    expected = start + torch.stack(given).sum(0)
    torch.testing.assert_close(cluster.parameters(), expected, rtol=0, atol=1e-5)
    for weights in cluster.weights:
        torch.testing.assert_close(weights, expected, rtol=0, atol=1e-5)


def test_elastic_machines_are_those_of_the_paper() -> None:
    """Two machines against the loop of algorithm 1 in float64."""
    cluster = Cluster("easgd", 1, machines=2)
    for exchanger in cluster.exchangers:
        exchanger.exchange(0)
    center = cluster.parameters().double()
    positions, alpha = [center.clone(), center.clone()], 0.9 / 2
    for number, change in enumerate(differences(20)):
        machine = number % 2
        cluster.weights[machine] += change
        cluster.exchangers[machine].exchange(1)
        positions[machine] += change
        step = alpha * (positions[machine] - center)
        positions[machine] -= step
        center += step
    torch.testing.assert_close(cluster.parameters().double(), center, rtol=0, atol=1e-5)
    for weights, position in zip(cluster.weights, positions, strict=True):
        torch.testing.assert_close(weights.double(), position, rtol=0, atol=2e-5)


def test_what_workers_do_during_an_exchange_stays() -> None:
    cluster = Cluster("additive", 1, machines=1)
    cluster.exchangers[0].exchange(0)
    plain = cluster.send
    cluster.send = lambda *message: (plain(*message), cluster.weights[0].add_(1.0))[0]
    before = cluster.weights[0].clone()
    cluster.weights[0] += 0.5
    cluster.exchangers[0].exchange(1)
    cluster.send = plain
    torch.testing.assert_close(cluster.weights[0], before + 1.5)
    cluster.exchangers[0].exchange(1)
    torch.testing.assert_close(cluster.parameters(), before + 1.5)


def test_staleness_counts_the_merges_of_others() -> None:
    cluster = Cluster("additive", 1, machines=2)
    for exchanger in cluster.exchangers:
        exchanger.exchange(0)
    for _ in range(3):
        cluster.exchangers[1].exchange(1)
    cluster.exchangers[0].exchange(1)
    assert cluster.exchangers[0].staleness == 3
    assert cluster.exchangers[1].staleness == 0


@pytest.mark.parametrize("rule", RULES)
def test_a_lost_reply_does_not_count_a_difference_twice(rule: str) -> None:
    """The server goes on from what it merged, and the machine gets all of its parameters."""
    cluster = Cluster(rule, 2, machines=1)
    exchanger = cluster.exchangers[0]
    exchanger.exchange(0)
    cluster.weights[0] += 1.0
    cluster.loses_replies = True
    assert not exchanger.exchange(1)
    merged = cluster.parameters()
    cluster.loses_replies = False
    assert exchanger.exchange(1)
    torch.testing.assert_close(cluster.parameters(), merged)
    if rule != "easgd":
        torch.testing.assert_close(cluster.weights[0], merged)
    exchanger.exchange(1)  # and from here on they understand each other again
    exchanger.exchange(1)
    known = cluster.shards[0]._known["0"]
    assert torch.equal(exchanger._parts[0].reference, known)


@pytest.mark.parametrize("rule", RULES)
def test_a_server_that_was_lost_goes_on_from_its_copy(rule: str) -> None:
    cluster = Cluster(rule, 1, machines=1)
    exchanger = cluster.exchangers[0]
    exchanger.exchange(0)
    cluster.weights[0] += 1e-3
    exchanger.exchange(1)
    state = cluster.shards[0].state()
    cluster.shards[0] = ParameterShard(cluster.settings)
    assert not exchanger.exchange(1)  # empty
    assert cluster.shards[0].state() is None
    cluster.shards[0].load(state.parameters, state.rule, state.merged)
    cluster.join(1)
    restored = cluster.shards[0].state()
    assert np.array_equal(restored.parameters, state.parameters)
    assert all(np.array_equal(restored.rule[name], state.rule[name]) for name in state.rule)
    cluster.weights[0] += 1e-3
    assert exchanger.exchange(1)
    moved = float((cluster.parameters() - torch.tensor(state.parameters)).abs().max())
    assert moved < 0.02
    assert exchanger.exchange(1)


def test_damaged_weights_are_not_sent_and_are_replaced() -> None:
    cluster = Cluster("additive", 2, machines=1)
    cluster.exchangers[0].exchange(0)
    start = cluster.parameters()
    cluster.weights[0][3] = math.nan
    assert cluster.exchangers[0].exchange(1)
    torch.testing.assert_close(cluster.parameters(), start)
    torch.testing.assert_close(cluster.weights[0], start)


def test_damaged_differences_are_not_merged() -> None:
    shard = ParameterShard(RuleSettings("additive", 1e-3, 1e-3))
    shard.load(np.zeros(16, np.float32), {}, 0)
    shard.exchange("0", 0, 1, None)
    reply = shard.exchange("0", 1, 1, pack(torch.full((16,), math.inf))[0])
    assert reply.parameters is not None
    assert not reply.parameters.any()


def test_weights_that_were_taken_back_do_not_take_the_server_back() -> None:
    cluster = Cluster("additive", 1, machines=1)
    cluster.exchangers[0].exchange(0)
    start = cluster.parameters()
    cluster.weights[0].zero_()  # a launcher's restoration, to what it had long ago
    cluster.exchangers[0].begin_again()
    cluster.exchangers[0].exchange(1)
    torch.testing.assert_close(cluster.weights[0], start)
    torch.testing.assert_close(cluster.parameters(), start)


@pytest.mark.parametrize(("size", "shards", "expected"), [(100, 1, 1), (100, 3, 3), (16, 4, 1), (1_000_003, 7, 7)])
def test_ranges_cover_everything_once(size: int, shards: int, expected: int) -> None:
    parts = ranges(size, shards)
    assert len(parts) == expected
    assert [each for part in parts for each in range(part.start, part.stop)] == list(range(size))
    assert all(part.start % 16 == 0 for part in parts)
