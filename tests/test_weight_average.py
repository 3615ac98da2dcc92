"""The average of the weights that the tester tests with --average-steps."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from a3g.command_line import parse_train
from a3g.networks.flat_parameters import FlatParameters
from a3g.processes import tester as testing
from a3g.processes.counters import Count
from a3g.processes.prepare import prepare_run
from a3g.processes.weight_average import WeightAverage
from tests.learning import CPU

SMALL = "--env SuperMarioBros-1-1-v0 --network conv4 --hidden-size 16 --no-lstm --workers 1 --time-per-stage 10"


def test_weights_of_long_ago_fade() -> None:
    weights = torch.zeros(3)
    average = WeightAverage(weights, horizon=1_000)
    average.update(0)
    weights.fill_(1.0)
    for steps in range(50, 5_001, 50):
        average.update(steps)
    # At the first update all that was before is as long as it lasted; later an update brings 1 - exp(-50 / 1000) of the rest.
    left = math.prod(math.exp(-50 / min(1_000, steps)) for steps in range(50, 5_001, 50))
    torch.testing.assert_close(average.weights, torch.full((3,), 1 - left))
    assert left < 0.02


def test_until_the_horizon_it_is_the_mean_of_all() -> None:
    weights = torch.zeros(1)
    average = WeightAverage(weights, horizon=100_000)
    average.update(0)
    for steps in range(1_000, 50_001, 1_000):
        weights.fill_(steps / 50_000)
        average.update(steps)
    assert 0.45 < float(average.weights) < 0.6, "the weights have gone evenly from 0 to 1"


def test_weights_that_are_no_numbers_and_little_changes_leave_it_alone() -> None:
    weights = torch.ones(2)
    average = WeightAverage(weights, horizon=1_000)
    average.update(0)
    weights[0] = math.nan
    average.update(500)
    assert average.weights.tolist() == [1.0, 1.0]
    weights.fill_(5.0)
    average.update(5)
    assert average.weights.tolist() == [1.0, 1.0], "too soon"


def test_an_older_state_begins_it_anew() -> None:
    weights = torch.ones(2)
    average = WeightAverage(weights, horizon=100)
    average.update(1_000)
    weights.fill_(3.0)
    average.update(500)
    assert average.weights.tolist() == [3.0, 3.0]


@pytest.mark.slow
def test_the_tester_tests_it_and_keeps_it(tmp_path: Path) -> None:
    places = f"--save-model-dir {tmp_path / 'models'} --log-dir {tmp_path} --run-name one"
    config = parse_train([*SMALL.split(), *places.split(), "--average-steps", "1000"])
    run = prepare_run(config)
    try:
        shared, average = run.shared, run.shared.average
        assert average is not None
        shared.counters.counts[0, Count.AGENT_STEPS] = 10
        average.update(10)
        kept = average.weights.clone()
        with torch.no_grad():
            shared.model.weights.add_(0.01)
        shared.counters.counts[0, Count.AGENT_STEPS] = 14  # too few for the average to take these in
        tester = testing.Tester(config, shared, run.folder, CPU)
        tester.test()
        torch.testing.assert_close(FlatParameters(tester._model).parameters, kept, rtol=0, atol=0)
        tensors = shared.tensors_beside_model()
        torch.testing.assert_close(tensors["average.weights"], kept, rtol=0, atol=0)
    finally:
        run.close()


def test_it_goes_on_from_a_checkpoint_and_begins_anew_from_one_without() -> None:
    weights = torch.ones(2)
    before, after = WeightAverage(weights, horizon=100), WeightAverage(torch.zeros(2), horizon=100)
    before.update(7)
    weights.fill_(2.0)
    before.update(57)
    after.restore({name: tensor.clone() for name, tensor in before.tensors().items()})
    for name, tensor in before.tensors().items():
        torch.testing.assert_close(after.tensors()[name], tensor)
    newest = after._newest.fill_(0.5)
    after.restore({})
    torch.testing.assert_close(after.weights, newest, msg="a test may come before the first update")
    newest.fill_(1.0)
    after.update(60)
    assert after.weights.tolist() == [1.0, 1.0]
