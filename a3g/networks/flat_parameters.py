"""A network's parameters as one vector and its gradients as another, so that each is copied between memories at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Each parameter starts on a cache line (16 floats of 4 bytes), which the convolution kernels like.
_ALIGNMENT = 16


class FlatParameters:
    """Lays a model's parameters out in one float32 vector and gives them gradients in another.

    The model's parameters become views of `parameters`, their `.grad` views of `gradients`, in registration order and
    each in its own contiguous layout. Backward passes add into the gradients in place; `zero_gradients` must be called
    before each. Padding between parameters stays 0 in both.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        parameters = list(model.parameters())
        device = parameters[0].device
        size = sum(_padded(parameter.numel()) for parameter in parameters)
        self.parameters = torch.zeros(size, device=device)
        self.gradients = torch.zeros(size, device=device)
        offset = 0
        for parameter in parameters:
            part = slice(offset, offset + parameter.numel())
            self.parameters[part].view(parameter.shape).copy_(parameter.data)
            parameter.data = self.parameters[part].view(parameter.shape)
            parameter.grad = self.gradients[part].view(parameter.shape)
            offset += _padded(parameter.numel())

    def zero_gradients(self) -> None:
        self.gradients.zero_()

    def clip_gradients(self, max_norm: float) -> Tensor:
        """Scale the gradients down to `max_norm` if they are longer (0: leave them); returns their norm before."""
        norm: Tensor = torch.linalg.vector_norm(self.gradients)
        if max_norm > 0:
            self.gradients.mul_((max_norm / (norm + 1e-6)).clamp(max=1.0))
        return norm


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
