"""Networks: an image encoder, an optional LSTM, an actor and a critic."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from a3g.errors import UserError
from a3g.learning.pictures import can_look_up, look_up
from a3g.learning.pooling import max_pool
from a3g.network_spec import NetworkSpec

__all__ = ["ENCODERS", "INPUT_CLIP", "SEED_INPUT_MEAN", "SEED_INPUT_VARIANCE", "ActorCritic", "NetworkSpec"]

# Mean and variance of the grey pictures that seed project 002 measured over all stages and shipped.
SEED_INPUT_MEAN = 88.86
SEED_INPUT_VARIANCE = 3658.0
INPUT_CLIP = 10.0


class _ResidualBlock(nn.Module):
    """x + conv(relu(conv(relu(x))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.second(F.relu(self.first(F.relu(x))))
        return x + residual


class _ImpalaBlock(nn.Module):
    """A convolution, a pooling and two residual blocks (Espeholt et al. 2018, figure 3, right)."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.residual = nn.ModuleList(_ResidualBlock(channels) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = max_pool(self.conv(x))
        for block in self.residual:
            x = block(x)
        return x


def _impala(stack: int) -> nn.Sequential:
    return nn.Sequential(_ImpalaBlock(stack, 16), _ImpalaBlock(16, 32), _ImpalaBlock(32, 32))


def _nature(stack: int) -> nn.Sequential:
    """Mnih et al. 2015, methods."""
    return nn.Sequential(
        nn.Conv2d(stack, 32, 8, stride=4), nn.ReLU(), nn.Conv2d(32, 64, 4, stride=2), nn.ReLU(), nn.Conv2d(64, 64, 3)
    )


def _nips(stack: int) -> nn.Sequential:
    """DQN's first network (Mnih et al. 2013, section 4.1), which the A3C paper used as well."""
    return nn.Sequential(nn.Conv2d(stack, 16, 8, stride=4), nn.ReLU(), nn.Conv2d(16, 32, 4, stride=2))


def _conv4(stack: int) -> nn.Sequential:
    """Four small strided convolutions, as seed project 003 and many A3C programs have them."""
    layers: list[nn.Module] = []
    for channels_in in (stack, 32, 32, 32):
        layers += [nn.ReLU(), nn.Conv2d(channels_in, 32, 3, stride=2, padding=1)]
    return nn.Sequential(*layers[1:])


# None ends with its ReLU: that comes when the features lie in a row. Between the convolutions' layout and
# another, its backward pass took several times as long.
ENCODERS = {"impala": _impala, "nature": _nature, "nips": _nips, "conv4": _conv4}


class ActorCritic(nn.Module):
    """Action logits and state values from stacks of pictures, with input normalisation inside.

    The recurrent state is one float32 tensor (2, lanes, hidden_size), hidden and cell; without an LSTM its last
    dimension is 0, so that callers need not tell the two apart.
    """

    input_mean: Tensor
    input_variance: Tensor

    def __init__(self, spec: NetworkSpec) -> None:
        """
        Raises:
            UserError: if the encoder is unknown or the pictures are too small for it.
        """
        super().__init__()
        if spec.encoder not in ENCODERS:
            raise UserError(f"Unknown network {spec.encoder!r}: choose one of {', '.join(ENCODERS)}.")
        self.spec = spec
        stack, height, width = spec.observation_shape
        self.register_buffer("input_mean", torch.tensor(SEED_INPUT_MEAN))
        self.register_buffer("input_variance", torch.tensor(SEED_INPUT_VARIANCE))
        self.encoder = ENCODERS[spec.encoder](stack)
        try:
            features = self.encoder(torch.zeros(1, stack, height, width)).numel()
        except RuntimeError as error:
            raise UserError(f"Pictures of {height} x {width} are too small for the {spec.encoder} network.") from error
        self.fc = nn.Linear(features, spec.hidden_size)
        self.lstm = nn.LSTMCell(spec.hidden_size, spec.hidden_size) if spec.lstm else None
        self.actor = nn.Linear(spec.hidden_size, spec.num_actions)
        self.critic = nn.Linear(spec.hidden_size, 1)
        self._initialise()

    def initial_state(self, lanes: int) -> Tensor:
        """The recurrent state at an episode's start, zeros (2, lanes, hidden_size or 0)."""
        return torch.zeros(2, lanes, self.spec.hidden_size if self.lstm is not None else 0, device=self.input_mean.device)

    def forward(self, observations: Tensor, state: Tensor, resets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Play through a rollout.

        Args:
            observations: uint8 (T, lanes, stack, height, width).
            state: recurrent state before the first step, (2, lanes, hidden_size or 0).
            resets: bool (T, lanes), true where a step is the first of its episode: its state is zeroed before.

        Returns:
            logits float32 (T, lanes, actions), values float32 (T, lanes), the state after the last step.
        """
        return self.decide(self.encode(observations), state, resets)

    def encode(self, observations: Tensor) -> Tensor:
        """The first half of `forward`, which knows nothing of time: what the encoder makes of pictures.

        Args:
            observations: uint8 (T, lanes, stack, height, width).

        Returns:
            (T, lanes, features), of the type that the network computes in
        """
        steps, lanes = observations.shape[:2]
        return F.relu(self.encoder(self.prepare(observations.flatten(0, 1))).flatten(1)).view(steps, lanes, -1)

    def decide(self, features: Tensor, state: Tensor, resets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The second half of `forward`: from what `encode` returned to what `forward` returns."""
        steps, lanes = features.shape[:2]
        x = F.relu(self.fc(features.flatten(0, 1)))
        if self.lstm is not None:
            x, state = self._remember(x.view(steps, lanes, -1), state, resets)
            x = x.flatten(0, 1)
        logits = self.actor(x).float().view(steps, lanes, -1)
        values = self.critic(x).float().view(steps, lanes)
        return logits, values, state

    def prepare(self, pictures: Tensor) -> Tensor:
        """Normalise uint8 pictures (n, stack, height, width), into the type that the network computes in and the layout
        that convolutions like: the stack innermost in memory."""
        device = pictures.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
        if can_look_up(pictures, dtype):
            return look_up(pictures, self._normalise(torch.arange(256)).to(dtype))
        # First the arithmetic, then the layout, in the smaller type: half the time of doing all of it on channels-last floats.
        return self._normalise(pictures).to(dtype).contiguous(memory_format=torch.channels_last)

    def _normalise(self, brightness: Tensor) -> Tensor:
        x = brightness.to(torch.float32).sub_(self.input_mean)
        return x.mul_(torch.rsqrt(self.input_variance + 1e-8)).clamp_(-INPUT_CLIP, INPUT_CLIP)

    def _remember(self, x: Tensor, state: Tensor, resets: Tensor) -> tuple[Tensor, Tensor]:
        """The LSTM over time, (T, lanes, features) to (T, lanes, hidden); its input half is one large product."""
        assert self.lstm is not None
        from_input = F.linear(x, self.lstm.weight_ih, self.lstm.bias_ih)
        forgets = resets.unsqueeze(-1)
        hidden, cell = state
        outputs = []
        for t in range(x.shape[0]):
            # Filled, not multiplied: a state that is no number ends with its episode.
            hidden, cell = hidden.masked_fill(forgets[t], 0.0), cell.masked_fill(forgets[t], 0.0)
            gates = from_input[t] + F.linear(hidden, self.lstm.weight_hh, self.lstm.bias_hh)
            enter, forget, candidate, leave = gates.float().chunk(4, dim=-1)
            cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(candidate)
            hidden = torch.sigmoid(leave) * torch.tanh(cell)
            outputs.append(hidden)
        return torch.stack(outputs), torch.stack((hidden, cell))

    @torch.no_grad()
    def _initialise(self) -> None:
        """Seed 002's initialisation.

        Convolutions and FC: uniform in ±sqrt(6 / (fan in + fan out)), FC times sqrt(2), biases 0. LSTM: uniform in
        ±1/sqrt(hidden), biases 0, forget gate 1. Heads: normal rows scaled to norm 0.01 (actor) and 1 (critic).
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        self.fc.weight.mul_(math.sqrt(2.0))
        for head, norm in ((self.actor, 0.01), (self.critic, 1.0)):
            nn.init.normal_(head.weight)
            head.weight.mul_(norm / head.weight.norm(dim=1, keepdim=True))
        if self.lstm is not None:
            bound = 1.0 / math.sqrt(self.spec.hidden_size)
            nn.init.uniform_(self.lstm.weight_ih, -bound, bound)
            nn.init.uniform_(self.lstm.weight_hh, -bound, bound)
            nn.init.zeros_(self.lstm.bias_ih)
            nn.init.zeros_(self.lstm.bias_hh)
            nn.init.ones_(self.lstm.bias_ih[self.spec.hidden_size : 2 * self.spec.hidden_size])
