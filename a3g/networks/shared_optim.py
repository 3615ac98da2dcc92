"""Adam and RMSprop whose whole state lies in shared memory, for lock-free (Hogwild) training by many processes.

They are torch's own optimizers: only where the state lives and when it is made is different. Torch makes an optimizer's
state at the first step, so that every process that starts before it would make, and keep, a state of its own; here
it is there from the start, the step count included, and processes that receive the optimizer share it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["SharedAdam", "SharedRMSprop", "to_shared_memory"]


class SharedAdam(torch.optim.Adam):
    """Adam (Kingma & Ba 2015) or AMSGrad (Reddi et al. 2018) with shared state.

    Args:
        params: tensors to optimize, on the CPU. With `fused`, gradients must have the parameters' own memory layout:
            the fused kernel walks memory linearly and would scramble anything else without an error.
        lr, betas, eps, weight_decay, amsgrad, fused: as in `torch.optim.Adam`.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-3,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        fused: bool = True,
    ) -> None:
        _import_no_compiler()
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad, fused=fused)
        names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq") if amsgrad else ("exp_avg", "exp_avg_sq")
        _share_state(self, names)

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for parameter in group["params"] if group["fused"] else ():
                gradient = parameter.grad
                if gradient is not None and gradient.stride() != parameter.stride():
                    raise ValueError(
                        f"a gradient with strides {gradient.stride()} on a parameter with strides {parameter.stride()}: "
                        "fused Adam would apply it to the wrong weights"
                    )
        return _step(self, torch.optim.Adam.step, closure)


class SharedRMSprop(torch.optim.RMSprop):
    """RMSprop with shared state.

    Args:
        params: tensors to optimize, on the CPU.
        lr, alpha, eps, weight_decay, momentum, centered: as in `torch.optim.RMSprop`; the default eps is the original A3G's.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-4,
        alpha: float = 0.99,
        eps: float = 0.1,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        _import_no_compiler()
        super().__init__(params, lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum, centered=centered)
        names = ["square_avg"]
        if momentum > 0:
            names.append("momentum_buffer")
        if centered:
            names.append("grad_avg")
        _share_state(self, names)

    def step(self, closure: Any = None) -> Any:
        return _step(self, torch.optim.RMSprop.step, closure)


def _import_no_compiler() -> None:
    """Keep `torch.optim` from importing torch.compile's machinery, for 1.3 s of start-up, only to tell it to stay out.

    Its decorator `torch._disable_dynamo` imports it when a function has no version yet that the compiler leaves alone.
    Nothing here is compiled, so that version is the function itself.
    """
    for method in (torch.optim.Optimizer.add_param_group, torch.optim.Optimizer.zero_grad):
        function = getattr(method, "__wrapped__", None)
        if function is not None and not hasattr(function, "__dynamo_disable"):
            setattr(function, "__dynamo_disable", function)


def _step(optimizer: torch.optim.Optimizer, step: Any, closure: Any) -> Any:
    """torch's own step, without the wrapper around it that imports torch.compile's machinery and switches gradients off."""
    with torch.no_grad():
        return getattr(step, "__wrapped__", step)(optimizer, closure)


def _share_state(optimizer: torch.optim.Optimizer, names: Iterable[str]) -> None:
    """Make the state that torch would make at the first step, in shared memory."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state[parameter]
            state["step"] = to_shared_memory(torch.zeros((), dtype=torch.float32))
            for name in names:
                state[name] = to_shared_memory(torch.zeros_like(parameter, memory_format=torch.preserve_format).detach())


def to_shared_memory(tensor: Tensor) -> Tensor:
    """Move a tensor into memory that child processes share when they receive it."""
    return tensor.share_memory_()  # type: ignore[no-any-return, no-untyped-call]
