"""What actor-critic algorithms have in common: acting by sampling, advantages, gradients summed over passes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from a3g.accelerator.cuda_graph import Graphed
from a3g.algorithm_options import ActorCriticOptions
from a3g.algorithms.base import Algorithm
from a3g.config import TrainConfig
from a3g.experience.advantages import gae
from a3g.experience.rollout import Rollout, Step
from a3g.network_spec import NetworkSpec
from a3g.networks.actor_critic import ActorCritic

# Gradients of an update are added up over passes of about this many samples, for memory: one pass over the 320 samples
# of a rollout of the original A3G's network took 150 MB more.
SAMPLES_PER_PASS = {"pictures": 128, "map": 2048}


class LossParts(NamedTuple):
    """A loss and what it is made of, all scalars; only `total` carries gradients."""

    total: Tensor
    policy: Tensor
    value: Tensor
    entropy: Tensor
    """Mean entropy of the policy, in nats."""


class Batch(NamedTuple):
    """What is learned from: all steps of some lanes, the second dimension of each tensor; see `Rollout`."""

    observations: Tensor
    initial_state: Tensor
    episode_starts: Tensor
    actions: Tensor
    log_probs: Tensor
    """float32 (T, lanes), of the actions under the policy that chose them."""
    advantages: Tensor
    returns: Tensor
    weights: Tensor
    """float32 (T, lanes), of the steps in the loss; 1 on average."""

    def take(self, lanes: Tensor) -> Batch:
        return Batch(*(tensor.index_select(1, lanes) for tensor in self))

    def in_one_step(self) -> Batch:
        """Each step as a lane of its own, (1, T x lanes) of them: for networks without memory."""
        steps = self.actions.numel()
        flat = (tensor.flatten(0, 1)[None] for tensor in self._replace(initial_state=self.actions))
        return Batch(*flat)._replace(initial_state=self.initial_state.new_zeros(2, steps, 0))


def evaluate_actions(logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of actions, int64 (T, lanes), and the policy's entropy in nats, both (T, lanes).

    Args:
        logits: (T, lanes, actions).
    """
    log_probs = F.log_softmax(logits, dim=-1)
    return log_probs.gather(-1, actions.unsqueeze(-1)).squeeze(-1), -(log_probs.exp() * log_probs).sum(-1)


def sample_actions(log_probs: Tensor, random: torch.Generator) -> Tensor:
    """Draw actions, int64 (lanes,), from log-probabilities (lanes, actions)."""
    if log_probs.device.type == "cpu":
        return torch.multinomial(log_probs.exp(), 1, generator=random).squeeze(1)
    return sample_without_cpu(log_probs, random)


def sample_without_cpu(log_probs: Tensor, random: torch.Generator) -> Tensor:
    """As `sample_actions`, for CUDA graphs: torch.multinomial asks the CPU whether the probabilities are all right."""
    # Of events that happen at these rates, which comes first?
    waiting_times = torch.empty_like(log_probs).exponential_(generator=random)
    return (log_probs.exp() / waiting_times).argmax(dim=-1)


class ActorCriticAlgorithm(Algorithm):
    """Subclasses say in which batches a rollout is learned from, and with which loss."""

    model: ActorCritic
    options: ActorCriticOptions
    options_class = ActorCriticOptions

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        super().__init__(config, device)
        # On a GPU one large pass is the fastest.
        on_gpu = device.type == "cuda"
        self._samples_per_pass = config.lanes * config.num_steps if on_gpu else SAMPLES_PER_PASS[config.observation]
        self._lanes_per_pass = max(1, self._samples_per_pass // config.num_steps)
        self._targets: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]] = self._compute_targets
        self._recorded_update: Graphed[Tensor] | None = None
        if on_gpu and config.gpu_graphs:
            self._targets = Graphed(self._compute_targets, device)
            self._recorded_update = Graphed(self._compute_update, device)

    @classmethod
    def build_model(cls, spec: NetworkSpec) -> ActorCritic:
        return ActorCritic(spec)

    @staticmethod
    def preferences(model: ActorCritic, observations: Tensor, state: Tensor, episode_starts: Tensor) -> tuple[Tensor, Tensor]:
        logits, _, state = model(observations[None], state, episode_starts[None])
        return logits[0], state

    @classmethod
    def preferences_and_values(
        cls, model: ActorCritic, observations: Tensor, state: Tensor, episode_starts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        logits, values, state = model(observations[None], state, episode_starts[None])
        return logits[0], values[0], state

    # -- while experience is collected

    def columns(self) -> Mapping[str, torch.dtype]:
        return {"log_probs": torch.float32, "values": torch.float32}

    def act(self, observations: Tensor, state: Tensor, episode_starts: Tensor, random: torch.Generator) -> Step:
        logits, values, state = self.model.decide(self._encode(observations[None]), state, episode_starts[None])
        log_probs = torch.log_softmax(logits[0], dim=-1)
        actions = sample_actions(log_probs, random)
        chosen = log_probs.gather(1, actions.unsqueeze(1)).squeeze(1)
        return Step(actions, {"log_probs": chosen, "values": values[0]}, state)

    def bootstrap(self, observations: Tensor, state: Tensor, episode_starts: Tensor) -> Tensor:
        values: Tensor = self.model(observations[None], state, episode_starts[None])[1][0]
        return values

    def _encode(self, observations: Tensor) -> Tensor:
        return self.model.encode(observations)

    # -- from a rollout to gradients

    def updates(self, rollout: Rollout) -> Iterator[dict[str, float]]:
        whole = self._arrange(self._whole(rollout))
        for lanes in self._batches(whole):
            update = self._update(self._prepare(whole, lanes), lanes)
            # In one vector, so that all of it reaches the CPU together.
            _, policy, value, entropy, norm = update.tolist()
            yield {"policy_loss": policy, "value_loss": value, "entropy": entropy, "gradient_norm": norm}

    def _whole(self, rollout: Rollout) -> Batch:
        """A rollout with the targets that follow from it."""
        values = torch.cat((rollout.columns["values"], rollout.next_values[None]))
        advantages, returns = self._targets(rollout.rewards, values, rollout.dones)
        return Batch(
            rollout.observations,
            rollout.initial_state,
            rollout.episode_starts,
            rollout.actions,
            rollout.columns["log_probs"],
            advantages,
            returns,
            torch.ones_like(returns),
        )

    def _arrange(self, whole: Batch) -> Batch:
        """A rollout as it is to be dealt out to updates."""
        return whole

    @abstractmethod
    def _batches(self, whole: Batch) -> Iterator[Tensor]:
        """The lanes of each update, int64 on the device."""

    def _prepare(self, whole: Batch, lanes: Tensor) -> Batch:
        """What an update on some lanes of the rollout needs."""
        return whole

    @abstractmethod
    def _loss(self, logits: Tensor, values: Tensor, batch: Batch) -> LossParts:
        """The loss of what the network now makes of a batch's observations."""

    def _compute_targets(self, rewards: Tensor, values: Tensor, dones: Tensor) -> tuple[Tensor, Tensor]:
        """Advantages and returns, (T, lanes) each."""
        advantages = gae(rewards, values, dones, self.config.gamma, self.options.tau)
        return advantages, advantages + values[:-1]

    def _update(self, whole: Batch, lanes: Tensor) -> Tensor:
        """Leave an update's gradients in `flat`; returns the parts of the loss and the gradients' norm before clipping."""
        if self._recorded_update is not None:
            return self._recorded_update(*whole.take(lanes))
        parts = (whole.take(part) for part in lanes.split(self._lanes_per_pass))  # type: ignore[no-untyped-call]
        return self._update_in_passes(parts, len(lanes))

    def _compute_update(self, *batch: Tensor) -> Tensor:
        """An update in one pass, from the tensors of a `Batch`."""
        return self._update_in_passes([Batch(*batch)], batch[0].shape[1])

    def _update_in_passes(self, parts: Iterable[Batch], lanes: int) -> Tensor:
        """The gradients of the mean loss over `lanes`, added up over parts of them; returns as `_update`."""
        self.flat.zero_gradients()
        sums = torch.zeros(len(LossParts._fields), device=self.device)
        for part in parts:
            with self.computing():
                logits, values, _ = self.model(part.observations, part.initial_state, part.episode_starts)
                loss = self._loss(logits, values, part)
            share = part.actions.shape[1] / lanes
            (loss.total * share).backward()  # type: ignore[no-untyped-call]
            sums += torch.stack(loss).detach() * share
        return self._with_norm(sums)

    def _with_norm(self, loss: Tensor) -> Tensor:
        norm = self.flat.clip_gradients(self.config.max_grad_norm)
        return torch.cat((loss, norm[None]))
