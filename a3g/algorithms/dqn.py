"""Deep Q-learning (Mnih et al. 2015) with what made it better: double Q-learning, prioritised replay, n-step returns.

Several workers are asynchronous DQN: each has its own games, replay and target network, and all train one shared network.
"""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import torch
from torch import Tensor
from torch.nn import functional as F

from a3g.algorithm_options import DQNOptions
from a3g.algorithms import schedules
from a3g.algorithms.base import Algorithm, ReplaySize
from a3g.config import TrainConfig
from a3g.experience.replay_buffer import ReplayBuffer, Transitions
from a3g.experience.replay_memory import bytes_per_step
from a3g.experience.replay_sampling import PrioritizedSampler, Sampler, UniformSampler
from a3g.experience.rollout import Rollout, Step
from a3g.network_spec import NetworkSpec
from a3g.networks.flat_parameters import FlatParameters
from a3g.networks.q_network import DuelingQNetwork, QNetwork

# With priorities each step has a leaf, and a share of the nodes above it: a binary tree has up to four times as many as leaves.
PRIORITY_BYTES = 32
# `--replay-storage auto` leaves replays in RAM while they take at most this share of it.
LARGEST_SHARE_OF_MEMORY = 0.5


def dqn_targets(returns: Tensor, discounts: Tensor, next_values: Tensor, next_choices: Tensor | None = None) -> Tensor:
    """What the values of the actions taken are to become.

    Args:
        returns: float (batch,), discounted rewards of n agent steps.
        discounts: float (batch,), gamma to the power of n, 0 where the episode ended.
        next_values: float (batch, actions), of the target network.
        next_choices: float (batch, actions), of the network that chooses the next action: double DQN (van Hasselt et al. 2016,
            equation 4). None: the target network chooses it too (Mnih et al. 2015).
    """
    chosen = (next_values if next_choices is None else next_choices).argmax(dim=1, keepdim=True)
    # Filled, not multiplied: a value that is no number ends with its episode.
    following = next_values.gather(1, chosen).squeeze(1).masked_fill(discounts == 0, 0.0)
    return returns + discounts * following


class DQN(Algorithm):
    """Each rollout goes into the replay, and is followed by as many updates as `update_interval` says."""

    model: QNetwork
    options: DQNOptions
    options_class = DQNOptions

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        super().__init__(config, device)
        options, shape = self.options, config.game_options().observation_shape
        self.target: QNetwork = self.build_model(config.network_spec()).to(device)
        self._target = FlatParameters(self.target).parameters
        self._has_target = False
        folder = config.log_dir if self.replay_size(config).disk else None
        self.replay = ReplayBuffer(options.replay_size, config.lanes, shape, options.n_step, config.gamma, folder)
        self.sampler: Sampler = UniformSampler(self.replay)
        if options.priority_alpha:
            self.sampler = PrioritizedSampler(self.replay, options.priority_alpha)
        self._agent_steps = 0
        self._epsilon = torch.ones((), device=device)
        """On the device, where recorded CUDA graphs read it."""
        self._updates = 0
        self._steps_to_learn_from = 0
        """Agent steps that no update has answered yet."""

    @classmethod
    def build_model(cls, spec: NetworkSpec) -> QNetwork:
        return QNetwork(spec)

    @staticmethod
    def preferences(model: QNetwork, observations: Tensor, state: Tensor, episode_starts: Tensor) -> tuple[Tensor, Tensor]:
        return model(observations), state

    @classmethod
    def replay_size(cls, config: TrainConfig) -> ReplaySize:
        options, game = config.options, config.game_options()
        assert isinstance(options, DQNOptions)
        _, height, width = game.observation_shape
        pictures = options.replay_size * bytes_per_step(height, width)
        priorities = options.replay_size * PRIORITY_BYTES if options.priority_alpha else 0
        saved = pictures + priorities if options.save_replay else 0
        is_large = config.workers * pictures > LARGEST_SHARE_OF_MEMORY * psutil.virtual_memory().total
        if options.replay_storage == "disk" or (options.replay_storage == "auto" and is_large):
            return ReplaySize(memory=priorities, disk=pictures, checkpoint=saved)
        return ReplaySize(memory=pictures + priorities, checkpoint=saved)

    # -- while experience is collected

    @property
    def epsilon(self) -> float:
        """The chance of a random action."""
        options = self.options
        exponential = options.epsilon_decay == "exponential"
        return schedules.epsilon(
            self._agent_steps, options.epsilon_start, options.epsilon_end, options.epsilon_steps, exponential
        )

    @property
    def learning_rate(self) -> float:
        return schedules.stepped(self._agent_steps, self.config.lr, self.options.lr_decay, self.options.lr_decay_steps)

    def begin_rollout(self, agent_steps: int) -> None:
        self._agent_steps = agent_steps
        self._epsilon.fill_(self.epsilon)
        if not self._has_target:
            self._move_target(1.0)

    def act(self, observations: Tensor, state: Tensor, episode_starts: Tensor, random: torch.Generator) -> Step:
        """Epsilon-greedy."""
        values = self.model(observations)
        lanes, actions = values.shape
        spread = 1.0 + self.options.epsilon_spread * torch.linspace(0.0, 1.0, lanes, device=self.device)
        explores = torch.rand(lanes, generator=random, device=self.device) < self._epsilon**spread
        any_action = torch.randint(actions, (lanes,), generator=random, device=self.device)
        return Step(torch.where(explores, any_action, values.argmax(dim=1)), {}, state)

    def bootstrap(self, observations: Tensor, state: Tensor, episode_starts: Tensor) -> Tensor:
        """In the rewards' own unit, to be added to them where an episode is cut off."""
        values: Tensor = self.target(observations).amax(dim=1)
        return self.options.reward_scale * values

    # -- from experience to gradients

    def updates(self, rollout: Rollout) -> Iterator[dict[str, float]]:
        self.replay.extend(rollout)
        self.sampler.update_range()
        if self.replay.filled < self.options.learning_starts or not self.replay.drawable:
            return
        self._steps_to_learn_from += rollout.actions.numel()
        while self._steps_to_learn_from >= self.options.update_interval:
            self._steps_to_learn_from -= self.options.update_interval
            yield self._update()

    def _update(self) -> dict[str, float]:
        """Leave the gradients of one update in `flat`."""
        options = self.options
        if self._updates and self._updates % options.target_interval == 0:
            self._move_target(options.target_tau)
        self._updates += 1

        # Draw agent steps, and find out what their actions were worth.
        beta = schedules.beta(self._agent_steps, options.priority_beta, options.priority_beta_steps)
        drawn = self.sampler.draw(options.batch_size, beta)
        batch = self._on_device(self.replay.get(drawn.indices))
        with torch.no_grad(), self.computing():
            next_values = self.target(batch.next_observations)
            next_choices = self.model(batch.next_observations) if options.double else None
        targets = dqn_targets(batch.returns / options.reward_scale, batch.discounts, next_values, next_choices)

        # Huber loss, weighted by how much too often each step is drawn.
        self.flat.zero_gradients()
        with self.computing():
            values = self.model(batch.observations)
        values = values.gather(1, batch.actions.unsqueeze(1)).squeeze(1)
        losses = F.smooth_l1_loss(values, targets, reduction="none")
        loss = (drawn.weights.to(self.device) * losses).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = self.flat.clip_gradients(self.config.max_grad_norm)

        errors = (targets - values).detach()
        self.sampler.update_errors(drawn.indices, errors.cpu().numpy())
        # In one vector, so that all of it reaches the CPU together.
        numbers = torch.stack((loss.detach(), errors.abs().mean(), values.detach().mean(), norm)).tolist()
        metrics = dict(zip(("td_loss", "td_error", "q_value", "gradient_norm"), numbers, strict=True))
        fill = self.replay.filled / (self.replay.slots * self.replay.lanes)
        return {**metrics, "epsilon": self.epsilon, "replay_fill": fill, "learning_rate": self.learning_rate}

    def _move_target(self, tau: float) -> None:
        """Let the target network go a share `tau` of the way to the network; 1 copies it.

        Not to one that is damaged: that will be restored, and the target network would spoil every update until its next move.
        """
        if not bool(self.flat.parameters.sum().isfinite()):
            return
        self._target.lerp_(self.flat.parameters, tau) if tau < 1.0 else self._target.copy_(self.flat.parameters)
        self.target.input_mean.copy_(self.model.input_mean)
        self.target.input_variance.copy_(self.model.input_variance)
        self._has_target = True

    def _on_device(self, batch: Transitions) -> Transitions:
        return Transitions(*(getattr(batch, name).to(self.device) for name in Transitions.__slots__))

    # -- for checkpoints

    def state_dict(self) -> dict[str, Tensor]:
        numbers = torch.tensor([self._updates, self._steps_to_learn_from, int(self._has_target)])
        statistics = torch.stack((self.target.input_mean, self.target.input_variance))
        state = {"numbers": numbers, "target": self._target.cpu(), "target_statistics": statistics.cpu()}
        if self.options.save_replay:
            state |= {f"replay.{name}": tensor for name, tensor in self.replay.state_dict().items()}
            state |= {f"sampler.{name}": tensor for name, tensor in self.sampler.state_dict().items()}
        return state

    def memory(self, name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor | None:
        column = name.removeprefix("replay.")
        return self.replay.memory(column, dtype, shape) if column != name else None

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if state["target"].shape != self._target.shape:
            raise ValueError("the target network is another one's")
        replay = {name.removeprefix("replay."): tensor for name, tensor in state.items() if name.startswith("replay.")}
        if replay:
            try:
                self.replay.load_state_dict(replay)
                self.sampler.load_state_dict({name.removeprefix("sampler."): tensor for name, tensor in state.items()})
            except (KeyError, ValueError):
                self.replay.clear()
                raise
        self._updates, self._steps_to_learn_from, has_target = state["numbers"].tolist()
        self._has_target = bool(has_target)
        self._target.copy_(state["target"])
        mean, variance = state["target_statistics"]
        self.target.input_mean.copy_(mean)
        self.target.input_variance.copy_(variance)


class DuelingDQN(DQN):
    """With a network that values states and advantages of actions apart (Wang et al. 2016)."""

    @classmethod
    def build_model(cls, spec: NetworkSpec) -> QNetwork:
        return DuelingQNetwork(spec)
