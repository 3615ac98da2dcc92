"""A function on tensors as one CUDA graph: all its kernels are recorded at the first call and launched at once ever after.

A small network is bound by launches: hundreds of kernels of a few microseconds each, which the CPU has to hand over one
by one. https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs says what can be recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Generic, TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")

# Before the recording: libraries load, workspaces are made and cudnn picks its algorithms, none of which can be recorded.
WARM_UP_CALLS = 3


class Graphed(Generic[Result]):
    """A function whose calls are all alike: the same shapes, the same kernels, nothing decided by the CPU from a tensor.

    Arguments are copied into tensors of the graph's own, and results lie in tensors that the next call overwrites.
    Whatever else the function reads or writes (weights, gradients, a rollout) is known by its address and must stay
    where it is. The recording calls the function several times, so that a call may not depend on an earlier one, but for
    what `restored` names. On the CPU the function is called with those same tensors, and nothing is recorded.

    No memory is shared with other graphs, so that graphs may be replayed in any order on one stream.
    """

    def __init__(
        self,
        function: Callable[..., Result],
        device: torch.device,
        generators: Sequence[torch.Generator] = (),
        restored: Sequence[Tensor] = (),
    ) -> None:
        """
        Args:
            function: takes tensors on `device`, returns tensors or None.
            generators: what the function draws random numbers from; every replay draws others.
            restored: what a call changes and the next one reads; the recording leaves them as they were.
        """
        self._function, self._device = function, device
        self._generators, self._restored = generators, restored
        self._inputs: tuple[Tensor, ...] | None = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._result: Result

    def __call__(self, *arguments: Tensor) -> Result:
        if self._inputs is None:
            self._inputs = tuple(argument.detach().clone() for argument in arguments)
            if self._device.type == "cuda":
                self._record(self._inputs)
        for mine, argument in zip(self._inputs, arguments, strict=True):
            if mine.shape != argument.shape:  # copy_ would broadcast
                raise ValueError(f"a recorded function was given {tuple(argument.shape)} for {tuple(mine.shape)}")
            mine.copy_(argument)
        if self._graph is None:
            return self._function(*self._inputs)
        self._graph.replay()
        return self._result

    def _record(self, inputs: tuple[Tensor, ...]) -> None:
        """
        Raises:
            RuntimeError: if the function does something that can't be recorded.
        """
        before = [tensor.clone() for tensor in self._restored]
        stream = _recording_stream(self._device)
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP_CALLS):
                self._function(*inputs)
        torch.cuda.current_stream(self._device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        for generator in self._generators:
            graph.register_generator_state(generator)
        try:
            with torch.cuda.graph(graph, stream=stream):
                self._result = self._function(*inputs)
        except RuntimeError as error:
            raise RuntimeError("Recording a CUDA graph failed; --no-gpu-graphs does without.") from error
        for tensor, value in zip(self._restored, before, strict=True):
            tensor.copy_(value)
        self._graph = graph


@cache
def _recording_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream of all warm-ups and recordings; the default one can't be recorded.

    One for all, since the libraries make a workspace (32 MB on some GPUs) for every stream that they see, and make it in
    the warm-up: one made during a recording would lie in that graph's memory.
    """
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
