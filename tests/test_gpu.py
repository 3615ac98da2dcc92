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
from a3g.learning.cuda_graph import Graphed
from a3g.learning.flat import FlatModel
from a3g.learning.group_collector import GroupCollector, lane_groups
from a3g.learning.host_memory import Registration, host_zeros
from a3g.learning.learner import Learner
from a3g.learning.model import ActorCritic, NetworkSpec
from a3g.learning.precision import autocast, fresh_autocast, prepare_gpu_arithmetic, resolve_precision
from a3g.learning.rollout import Collector, Rollout
from a3g.processes.crossing import Crossing
from torch import Tensor, multiprocessing
from torch.utils._python_dispatch import TorchDispatchMode

import environment
from a3g.config import TrainConfig
from a3g.game.emulators import resolve_emulator
from a3g.game.lane import GameOptions
from a3g.game.stages import STAGES, Stage
from a3g.game.vector import lane_seeds
from a3g.networks.shared_optim import to_shared_memory
from a3g.processes.process import describe_gpus, prepare_device
from a3g.reporting.metrics import read_curve

aten = torch.ops.aten
ROOT = Path(__file__).parent.parent
CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
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


def make_model(options: GameOptions, device: torch.device = CPU, lstm: bool = True, certain: bool = False) -> ActorCritic:
    """A small network; if `certain`, one that always takes the same action."""
    torch.manual_seed(0)
    model = ActorCritic(NetworkSpec("conv4", options.observation_shape, options.num_actions, 16, lstm))
    if certain:
        with torch.no_grad():
            model.actor.bias[RUN_RIGHT] = 1e4
    return model.to(device)


def play(
    model: ActorCritic,
    options: GameOptions,
    parts: int,
    rollouts: int = 5,
    num_steps: int = 6,
    **settings: Any,
) -> list[Rollout]:
    """Rollouts of a GroupCollector, copied to the CPU, since the collector uses its tensors again."""
    device = model.input_mean.device
    envs = environment.vector_env_parts(PLAYED, LANES, parts, options, seed=5, copy=False)
    collector = GroupCollector(model, envs, num_steps, GAMMA, device, seed=5, **settings)
    played = [on_cpu(collector.collect(model)) for _ in range(rollouts)]
    for env in envs:
        env.close()
    return played


def play_plainly(model: ActorCritic, options: GameOptions, rollouts: int = 5, num_steps: int = 6) -> list[Rollout]:
    env = environment.vector_env(PLAYED, LANES, options, seed=5, copy=False)
    collector = Collector(env, num_steps, GAMMA, CPU, seed=5)
    played = [on_cpu(collector.collect(model)) for _ in range(rollouts)]
    env.close()
    return played


def on_cpu(rollout: Rollout) -> Rollout:
    values = {name: getattr(rollout, name) for name in Rollout.__slots__}
    return Rollout(**{name: value.to(CPU, copy=True) if isinstance(value, Tensor) else value for name, value in values.items()})


def assert_alike(found: Sequence[Rollout], expected: Sequence[Rollout], tolerance: float = 1e-5) -> None:
    for one, other in zip(found, expected, strict=True):
        for name in ("observations", "actions", "dones", "resets"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name
        for name in ("values", "log_probs", "rewards", "initial_state"):
            torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=tolerance, atol=tolerance)
        for record, other_record in zip(one.episodes, other.episodes, strict=True):
            assert record == other_record


# -- playing in groups


@pytest.mark.parametrize("lstm", [True, False])
@pytest.mark.parametrize("options", [TIMEOUTS, TRUNCATIONS], ids=["timeouts", "truncations"])
@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_groups_play_what_one_environment_plays(device: torch.device, parts: int, options: GameOptions, lstm: bool) -> None:
    """Observations, resets, bootstrapped rewards, values, recurrent state and episodes, with chance taken out."""
    expected = play_plainly(make_model(options, lstm=lstm, certain=True), options)
    assert sum(len(rollout.episodes) for rollout in expected) >= 2 * LANES
    for graphs in (False, True):
        model = make_model(options, device, lstm, certain=True)
        found = play(model, options, parts, graphs=graphs, pinned=device == GPU)
        assert_alike(found, expected, 1e-5 if device == CPU else 1e-3)


@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_what_was_stored_comes_out_again_when_it_is_learnt_from(device: torch.device, parts: int, graphs: bool) -> None:
    """The actions' probabilities, the values, and the value of the state after the rollout, with a policy of chance."""
    model = make_model(TRUNCATIONS, device)
    rollouts = play(model, TRUNCATIONS, parts, graphs=graphs, pinned=device == GPU)
    model = model.to(CPU)
    tolerance = 1e-5 if device == CPU else 1e-3
    for rollout in rollouts:
        with torch.no_grad():
            logits, values, _ = model(rollout.observations, rollout.initial_state, rollout.resets)
        torch.testing.assert_close(values, rollout.values[:-1], rtol=tolerance, atol=tolerance)
        log_probs = logits.log_softmax(-1).gather(-1, rollout.actions.unsqueeze(-1)).squeeze(-1)
        torch.testing.assert_close(log_probs, rollout.log_probs, rtol=tolerance, atol=tolerance)
    for before, after in pairwise(rollouts):
        torch.testing.assert_close(before.values[-1], after.values[0], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_actions_are_drawn_from_the_policy(device: torch.device) -> None:
    options = GameOptions(noop_max=0)
    model = make_model(options, device, lstm=False)
    probabilities = torch.tensor([0.4, 0.3, 0.2, 0.1, 0, 0, 0, 0, 0, 0])
    with torch.no_grad():
        model.actor.weight.zero_()
        model.actor.bias.copy_(probabilities.clamp(min=1e-30).log())
    (rollout,) = play(model, options, parts=1, rollouts=1, num_steps=200, graphs=True)
    shares = torch.bincount(rollout.actions.flatten(), minlength=10) / rollout.actions.numel()
    torch.testing.assert_close(shares, probabilities, rtol=0, atol=0.08)  # four standard deviations of 800 draws
    torch.testing.assert_close(rollout.log_probs.exp(), probabilities[rollout.actions])


def test_the_same_seed_plays_the_same_on_the_cpu() -> None:
    first, second = (play(make_model(TRUNCATIONS), TRUNCATIONS, parts=1) for _ in range(2))
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
    assert lane_groups(TrainConfig(**options), device) == groups


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


def make_rollout(model: ActorCritic, settings: TrainConfig, seed: int) -> Rollout:
    """Random experience on the model's device."""
    random = torch.Generator().manual_seed(seed)
    steps, lanes, device = settings.num_steps, settings.lanes, model.input_mean.device
    dones = torch.rand(steps, lanes, generator=random) < 0.1
    rollout = {
        "observations": torch.randint(0, 256, (steps, lanes, *SHAPE), dtype=torch.uint8, generator=random),
        "actions": torch.randint(0, 5, (steps, lanes), generator=random),
        "log_probs": -1.6 + 0.2 * torch.randn(steps, lanes, generator=random),
        "rewards": torch.randn(steps, lanes, generator=random),
        "dones": dones,
        "resets": torch.cat((torch.rand(1, lanes, generator=random) < 0.5, dones[:-1])),
        "values": torch.randn(steps + 1, lanes, generator=random),
        "initial_state": torch.randn(model.initial_state(lanes).shape, generator=random),
    }
    return Rollout(**{name: tensor.to(device) for name, tensor in rollout.items()}, episodes=[])


SHAPE = (2, 20, 20)


def make_learner(settings: TrainConfig, device: torch.device, lstm: bool, precision: torch.dtype) -> tuple[Learner, FlatModel]:
    torch.manual_seed(1)
    model = ActorCritic(NetworkSpec("conv4", SHAPE, num_actions=5, hidden_size=16, lstm=lstm)).to(device)
    flat = FlatModel(model)
    return Learner(model, flat, settings, precision), flat


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("lstm", [True, False])
@pytest.mark.parametrize(
    "options", [{}, {"loss": "ppo", "epochs": 2, "minibatches": 2, "max_grad_norm": 0.5}], ids=["a3c", "ppo"]
)
@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_recorded_updates_are_the_plain_ones(
    device: torch.device, options: dict[str, Any], lstm: bool, precision: torch.dtype
) -> None:
    """Over several rollouts and with weights that change in between, to the same tolerance as two plain passes."""
    settings = TrainConfig(lanes=8, num_steps=10, gpu_graphs=True, **options)
    recorded, flat = make_learner(settings, device, lstm, precision)
    if device == CPU:  # on a GPU the learner does so itself
        recorded._targets = Graphed(recorded._compute_targets, device)
        recorded._recorded_update = Graphed(recorded._compute_update, device)
    plain, plain_flat = make_learner(TrainConfig(lanes=8, num_steps=10, gpu_graphs=False, **options), device, lstm, precision)
    tolerance = 2e-2 if precision is torch.bfloat16 else 1e-4 if device == GPU else 1e-6
    for seed in range(3):
        rollout = make_rollout(recorded._model, settings, seed)
        found: list[tuple[Any, ...]] = []
        expected: list[tuple[Any, ...]] = []
        for learner, own, results in ((recorded, flat, found), (plain, plain_flat, expected)):
            torch.manual_seed(seed)  # of the choice of lanes
            for loss, norm in learner.learn(rollout):
                results.append((*loss, norm, own.gradients.clone()))
                own.values.sub_(0.01 * own.gradients)
        assert len(found) == len(expected) == (1 if settings.loss == "a3c" else 4)
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


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("lstm", [True, False])
def test_nothing_that_is_recorded_asks_the_cpu(lstm: bool, precision: torch.dtype) -> None:
    envs = environment.vector_env_parts(PLAYED, LANES, 1, TIMEOUTS, seed=5, copy=False)
    collector = GroupCollector(make_model(TIMEOUTS, lstm=lstm), envs, 6, GAMMA, CPU, seed=5, precision=precision)
    with CpuIsNotAsked():
        collector._groups[0]._choose_actions()
        collector._groups[0]._value_what_follows()
    envs[0].close()
    for loss in ("a3c", "ppo"):
        settings = TrainConfig(lanes=8, num_steps=10, loss=loss, max_grad_norm=0.5)
        learner, flat = make_learner(settings, CPU, lstm, precision)
        rollout = make_rollout(learner._model, settings, seed=0)
        with CpuIsNotAsked():
            advantages, returns = learner._compute_targets(rollout.rewards, rollout.values, rollout.dones)
            experience = rollout.observations, rollout.initial_state, rollout.resets, rollout.actions, rollout.log_probs
            learner._compute_update(*experience, advantages, returns)
        assert flat.gradients.any()
    with pytest.raises(AssertionError), CpuIsNotAsked():
        torch.multinomial(torch.ones(3), 1)
    with pytest.raises(AssertionError), CpuIsNotAsked():
        float(torch.ones(1))


def test_on_the_cpu_nothing_crosses() -> None:
    flat = FlatModel(make_model(TIMEOUTS))
    crossing = Crossing(flat, flat.values, CPU, pinned=True)
    assert crossing.gradients() is flat.gradients
    assert not crossing.error
    crossing.close()


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
    said = describe_gpus(TrainConfig(**options), found)
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
        model = make_model(TRUNCATIONS, GPU)
        first, second = play(model, TRUNCATIONS, parts=1, rollouts=2, num_steps=20, graphs=True)
        assert not torch.equal(first.actions, second.actions)
        assert len(set(first.actions.flatten().tolist())) > 2

    def test_bfloat16_acts_nearly_as_float32(self) -> None:
        exact, rough = (
            play(make_model(TIMEOUTS, GPU, certain=True), TIMEOUTS, 1, precision=precision, graphs=True)
            for precision in (torch.float32, torch.bfloat16)
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
        flat = FlatModel(make_model(TIMEOUTS, GPU))
        for pinned in (True, False):
            crossing = Crossing(flat, to_shared_memory(flat.values.cpu()), GPU, pinned)
            flat.gradients.normal_()
            assert torch.equal(crossing.gradients(), flat.gradients.cpu())
            crossing.close()

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
