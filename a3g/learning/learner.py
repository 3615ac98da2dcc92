"""From a rollout to gradients: one update of A3G's own loss, or several of the clipped objective."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from a3g.config import TrainConfig
from a3g.learning.flat import FlatModel
from a3g.learning.losses import LossParts, actor_critic_loss, gae, ppo_loss
from a3g.learning.model import ActorCritic
from a3g.learning.precision import autocast
from a3g.learning.rollout import Rollout

# Gradients of an update are added up over passes of about this many samples, for memory: one pass over the 320 samples
# of seed 002's network took 150 MB more. Does not apply to a graph that was kept while playing.
SAMPLES_PER_PASS = 128


class Learner:
    """Computes the gradients of a worker's own copy of the model."""

    def __init__(self, model: ActorCritic, flat: FlatModel, config: TrainConfig, precision: torch.dtype) -> None:
        self._model, self._flat, self._config, self._precision = model, flat, config, precision
        self._device = flat.values.device
        # On a GPU one large pass is the fastest.
        on_gpu = self._device.type == "cuda"
        self._lanes_per_pass = config.lanes if on_gpu else max(1, SAMPLES_PER_PASS // config.num_steps)
        self.wants_graph = config.loss == "a3c" and config.keep_activations and not on_gpu
        """Whether rollouts shall hold the outputs with their graph: they are used once, before the weights change."""

    def learn(self, rollout: Rollout) -> Iterator[tuple[LossParts, float]]:
        """Leave the gradients of one update after the other in the flat model.

        Yields:
            the loss and the gradients' norm before clipping, each time when an update's gradients are ready; the
            weights may be changed before the next is asked for
        """
        config = self._config
        with autocast(self._device, self._precision), torch.no_grad():
            pictures = rollout.observations if rollout.outputs is not None else self._model.prepare(rollout.observations)
        advantages = gae(rollout.rewards, rollout.values, rollout.dones, config.gamma, config.tau)
        returns = advantages + rollout.values[:-1]
        for lanes in self._batches():
            batch = advantages[:, lanes]
            if config.loss == "ppo":
                batch = (batch - batch.mean()) / (batch.std(correction=0) + 1e-8)
            self._flat.zero_gradients()
            loss = self._backward(rollout, pictures, lanes, batch, returns[:, lanes])
            yield loss, float(self._flat.clip_gradients(config.max_grad_norm))

    def _batches(self) -> Iterator[Tensor]:
        """The lanes of each update: all of them once, or shares of them in random order, several times."""
        if self._config.loss == "a3c":
            yield torch.arange(self._config.lanes, device=self._device)
            return
        for _ in range(self._config.epochs):
            yield from torch.randperm(self._config.lanes, device=self._device).chunk(self._config.minibatches)

    def _backward(self, rollout: Rollout, pictures: Tensor, lanes: Tensor, advantages: Tensor, returns: Tensor) -> LossParts:
        """Add up the gradients of the mean loss over `lanes`, some lanes at a time."""
        if rollout.outputs is not None:
            loss = self._loss(*rollout.outputs, rollout, lanes, advantages, returns)
            loss.total.backward()  # type: ignore[no-untyped-call]
            return loss
        sums = torch.zeros(len(LossParts._fields), device=self._device)
        for part in torch.split(torch.arange(len(lanes), device=self._device), self._lanes_per_pass):
            with autocast(self._device, self._precision):
                chosen = lanes[part]
                logits, values, _ = self._model(
                    _take_lanes(pictures, chosen), rollout.initial_state[:, chosen], rollout.resets[:, chosen]
                )
                loss = self._loss(logits, values, rollout, chosen, advantages[:, part], returns[:, part])
            share = len(part) / len(lanes)
            (loss.total * share).backward()  # type: ignore[no-untyped-call]
            sums += torch.stack(loss).detach() * share
        return LossParts(*sums)

    def _loss(
        self, logits: Tensor, values: Tensor, rollout: Rollout, lanes: Tensor, advantages: Tensor, returns: Tensor
    ) -> LossParts:
        actions = rollout.actions[:, lanes]
        coefficients = self._config.value_coef, self._config.entropy_coef
        if self._config.loss == "a3c":
            return actor_critic_loss(logits, values, actions, advantages, returns, *coefficients)
        log_probs = rollout.log_probs[:, lanes]
        return ppo_loss(logits, values, actions, advantages, returns, log_probs, self._config.clip, *coefficients)


def _take_lanes(pictures: Tensor, lanes: Tensor) -> Tensor:
    """`pictures[:, lanes]` with the layout kept: whole pictures are copied, not single numbers."""
    return pictures.permute(0, 1, 3, 4, 2).index_select(1, lanes).permute(0, 1, 4, 2, 3)
