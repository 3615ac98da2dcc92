"""The interface of algorithms holds: one of a user's own, in a file of its own, trains, is saved, goes on and is tested."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from a3g.algorithms import ALGORITHMS, algorithm_class, make_algorithm
from a3g.algorithms.base import Algorithm
from a3g.command_line import parse_train
from a3g.config import TrainConfig
from a3g.errors import UserError
from a3g.files import load_tensors
from a3g.processes.prepare import restore
from a3g.processes.shared_run import SharedRun
from a3g.processes.worker import make_worker
from a3g.reporting.metrics import read_curve
from a3g.runs.checkpoint import load_config, load_progress
from a3g.runs.paths import worker_path
from tests.learning import CPU, make_rollout, make_small
from tests.reinforce import Reinforce
from tests.running import ROOT, Start, arguments, newest_checkpoint, summary_of

NAME = "tests.reinforce:Reinforce"


# -- finding it


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_packages_own_are_found_by_their_names(name: str) -> None:
    assert issubclass(algorithm_class(name), Algorithm)
    assert algorithm_class(ALGORITHMS[name]) is algorithm_class(name)


def test_a_users_own_is_found_by_module_and_class() -> None:
    assert algorithm_class(NAME) is Reinforce
    settings = TrainConfig(algorithm=NAME, network="conv4", hidden_size=8, lstm=False)
    assert isinstance(make_algorithm(settings, CPU), Reinforce)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("sarsa", f"Unknown algorithm 'sarsa': choose one of {', '.join(ALGORITHMS)}, or module:Class"),
        ("", "Unknown algorithm ''"),
        ("tests.reinforce:", "Unknown algorithm 'tests.reinforce:'"),
        ("no_such_module:Class", "Can't import 'no_such_module:Class': No module named 'no_such_module'"),
        (
            "tests.reinforce:Sarsa",
            "Can't import 'tests.reinforce:Sarsa': module 'tests.reinforce' has no attribute",
        ),
        (":Reinforce", "Unknown algorithm ':Reinforce'"),
        ("tests.reinforce:Step", "'tests.reinforce:Step' is no algorithm: it must be a subclass"),
        ("tests.reinforce:Any", "is no algorithm"),
    ],
)
def test_names_that_are_none(name: str, says: str) -> None:
    with pytest.raises(UserError, match=re.escape(says)):
        algorithm_class(name)


@pytest.mark.parametrize("name", ["sarsa", "", "tests.reinforce:", ":Reinforce"])
def test_the_option_takes_a_name_or_a_class(name: str) -> None:
    assert parse_train(["--algorithm", NAME]).algorithm == parse_train(["--loss", NAME]).algorithm == NAME
    if name:
        with pytest.raises(
            UserError, match=re.escape(f"Unknown algorithm {name!r}: choose one of {', '.join(ALGORITHMS)}, or module:Class")
        ):
            parse_train(["--algorithm", name])


# -- what it computes: against each sample's own sum


def test_its_gradient_is_the_sum_over_samples() -> None:
    """Williams 1992, equation 11: (r - b) times the gradient of ln g, with the discounted return for r."""
    settings = TrainConfig(algorithm=NAME, network="conv4", hidden_size=8, lanes=3, num_steps=6, precision="float32", gamma=0.9)
    settings = settings.with_values({"baseline_weight": 0.25})
    algorithm = make_small(settings)
    rollout = make_rollout(algorithm)
    algorithm.baseline.fill_(0.5)
    total, errors = torch.zeros(()), []
    logits = algorithm.model(rollout.observations, rollout.initial_state, rollout.episode_starts)[0]
    for lane in range(3):
        for t in range(6):
            ends = [k for k in range(t, 6) if rollout.dones[k, lane]]
            last = ends[0] if ends else 5
            value = sum(0.9 ** (k - t) * float(rollout.rewards[k, lane]) for k in range(t, last + 1))
            if not ends:
                value += 0.9 ** (6 - t) * float(rollout.next_values[lane])
            errors.append(value - 0.5)
            probability = logits[t, lane].softmax(-1)[rollout.actions[t, lane]]
            total = total - errors[-1] * probability.log() / 18
    expected = torch.autograd.grad(total, list(algorithm.model.parameters()), allow_unused=True)
    (metrics,) = algorithm.updates(rollout)
    assert metrics["policy_loss"] == pytest.approx(float(total), rel=1e-4)
    assert metrics["baseline_loss"] == pytest.approx(sum(error**2 for error in errors) / 18, rel=1e-4)
    for parameter, gradient in zip(algorithm.model.parameters(), expected, strict=True):
        wanted = torch.zeros_like(parameter) if gradient is None else gradient
        torch.testing.assert_close(parameter.grad, wanted, rtol=1e-3, atol=1e-5)
    assert float(algorithm.baseline) == pytest.approx(0.5 + 0.25 * sum(errors) / 18, rel=1e-4)


# -- the whole program with it


def test_it_trains_is_tested_is_saved_and_goes_on(tmp_path: Path, start: Start) -> None:
    folder = tmp_path / "logs" / "run"
    command = arguments(tmp_path, "--algorithm", NAME, "--baseline-weight", "0.2")
    start([*command, "--run-name", "run", "--total-steps", "320"]).finish(0)
    summary = summary_of(folder)
    assert (summary["restarts"], summary["skipped_updates"], summary["workers"]) == (0, 0, 2)
    assert summary["agent_steps"] == 32 * summary["updates"] >= 320
    saved = json.loads((folder / "config.json").read_text())
    assert (saved["algorithm"], saved["baseline_weight"]) == (NAME, 0.2)
    assert read_curve(folder, "learn/baseline_loss")

    # Its weights have moved, and its metrics are there by name.
    config = load_config(newest_checkpoint(folder))
    torch.manual_seed(config.seed)
    shared = SharedRun(Reinforce.build_model(config.network_spec()), config)
    fresh = shared.model.weights.detach().clone()
    restore(shared, newest_checkpoint(folder))
    assert not torch.allclose(shared.model.weights, fresh)
    assert shared.model.weights.isfinite().all()
    for worker in range(2):
        metrics = shared.counters.metrics.read(worker)
        assert {"policy_loss", "baseline_loss", "gradient_norm"} <= set(metrics)
        assert "value_loss" not in metrics
        assert metrics["baseline_loss"] > 0

    # What each worker's own algorithm keeps is saved, and comes back.
    for number in range(2):
        checkpoint = newest_checkpoint(folder)
        kept, _ = load_tensors(worker_path(checkpoint, number), "worker's state")
        worker = make_worker(number, config, shared, CPU, resumed_from=checkpoint)
        worker.collector.close()
        assert isinstance(worker.algorithm, Reinforce)
        assert float(worker.algorithm.baseline) == float(kept["algorithm.baseline"]) != 0

    # It goes on where it was.
    run = start([*command, "--resume", "run", "--total-steps", "640"])
    out, _ = run.finish(0)
    assert "new games" not in out
    progress = load_progress(newest_checkpoint(folder))
    assert progress.agent_steps == 32 * progress.updates >= 640
    assert progress.resumed == 1


def test_a_mistake_in_its_name_is_one_sentence(tmp_path: Path, start: Start) -> None:
    _, err = start(arguments(tmp_path, "--algorithm", "tests.reinforce:Sarsa")).finish(2)
    says = "Can't import 'tests.reinforce:Sarsa': module 'tests.reinforce' has no attribute 'Sarsa'."
    assert err == f"main.py: {says}\n"
    assert not (tmp_path / "logs").exists()


def test_it_is_short() -> None:
    assert len((ROOT / "tests" / "reinforce.py").read_text().splitlines()) < 80
