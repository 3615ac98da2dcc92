"""The model that all workers train: one vector of weights in shared memory, an optimizer on it, the input statistics."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from a3g.config import TrainConfig
from a3g.networks.flat_parameters import FlatParameters
from a3g.networks.pixel_network import PixelNetwork
from a3g.networks.shared_optim import SharedAdam, SharedRMSprop, to_shared_memory
from a3g.processes.process_lock import ProcessLock


class SharedModel:
    """On the CPU, in shared memory. Nobody locks it (Hogwild, Niu et al. 2011), unless `hogwild` is off."""

    def __init__(self, model: PixelNetwork, config: TrainConfig) -> None:
        self.spec = model.spec
        flat = FlatParameters(model)
        self.weights = nn.Parameter(to_shared_memory(flat.parameters.clone()))
        self.optimizer = make_optimizer(self.weights, config) if config.shared_optimizer else None
        self.lock: AbstractContextManager[object] = nullcontext()
        """Held while weights are changed or read; by default nobody waits for anybody."""
        if not config.hogwild:
            self.lock = ProcessLock()
        statistics = torch.stack((model.input_mean, model.input_variance, torch.tensor(1.0))).double()
        self.input_statistics = to_shared_memory(statistics)
        """float64 (3,): mean, variance and weight (in pictures) of the input normalisation."""

    def copy_to(self, local: FlatParameters) -> None:
        """Copy the newest weights into a process's own model; other workers may be writing meanwhile."""
        with self.lock:
            # A GPU may read them later, ahead of all that it does with them, unless reading needs the lock.
            local.parameters.copy_(self.weights.detach(), non_blocking=isinstance(self.lock, nullcontext))
        model = local.model
        assert isinstance(model, PixelNetwork)
        mean, variance, _ = self.input_statistics.tolist()
        model.input_mean.fill_(mean)
        model.input_variance.fill_(variance)

    def observe(self, pictures: Tensor) -> None:
        """Let pictures, uint8 of any shape, count for the input statistics (Chan et al. 1979, parallel variance)."""
        values = pictures.float()
        mean, variance, weight = self.input_statistics.tolist()
        batch_weight = float(pictures.shape[0] * pictures.shape[1])
        batch_mean, batch_variance = float(values.mean()), float(values.var())
        total = weight + batch_weight
        delta = batch_mean - mean
        new_mean = mean + delta * batch_weight / total
        moments = variance * weight + batch_variance * batch_weight + delta**2 * weight * batch_weight / total
        self.input_statistics.copy_(torch.tensor([new_mean, moments / total, total], dtype=torch.float64))

    def tensors(self) -> dict[str, Tensor]:
        """Weights, input statistics and the optimizer's state, by their names in a checkpoint."""
        tensors = {"model.weights": self.weights.detach(), "model.input_statistics": self.input_statistics}
        if self.optimizer is not None:  # else every worker has its own
            tensors |= {f"optimizer.{name}": tensor for name, tensor in self.optimizer.state[self.weights].items()}
        return tensors


def make_optimizer(weights: nn.Parameter, config: TrainConfig) -> SharedAdam | SharedRMSprop:
    if config.optimizer == "RMSprop":
        return SharedRMSprop([weights], lr=config.lr, eps=config.rmsprop_eps)
    return SharedAdam([weights], lr=config.lr, eps=config.adam_eps, amsgrad=config.amsgrad)
