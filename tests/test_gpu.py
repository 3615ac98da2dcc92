"""What a GPU changes: on the CPU all that surrounds the GPU's own work; with a GPU, that work too.

Tests marked `gpu` are skipped where there is none: `python -m pytest tests/test_gpu.py -m gpu` runs them alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, multiprocessing
from torch.utils._python_dispatch import TorchDispatchMode

import environment
from a3g.accelerator.cuda_graph import Graphed
from a3g.accelerator.pinned_memory import Registration, host_zeros
from a3g.accelerator.precision import autocast, fresh_autocast, prepare_gpu_arithmetic, resolve_precision
from a3g.accelerator.transfer import GradientTransfer
from a3g.algorithms import actor_critic
from a3g.algorithms.a3c import A3C
from a3g.config import TrainConfig
from a3g.experience.collector import Collector
from a3g.experience.double_buffered_collector import DoubleBufferedCollector
from a3g.experience.make import lane_groups
from a3g.experience.rollout import Rollout
from a3g.game.emulators import resolve_emulator
from a3g.game.lane import GameOptions
from a3g.game.stages import STAGES, Stage
from a3g.game.vector import lane_seeds
from a3g.networks.shared_optim import to_shared_memory
from a3g.processes.process import describe_gpus, prepare_device
from a3g.reporting.metrics import read_curve
from tests.learning import CPU, make_rollout, make_small, on_cpu, tensors_of

aten = torch.ops.aten
ROOT = Path(__file__).parent.parent
GPU = torch.device("cuda", 0)
LANES, GAMMA = 4, 0.9
RUN_RIGHT = 3  # in the a3g action set: right and B
TIMEOUTS = GameOptions(time_per_stage=2, noop_max=4)
TRUNCATIONS = GameOptions(max_episode_length=7, noop_max=4)
PLAYED = [Stage(1, 1), Stage(4, 1), Stage(1, 2)]

needs_gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]
DEVICES = [CPU, pytest.param(GPU, marks=needs_gpu)]
# FCEUmm is one console a process.
PARTS = [1, pytest.param(2, marks=pytest.mark.skipif(resolve_emulator() == "fceumm", reason="FCEUmm can't be halved"))]


@pytest.fixture(autouse=True)
def exact_products() -> None:
    """A GPU's float32 is to be compared with the CPU's."""
    prepare_gpu_arithmetic("float32")


@pytest.fixture(autouse=True)
def sampling_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU too."""
    monkeypatch.setattr(actor_critic, "sample_actions", actor_critic.sample_without_cpu)


def make_policy(device: torch.device = CPU, lstm: bool = True, certain: bool = False, precision: str = "float32") -> A3C:
    """With a small network; if `certain`, one that always takes the same action."""
    torch.manual_seed(0)
    settings = {"network": "conv4", "hidden_size": 16, "lstm": lstm, "lanes": LANES, "precision": precision}
    policy = A3C(TrainConfig().with_values({**settings, "keep_activations": False}), device)
    if certain:
        with torch.no_grad():
            policy.model.actor.bias[RUN_RIGHT] = 1e4
    return policy


def play(
    policy: A3C,
    options: GameOptions,
    parts: int,
    rollouts: int = 5,
    num_steps: int = 6,
    **settings: Any,
) -> list[Rollout]:
    """Rollouts of a DoubleBufferedCollector, copied to the CPU, since the collector uses its tensors again."""
    envs = environment.vector_env_parts(PLAYED, LANES, parts, options, seed=5, copy=False)
    collector = DoubleBufferedCollector(policy, envs, num_steps, GAMMA, seed=5, **settings)
    played = [on_cpu(collector.collect()) for _ in range(rollouts)]
    collector.close()
    return played


def play_plainly(policy: A3C, options: GameOptions, rollouts: int = 5, num_steps: int = 6) -> list[Rollout]:
    collector = Collector(policy, environment.vector_env(PLAYED, LANES, options, seed=5, copy=False), num_steps, GAMMA, seed=5)
    played = [on_cpu(collector.collect()) for _ in range(rollouts)]
    collector.close()
    return played


def assert_alike(found: Sequence[Rollout], expected: Sequence[Rollout], tolerance: float = 1e-5) -> None:
    for one, other in zip(found, expected, strict=True):
        found_tensors, expected_tensors = tensors_of(one), tensors_of(other)
        for name in ("observations", "actions", "dones", "episode_starts"):
            assert torch.equal(found_tensors.pop(name), expected_tensors.pop(name)), name
        assert set(found_tensors) == {"values", "next_values", "log_probs", "rewards", "initial_state"}
        torch.testing.assert_close(found_tensors, expected_tensors, rtol=tolerance, atol=tolerance)
        for record, other_record in zip(one.episodes, other.episodes, strict=True):
            assert record == other_record


# -- playing in groups


@pytest.mark.parametrize("lstm", [True, False])
@pytest.mark.parametrize("options", [TIMEOUTS, TRUNCATIONS], ids=["timeouts", "truncations"])
@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_groups_play_what_one_environment_plays(device: torch.device, parts: int, options: GameOptions, lstm: bool) -> None:
    """Observations, episode starts, bootstrapped rewards, values, recurrent state and episodes, with chance taken out."""
    expected = play_plainly(make_policy(lstm=lstm, certain=True), options)
    assert sum(len(rollout.episodes) for rollout in expected) >= 2 * LANES
    for graphs in (False, True):
        policy = make_policy(device, lstm, certain=True)
        found = play(policy, options, parts, graphs=graphs, pinned=device == GPU)
        assert_alike(found, expected, 1e-5 if device == CPU else 1e-3)


@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_what_was_stored_comes_out_again_when_it_is_learnt_from(device: torch.device, parts: int, graphs: bool) -> None:
    """The actions' probabilities, the values, and the value of the state after the rollout, with a policy of chance."""
    policy = make_policy(device)
    rollouts = play(policy, TRUNCATIONS, parts, graphs=graphs, pinned=device == GPU)
    model = policy.model.to(CPU)
    tolerance = 1e-5 if device == CPU else 1e-3
    for rollout in rollouts:
        with torch.no_grad():
            logits, values, _ = model(rollout.observations, rollout.initial_state, rollout.episode_starts)
        torch.testing.assert_close(values, rollout.columns["values"], rtol=tolerance, atol=tolerance)
        log_probs = logits.log_softmax(-1).gather(-1, rollout.actions.unsqueeze(-1)).squeeze(-1)
        torch.testing.assert_close(log_probs, rollout.columns["log_probs"], rtol=tolerance, atol=tolerance)
    for before, after in pairwise(rollouts):
        torch.testing.assert_close(before.next_values, after.columns["values"][0], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_actions_are_drawn_from_the_policy(device: torch.device) -> None:
    options = GameOptions(noop_max=0)
    policy = make_policy(device, lstm=False)
    probabilities = torch.tensor([0.4, 0.3, 0.2, 0.1, 0, 0, 0, 0, 0, 0])
    with torch.no_grad():
        policy.model.actor.weight.zero_()
        policy.model.actor.bias.copy_(probabilities.clamp(min=1e-30).log())
    (rollout,) = play(policy, options, parts=1, rollouts=1, num_steps=200, graphs=True)
    shares = torch.bincount(rollout.actions.flatten(), minlength=10) / rollout.actions.numel()
    torch.testing.assert_close(shares, probabilities, rtol=0, atol=0.08)  # four standard deviations of 800 draws
    torch.testing.assert_close(rollout.columns["log_probs"].exp(), probabilities[rollout.actions])


def test_the_same_seed_plays_the_same_on_the_cpu() -> None:
    first, second = (play(make_policy(), TRUNCATIONS, parts=1) for _ in range(2))
    assert_alike(first, second)


@pytest.mark.skipif(resolve_emulator() == "fceumm", reason="FCEUmm can't be halved")
@pytest.mark.parametrize(("num_stages", "lanes"), [(1, 4), (3, 4), (4, 4), (5, 4), (6, 4), (7, 4), (32, 16)])
def test_parts_of_an_environment_play_its_lanes_stages(num_stages: int, lanes: int) -> None:
    whole = environment.vector_env(STAGES[:num_stages], lanes, TIMEOUTS, seed=2)
    parts = environment.vector_env_parts(STAGES[:num_stages], lanes, 2, TIMEOUTS, seed=2)
    seeds = lane_seeds(2, lanes)
    shown = [part.reset(seed=seeds[i * lanes // 2 : (i + 1) * lanes // 2])[0] for i, part in enumerate(parts)]
    assert np.array_equal(np.concatenate(shown), whole.reset(seed=2)[0])
    for _ in range(3):
        attempts = [stage for part in parts for stage in part.reset()[1]["attempt"]]
        assert attempts == whole.reset()[1]["attempt"].tolist()
    for env in (whole, *parts):
        env.close()


@pytest.mark.parametrize(
    ("options", "device", "groups"),
    [
        ({"emulator": "nes-py"}, GPU, 2),
        ({"emulator": "nes-py"}, CPU, 1),
        ({"emulator": "nes-py", "gpu_overlap": False}, GPU, 1),
        ({"emulator": "nes-py", "lanes": 5}, GPU, 1),
        ({"emulator": "nes-py", "lanes": 1}, GPU, 1),
    ],
)
def test_lanes_play_in_halves_on_a_gpu_if_they_can_be_halved(
    options: dict[str, Any], device: torch.device, groups: int
) -> None:
    assert lane_groups(TrainConfig().with_values(options), device) == groups


# -- recorded functions


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_a_recorded_function_computes_with_the_arguments_of_each_call(device: torch.device) -> None:
    total, calls = torch.zeros(3, device=device), 5

    def add(what: Tensor) -> Tensor:
        total.add_(what)
        return total * 2

    recorded = Graphed(add, device, restored=[total])
    for i in range(calls):
        argument = torch.full((3,), float(i), device=device)
        result = recorded(argument)
        assert torch.equal(argument, torch.full((3,), float(i), device=device))  # the caller's tensor is left alone
    assert total.tolist() == [sum(range(calls))] * 3
    assert torch.equal(result, total * 2)


def test_a_recorded_function_takes_one_shape() -> None:
    recorded = Graphed(lambda x: x + 1, CPU)
    recorded(torch.zeros(3, 2))
    with pytest.raises(ValueError, match="was given"):
        recorded(torch.zeros(1, 2))


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_weights_converted_earlier_are_not_used(device: torch.device) -> None:
    """Inside an autocast that has converted them: a recording must hold the conversion itself."""
    layer = torch.nn.Linear(4, 4, bias=False, device=device)
    ones = torch.ones(1, 4, device=device)
    with torch.no_grad(), autocast(device, torch.bfloat16):
        layer.weight.fill_(1.0)
        assert layer(ones)[0, 0] == 4
        layer.weight.fill_(2.0)
        with fresh_autocast(device, torch.bfloat16):
            assert layer(ones)[0, 0] == 8
        layer.weight.fill_(3.0)
        assert layer(ones)[0, 0] == 12  # nothing was left behind


# -- learning


SMALL = {"network": "conv4", "hidden_size": 16, "lanes": 8, "num_steps": 10}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("lstm", [True, False])
@pytest.mark.parametrize(
    "options", [{}, {"algorithm": "ppo", "epochs": 2, "minibatches": 2, "max_grad_norm": 0.5}], ids=["a3c", "ppo"]
)
@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_recorded_updates_are_the_plain_ones(device: torch.device, options: dict[str, Any], lstm: bool, precision: str) -> None:
    """Over several rollouts and with weights that change in between, to the same tolerance as two plain passes."""
    recorded, plain = (
        make_small(
            TrainConfig().with_values({**SMALL, "lstm": lstm, "precision": precision, "gpu_graphs": graphs, **options}), device
        )
        for graphs in (True, False)
    )
    if device == CPU:  # on a GPU the algorithm does so itself
        recorded._targets = Graphed(recorded._compute_targets, device)
        recorded._recorded_update = Graphed(recorded._compute_update, device)
    tolerance = 2e-2 if precision == "bfloat16" else 1e-4 if device == GPU else 1e-6
    for seed in range(3):
        rollout = make_rollout(recorded, seed)
        found: list[tuple[Any, ...]] = []
        expected: list[tuple[Any, ...]] = []
        for algorithm, results in ((recorded, found), (plain, expected)):
            torch.manual_seed(seed)  # of the choice of lanes
            for metrics in algorithm.updates(rollout):
                results.append((*map(torch.tensor, metrics.values()), algorithm.flat.gradients.clone()))
                algorithm.flat.parameters.sub_(0.01 * algorithm.flat.gradients)
        assert len(found) == len(expected) == (1 if recorded.config.algorithm == "a3c" else 4)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one[:-1], other[:-1], rtol=tolerance, atol=tolerance)
            distance = (one[-1] - other[-1]).norm() / other[-1].norm()
            assert float(distance) < tolerance


class CpuIsNotAsked(TorchDispatchMode):
    """Fails on whatever makes the CPU wait for a tensor's values: it can't be recorded."""

    forbidden = {aten._local_scalar_dense, aten.multinomial, aten.nonzero, aten.masked_select, aten.equal}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert function.overloadpacket not in self.forbidden, function
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("lstm", [True, False])
def test_nothing_that_is_recorded_asks_the_cpu(lstm: bool, precision: str) -> None:
    envs = environment.vector_env_parts(PLAYED, LANES, 1, TIMEOUTS, seed=5, copy=False)
    collector = DoubleBufferedCollector(make_policy(lstm=lstm, precision=precision), envs, 6, GAMMA, seed=5)
    with CpuIsNotAsked():
        collector._groups[0]._choose_actions()
        collector._groups[0]._value_next_states()
    envs[0].close()
    for loss in ("a3c", "ppo"):
        settings = {**SMALL, "algorithm": loss, "lstm": lstm, "precision": precision, "max_grad_norm": 0.5}
        algorithm = make_small(TrainConfig().with_values(settings))  # type: ignore[arg-type]
        rollout = make_rollout(algorithm)
        values = torch.cat((rollout.columns["values"], rollout.next_values[None]))
        with CpuIsNotAsked():
            advantages, returns = algorithm._compute_targets(rollout.rewards, values, rollout.dones)
            experience = rollout.observations, rollout.initial_state, rollout.episode_starts, rollout.actions
            weights = torch.ones_like(returns)
            algorithm._compute_update(*experience, rollout.columns["log_probs"], advantages, returns, weights)
        assert algorithm.flat.gradients.any()
    with pytest.raises(AssertionError), CpuIsNotAsked():
        torch.multinomial(torch.ones(3), 1)
    with pytest.raises(AssertionError), CpuIsNotAsked():
        float(torch.ones(1))


def test_on_the_cpu_nothing_is_copied() -> None:
    flat = make_policy().flat
    transfer = GradientTransfer(flat.gradients, flat.parameters, pinned=True)
    assert transfer.to_cpu() is flat.gradients
    assert not transfer.error
    transfer.close()


def test_tf32_is_float32_where_there_is_no_tf32() -> None:
    assert resolve_precision("tf32", CPU) is torch.float32


# -- who is told what


@pytest.mark.parametrize(
    ("options", "found", "lines"),
    [
        ({"workers": 4}, 0, []),
        ({"workers": 4}, 1, ["GPU 0 is idle: --gpu-ids 0 deals"]),
        ({"workers": 4}, 2, ["GPUs 0 1 are idle: --gpu-ids 0 1 deals"]),
        ({"workers": 3, "gpu_ids": (0, 1)}, 2, ["workers: 2 on GPU 0, 1 on GPU 1; CUDA graphs on, halves in turn on, pinned"]),
        ({"workers": 1, "gpu_ids": (0, 1)}, 2, ["workers: 1 on GPU 0; ", "GPU 1 is idle"]),
        ({"workers": 4, "gpu_ids": (2, -1), "gpu_graphs": False}, 3, ["workers: 2 on GPU 2; CUDA graphs off", "GPUs 0 1 are"]),
    ],
)
def test_a_run_says_what_it_makes_of_the_gpus(options: dict[str, Any], found: int, lines: list[str]) -> None:
    said = describe_gpus(TrainConfig().with_values(options), found)
    assert len(said) == len(lines)
    for line, beginning in zip(said, lines, strict=True):
        assert line.startswith(beginning)


def test_the_benchmark_says_that_there_is_no_gpu() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    done = subprocess.run([sys.executable, "benchmarks/gpu.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "GPU" in done.stderr
    assert done.stderr.count("\n") == 1


# -- with a GPU


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
class TestGpu:
    def test_replays_draw_other_random_numbers(self) -> None:
        first, second = play(make_policy(GPU), TRUNCATIONS, parts=1, rollouts=2, num_steps=20, graphs=True)
        assert not torch.equal(first.actions, second.actions)
        assert len(set(first.actions.flatten().tolist())) > 2

    def test_bfloat16_acts_nearly_as_float32(self) -> None:
        exact, rough = (
            play(make_policy(GPU, certain=True, precision=precision), TIMEOUTS, 1, graphs=True)
            for precision in ("float32", "bfloat16")
        )
        assert_alike(rough, exact, tolerance=0.05)

    def test_shared_memory_is_page_locked_until_released(self) -> None:
        shared = to_shared_memory(torch.arange(1e6))
        registration = Registration(shared, GPU)
        assert registration.error == ""
        assert shared.is_pinned()
        assert torch.equal(torch.zeros(1_000_000, device=GPU).copy_(shared, non_blocking=True).cpu(), shared)
        registration.release()
        assert not shared.is_pinned()

    def test_a_refusal_is_told_and_does_no_harm(self) -> None:
        pinned = host_zeros(1_000, dtype=torch.float32, pinned=True)  # page-locked already
        registration = Registration(pinned, GPU)
        assert "CUDA error" in registration.error
        assert float(torch.ones(10, device=GPU).sum()) == 10
        registration.release()

    def test_gradients_land_complete(self) -> None:
        flat = make_policy(GPU).flat
        for pinned in (True, False):
            transfer = GradientTransfer(flat.gradients, to_shared_memory(flat.parameters.cpu()), pinned)
            flat.gradients.normal_()
            assert torch.equal(transfer.to_cpu(), flat.gradients.cpu())
            transfer.close()

    def test_a_worker_sees_its_own_gpu_only(self) -> None:
        last = torch.cuda.device_count() - 1
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            count, uuid = pool.apply(_what_a_worker_sees, (last,))
        assert count == 1
        assert uuid == str(torch.cuda.get_device_properties(last).uuid)

    @pytest.mark.parametrize(
        "flags", [[], ["--no-gpu-graphs", "--no-gpu-overlap", "--no-gpu-pinned", "--precision", "float32"]]
    )
    @pytest.mark.parametrize("loss", ["a3c", "ppo"])
    def test_training_runs(self, tmp_path: Path, loss: str, flags: list[str]) -> None:
        command = [sys.executable, "main.py", "--env", "SuperMarioBros-1-1-v0", "--workers", "2", "--gpu-ids", "0", *flags]
        command += ["--loss", loss, "--max-minutes", "0.5", "--run-name", "gpu", "--log-dir", str(tmp_path)]
        command += ["--save-model-dir", str(tmp_path), "--no-tensorboard-logger"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "workers: 2 on GPU 0" in done.stdout
        summary = json.loads((tmp_path / "gpu" / "summary.json").read_text())
        assert summary["updates"] > 10
        assert summary["skipped_updates"] == summary["restarts"] == 0
        assert read_curve(tmp_path / "gpu", "system/worker_gpu_mb")[-1][-1] > 10


def _what_a_worker_sees(gpu: int) -> tuple[int, str]:
    device = prepare_device(gpu)
    return torch.cuda.device_count(), str(torch.cuda.get_device_properties(device).uuid)
