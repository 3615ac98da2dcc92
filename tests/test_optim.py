"""Shared optimizers: torch's own arithmetic, state that all processes share, and many processes on one model."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor, multiprocessing, nn

from shared_optim import SharedAdam, SharedRMSprop

Shared = SharedAdam | SharedRMSprop
SPAWN = multiprocessing.get_context("spawn")

# A least-squares problem: its only minimum is SOLUTION, where every sample's gradient is 0.
SIZE = 20
_RANDOM = torch.Generator().manual_seed(0)
SOLUTION = 3.0 * torch.randn(SIZE, generator=_RANDOM)
SAMPLES = torch.randn(200, SIZE, generator=_RANDOM)


def parameters(seed: int) -> list[nn.Parameter]:
    """Some tensors of different shapes, one of them channels-last."""
    random = torch.Generator().manual_seed(seed)
    convolution = torch.randn(4, 3, 3, 3, generator=random).to(memory_format=torch.channels_last)
    return [
        nn.Parameter(torch.randn(7, 5, generator=random)),
        nn.Parameter(torch.randn(11, generator=random)),
        nn.Parameter(convolution),
    ]


def copies(originals: list[nn.Parameter]) -> list[nn.Parameter]:
    return [nn.Parameter(each.detach().clone(memory_format=torch.preserve_format)) for each in originals]


def set_gradients(many: list[list[nn.Parameter]], step: int) -> None:
    """The same gradients for several lists of parameters, in the parameters' own layouts."""
    random = torch.Generator().manual_seed(1000 + step)
    for same in zip(*many, strict=True):
        gradient = torch.randn(same[0].shape, generator=random) * (1.0 + step % 3)
        for each in same:
            each.grad = torch.empty_like(each, memory_format=torch.preserve_format).copy_(gradient)


def assert_same_over_many_steps(
    ours: Shared, our: list[nn.Parameter], torchs: torch.optim.Optimizer, their: list[nn.Parameter]
) -> None:
    for step in range(60):
        set_gradients([our, their], step)
        ours.step()
        torchs.step()
    for mine, reference in zip(our, their, strict=True):
        torch.testing.assert_close(mine, reference, rtol=0, atol=0)
        assert set(ours.state[mine]) == set(torchs.state[reference])
        for name, value in torchs.state[reference].items():
            torch.testing.assert_close(ours.state[mine][name], value, rtol=0, atol=0)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("amsgrad", [True, False])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_shared_adam_is_torchs_adam(amsgrad: bool, fused: bool, weight_decay: float) -> None:
    our, settings = parameters(1), {"lr": 1e-2, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": weight_decay}
    their = copies(our)
    ours = SharedAdam(our, amsgrad=amsgrad, fused=fused, **settings)
    torchs = torch.optim.Adam(their, amsgrad=amsgrad, fused=fused, **settings)
    assert_same_over_many_steps(ours, our, torchs, their)


@pytest.mark.parametrize("amsgrad", [True, False])
def test_fused_and_unfused_adam_agree(amsgrad: bool) -> None:
    fused = parameters(2)
    unfused = copies(fused)
    optimizers = SharedAdam(fused, lr=1e-2, amsgrad=amsgrad), SharedAdam(unfused, lr=1e-2, amsgrad=amsgrad, fused=False)
    for step in range(60):
        set_gradients([fused, unfused], step)
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(fused, unfused)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("centered", [True, False])
def test_shared_rmsprop_is_torchs_rmsprop(momentum: float, centered: bool) -> None:
    our, settings = parameters(3), {"lr": 1e-2, "alpha": 0.9, "eps": 0.1, "weight_decay": 0.01}
    their = copies(our)
    ours = SharedRMSprop(our, momentum=momentum, centered=centered, **settings)
    torchs = torch.optim.RMSprop(their, momentum=momentum, centered=centered, **settings)
    assert_same_over_many_steps(ours, our, torchs, their)


def test_the_defaults_are_seed_002s() -> None:
    adam, rmsprop = SharedAdam(parameters(4)).defaults, SharedRMSprop(parameters(4)).defaults
    assert (adam["lr"], adam["eps"], adam["betas"]) == (1e-4, 1e-3, (0.9, 0.999))
    assert (rmsprop["lr"], rmsprop["eps"], rmsprop["alpha"]) == (1e-4, 0.1, 0.99)


def make(kind: str, params: list[nn.Parameter]) -> Shared:
    if kind == "rmsprop":
        return SharedRMSprop(params, lr=1e-2, eps=1e-3, momentum=0.5, centered=True)
    return SharedAdam(params, lr=2e-2, amsgrad=kind.startswith("amsgrad"), fused=not kind.endswith("unfused"))


KINDS = ["adam", "adam unfused", "amsgrad", "amsgrad unfused", "rmsprop"]
STATES = {
    "adam": {"step", "exp_avg", "exp_avg_sq"},
    "amsgrad": {"step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"},
    "rmsprop": {"step", "square_avg", "momentum_buffer", "grad_avg"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_all_state_is_there_and_shared_before_any_step(kind: str) -> None:
    params = parameters(5)
    optimizer = make(kind, params)
    for parameter in params:
        state = optimizer.state[parameter]
        assert set(state) == STATES[kind.split(maxsplit=1)[0]]
        assert all(tensor.is_shared() for tensor in state.values())
        assert all(not tensor.any() for tensor in state.values())


def one_step(weights: nn.Parameter, optimizer: Shared) -> None:
    """A child process's update."""
    weights.grad = torch.ones_like(weights)
    optimizer.step()


@pytest.mark.parametrize("kind", ["adam", "amsgrad unfused", "rmsprop"])
def test_a_childs_step_is_the_parents_too(kind: str) -> None:
    """Regression: with state made after the processes start, every process has its own moments and step count."""
    weights = nn.Parameter(torch.zeros(SIZE).share_memory_())
    optimizer = make(kind, [weights])
    child = SPAWN.Process(target=one_step, args=(weights, optimizer))
    child.start()
    child.join()
    assert child.exitcode == 0
    state = optimizer.state[weights]
    assert float(state["step"]) == 1
    assert all(bool(tensor.any()) for name, tensor in state.items())
    assert bool(weights.any())

    one_step(weights, optimizer)  # the parent goes on where the child was: as one process doing two steps
    alone = nn.Parameter(torch.zeros(SIZE))
    reference = make(kind, [alone])
    one_step(alone, reference)
    one_step(alone, reference)
    torch.testing.assert_close(weights, alone)
    torch.testing.assert_close(dict(state), dict(reference.state[alone]))


def hammer(number: int, weights: nn.Parameter, optimizer: Shared, steps: int) -> None:
    """A worker: gradients of a few random samples at a time, without locks, on its own copy of the weights."""
    torch.set_num_threads(1)
    random = torch.Generator().manual_seed(number)
    for _ in range(steps):
        chosen = SAMPLES[torch.randint(len(SAMPLES), (16,), generator=random)]
        errors = chosen @ (weights.detach().clone() - SOLUTION)
        weights.grad = chosen.T @ errors / len(chosen)
        optimizer.step()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["adam", "rmsprop"])
def test_many_processes_on_one_model_find_the_minimum(kind: str) -> None:
    weights = nn.Parameter(torch.zeros(SIZE).share_memory_())
    optimizer = make(kind, [weights])
    workers, steps = 3, 1000
    processes = [SPAWN.Process(target=hammer, args=(i, weights, optimizer, steps)) for i in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * workers
    torch.testing.assert_close(weights.detach(), SOLUTION, rtol=0, atol=0.05)
    # Racing processes may lose a count here and there, but they do count together.
    assert steps < float(optimizer.state[weights]["step"]) <= workers * steps


def test_fused_adam_refuses_a_gradient_in_another_layout() -> None:
    """Regression: the fused kernel would apply it to the wrong weights, without a word."""
    weights = nn.Parameter(torch.randn(8, 4, 3, 3))
    before = weights.detach().clone()
    optimizer = SharedAdam([weights])
    weights.grad = torch.randn(8, 4, 3, 3).to(memory_format=torch.channels_last)
    with pytest.raises(ValueError, match="strides"):
        optimizer.step()
    torch.testing.assert_close(weights.detach(), before, rtol=0, atol=0)
    assert float(optimizer.state[weights]["step"]) == 0


def test_unfused_adam_takes_a_gradient_in_another_layout() -> None:
    random = torch.Generator().manual_seed(3)
    ours = nn.Parameter(torch.randn(8, 4, 3, 3, generator=random))
    theirs = nn.Parameter(ours.detach().clone())
    gradient = torch.randn(8, 4, 3, 3, generator=random)
    ours.grad, theirs.grad = gradient.to(memory_format=torch.channels_last), gradient
    SharedAdam([ours], fused=False).step()
    SharedAdam([theirs], fused=False).step()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_parameters_without_a_gradient_stay() -> None:
    first, second = parameters(6)[:2]
    before = second.detach().clone()
    optimizer = SharedAdam([first, second])
    first.grad = torch.ones_like(first)
    optimizer.step()
    torch.testing.assert_close(second.detach(), before, rtol=0, atol=0)
    assert [float(optimizer.state[each]["step"]) for each in (first, second)] == [1, 0]


def test_a_closure_is_called_and_its_loss_returned() -> None:
    weights = nn.Parameter(torch.ones(3))
    optimizer = SharedRMSprop([weights])

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = weights.square().sum()
        loss.backward()
        return loss

    assert float(optimizer.step(closure).detach()) == 3.0
    assert bool((weights < 1).all())


def test_optimizers_do_not_import_the_compiler() -> None:
    """Regression: making one, and its first step, imported torch.compile's machinery, for more than a second each."""
    program = (
        "import sys, torch\n"
        "from shared_optim import SharedAdam, SharedRMSprop\n"
        "for kind in (SharedAdam, SharedRMSprop):\n"
        "    weights = torch.nn.Parameter(torch.ones(3))\n"
        "    weights.grad = torch.ones(3)\n"
        "    optimizer = kind([weights])\n"
        "    optimizer.step()\n"
        "    optimizer.zero_grad()\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
