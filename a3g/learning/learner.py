"""From a rollout to gradients: one update of A3G's own loss, or several of the clipped objective."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from a3g.config import TrainConfig
from a3g.learning.cuda_graph import Graphed
from a3g.learning.flat import FlatModel
from a3g.learning.losses import LossParts, actor_critic_loss, gae, ppo_loss
from a3g.learning.model import ActorCritic
from a3g.learning.precision import fresh_autocast
from a3g.learning.rollout import Rollout

# Gradients of an update are added up over passes of about this many samples, for memory: one pass over the 320 samples
# of seed 002's network took 150 MB more. Does not apply to a graph that was kept while playing.
SAMPLES_PER_PASS = 128
# With fewer lanes, gradients of the encoder step by step cost more than computing all steps again at once.
LANES_TO_KEEP = 4


class _Batch(NamedTuple):
    """What is learnt from: all steps of some lanes, the second dimension of each tensor; see `Rollout`."""

    observations: Tensor
    initial_state: Tensor
    resets: Tensor
    actions: Tensor
    log_probs: Tensor
    advantages: Tensor
    returns: Tensor

    def take(self, lanes: Tensor) -> _Batch:
        return _Batch(*(tensor.index_select(1, lanes) for tensor in self))


class Learner:
    """Computes the gradients of a worker's own copy of the model."""

    def __init__(self, model: ActorCritic, flat: FlatModel, config: TrainConfig, precision: torch.dtype) -> None:
        self._model, self._flat, self._config, self._precision = model, flat, config, precision
        self._device = flat.values.device
        # On a GPU one large pass is the fastest.
        self._on_gpu = self._device.type == "cuda"
        self._lanes_per_pass = config.lanes if self._on_gpu else max(1, SAMPLES_PER_PASS // config.num_steps)
        keeps = config.keep_activations and config.lanes >= LANES_TO_KEEP
        self.wants_graph = config.loss == "a3c" and keeps and not self._on_gpu
        """Whether rollouts shall hold features with their graph: they are used once, before the weights change."""
        self._targets: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]] = self._compute_targets
        self._recorded_update: Graphed[Tensor] | None = None
        if self._on_gpu and config.gpu_graphs:
            self._targets = Graphed(self._compute_targets, self._device)
            self._recorded_update = Graphed(self._compute_update, self._device)

    def learn(self, rollout: Rollout) -> Iterator[tuple[LossParts, float]]:
        """Leave the gradients of one update after the other in the flat model.

        Yields:
            the loss and the gradients' norm before clipping, each time when an update's gradients are ready; the
            weights may be changed before the next is asked for
        """
        advantages, returns = self._targets(rollout.rewards, rollout.values, rollout.dones)
        whole = _Batch(
            rollout.observations,
            rollout.initial_state,
            rollout.resets,
            rollout.actions,
            rollout.log_probs,
            advantages,
            returns,
        )
        for lanes in self._batches():
            if rollout.features is not None:
                update = self._update_from_kept(rollout.features, whole)
            elif self._recorded_update is not None:
                update = self._recorded_update(*self._normalised(whole, lanes).take(lanes))
            else:
                batch = self._normalised(whole, lanes)
                passes = (batch.take(part) for part in lanes.split(self._lanes_per_pass))  # type: ignore[no-untyped-call]
                update = self._update_in_passes(passes, len(lanes))
            # In one vector, so that all of it reaches the CPU together.
            *loss, norm = update.cpu().unbind()
            yield LossParts(*loss), float(norm)

    def _batches(self) -> Iterator[Tensor]:
        """The lanes of each update: all of them once, or shares of them in random order, several times."""
        if self._config.loss == "a3c":
            yield torch.arange(self._config.lanes, device=self._device)
            return
        for _ in range(self._config.epochs):
            yield from torch.randperm(self._config.lanes, device=self._device).chunk(self._config.minibatches)

    def _compute_targets(self, rewards: Tensor, values: Tensor, dones: Tensor) -> tuple[Tensor, Tensor]:
        """Advantages and returns, (T, lanes) each."""
        advantages = gae(rewards, values, dones, self._config.gamma, self._config.tau)
        return advantages, advantages + values[:-1]

    def _normalised(self, whole: _Batch, lanes: Tensor) -> _Batch:
        """The clipped objective takes the advantages of an update's lanes with mean 0 and deviation 1."""
        if self._config.loss == "a3c":
            return whole
        chosen = whole.advantages[:, lanes]
        return whole._replace(advantages=(whole.advantages - chosen.mean()) / (chosen.std(correction=0) + 1e-8))

    def _compute_update(self, *batch: Tensor) -> Tensor:
        """An update in one pass, from the tensors of a `_Batch`."""
        return self._update_in_passes([_Batch(*batch)], batch[0].shape[1])

    def _update_in_passes(self, parts: Iterable[_Batch], lanes: int) -> Tensor:
        """Leave the gradients of the mean loss over `lanes` in the flat model, added up over parts of them.

        Returns:
            the parts of the loss and the gradients' norm before clipping
        """
        self._flat.zero_gradients()
        sums = torch.zeros(len(LossParts._fields), device=self._device)
        for part in parts:
            with fresh_autocast(self._device, self._precision):
                logits, values, _ = self._model(part.observations, part.initial_state, part.resets)
                loss = self._loss(logits, values, part)
            share = part.actions.shape[1] / lanes
            (loss.total * share).backward()  # type: ignore[no-untyped-call]
            sums += torch.stack(loss).detach() * share
        return self._with_norm(sums)

    def _update_from_kept(self, features: Tensor, whole: _Batch) -> Tensor:
        """The same for all lanes, from features with the graph of playing them.

        What follows the features is computed again, all steps at once: that costs less than its gradients step by step.
        """
        self._flat.zero_gradients()
        with fresh_autocast(self._device, self._precision):
            logits, values, _ = self._model.decide(features, whole.initial_state, whole.resets)
            loss = self._loss(logits, values, whole)
        loss.total.backward()  # type: ignore[no-untyped-call]
        return self._with_norm(torch.stack(loss).detach())

    def _loss(self, logits: Tensor, values: Tensor, batch: _Batch) -> LossParts:
        coefficients = self._config.value_coef, self._config.entropy_coef
        targets = batch.actions, batch.advantages, batch.returns
        if self._config.loss == "a3c":
            return actor_critic_loss(logits, values, *targets, *coefficients)
        return ppo_loss(logits, values, *targets, batch.log_probs, self._config.clip, *coefficients)

    def _with_norm(self, loss: Tensor) -> Tensor:
        norm = self._flat.clip_gradients(self._config.max_grad_norm)
        return torch.cat((loss, norm[None]))
