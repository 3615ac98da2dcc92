"""From stacks of pictures to a feature vector: input normalisation, an encoder, a linear layer, an LSTM; one of the last two
may be missing."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from a3g.errors import UserError
from a3g.network_spec import MAP_ENCODER, NetworkSpec
from a3g.networks.encoders import ENCODERS
from a3g.networks.pictures import can_look_up, look_up

# Mean and variance of the grey pictures that the original A3G measured over all stages and shipped.
SHIPPED_INPUT_MEAN = 88.86
SHIPPED_INPUT_VARIANCE = 3658.0
INPUT_CLIP = 10.0
# Maps keep their zeros, and what is one in them becomes 1.
_MAP_STATISTICS = 0.0, 128.0**2


class PixelNetwork(nn.Module):
    """What every agent's network begins with; subclasses add heads and call `_initialise` last.

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
        mean, variance = _MAP_STATISTICS if spec.encoder == MAP_ENCODER else (SHIPPED_INPUT_MEAN, SHIPPED_INPUT_VARIANCE)
        self.register_buffer("input_mean", torch.tensor(mean))
        self.register_buffer("input_variance", torch.tensor(variance))
        self.encoder = ENCODERS[spec.encoder](spec.observation_shape)
        try:
            features = self.encoder(torch.zeros(1, stack, height, width)).numel()
        except RuntimeError as error:
            raise UserError(f"Pictures of {height} x {width} are too small for the {spec.encoder} network.") from error
        # Without it the LSTM begins with the encoder's features, to which the ReLU after this changes nothing.
        self.fc: nn.Module = nn.Linear(features, spec.hidden_size) if spec.fc else nn.Identity()
        self.lstm = nn.LSTMCell(spec.hidden_size if spec.fc else features, spec.hidden_size) if spec.lstm else None

    def initial_state(self, lanes: int) -> Tensor:
        """The recurrent state at an episode's start, zeros (2, lanes, hidden_size or 0)."""
        return torch.zeros(2, lanes, self.spec.hidden_size if self.lstm is not None else 0, device=self.input_mean.device)

    def encode(self, observations: Tensor) -> Tensor:
        """What the encoder makes of pictures; it knows nothing of time.

        Args:
            observations: uint8 (T, lanes, stack, height, width).

        Returns:
            (T, lanes, features), of the type that the network computes in
        """
        steps, lanes = observations.shape[:2]
        return F.relu(self.encoder(self.prepare(observations.flatten(0, 1))).flatten(1)).view(steps, lanes, -1)

    def remember(self, features: Tensor, state: Tensor, episode_starts: Tensor) -> tuple[Tensor, Tensor]:
        """The linear layer and the LSTM on what `encode` returned.

        Args:
            features: (T, lanes, features).
            state: recurrent state before the first step, (2, lanes, hidden_size or 0).
            episode_starts: bool (T, lanes), true where a step is the first of its episode: its state is zeroed before.

        Returns:
            (T * lanes, hidden_size), the state after the last step
        """
        steps, lanes = features.shape[:2]
        x = F.relu(self.fc(features.flatten(0, 1)))
        if self.lstm is not None:
            x, state = self._lstm_over_time(x.view(steps, lanes, -1), state, episode_starts)
            x = x.flatten(0, 1)
        return x, state

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

    def _lstm_over_time(self, x: Tensor, state: Tensor, episode_starts: Tensor) -> tuple[Tensor, Tensor]:
        """(T, lanes, features) to (T, lanes, hidden); the LSTM's input half is one large product."""
        assert self.lstm is not None
        from_input = F.linear(x, self.lstm.weight_ih, self.lstm.bias_ih)
        forgets = episode_starts.unsqueeze(-1)
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
        """The original A3G's initialisation of all but the heads' weights.

        Convolutions and linear layers: uniform in ±sqrt(6 / (fan in + fan out)), FC times sqrt(2), biases 0. LSTM: uniform
        in ±1/sqrt(hidden), biases 0, forget gate 1.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        if isinstance(self.fc, nn.Linear):
            self.fc.weight.mul_(math.sqrt(2.0))
        self._initialise_heads()
        if self.lstm is not None:
            bound = 1.0 / math.sqrt(self.spec.hidden_size)
            nn.init.uniform_(self.lstm.weight_ih, -bound, bound)
            nn.init.uniform_(self.lstm.weight_hh, -bound, bound)
            nn.init.zeros_(self.lstm.bias_ih)
            nn.init.zeros_(self.lstm.bias_hh)
            nn.init.ones_(self.lstm.bias_ih[self.spec.hidden_size : 2 * self.spec.hidden_size])

    def initialise_as_torch(self) -> None:
        """Draw all weights anew, as PyTorch initialises each kind of layer."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear | nn.LSTMCell):
                module.reset_parameters()

    def _initialise_heads(self) -> None:
        """What subclasses do with the weights of their heads; called without gradients."""
