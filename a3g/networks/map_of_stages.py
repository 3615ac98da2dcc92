"""The network of an expert for all stages: it reads maps (`a3g.game.map_observation`), and each stage has a layer of its own.

Such a layer can be trained without changing what is done in other stages (layers of their own for tasks that share the rest:
Caruana 1997, "Multitask Learning"). On a GPU this has never been run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from a3g.network_spec import MAP_PAGES, MAP_PLACE_AT, MAP_STAGES

MAP_FEATURES = 384
"""Of the first layer of all networks that read maps."""
_STAGE_FEATURES = 256
_OF_STAGES = "encoder.of_stage.", "encoder.place."
"""Parameters whose first dimension is the stages, or the stages' pages."""


class StageLinear(nn.Module):
    """A linear layer for each stage, so that what is learned in one does not change what is done in another."""

    def __init__(self, stages: int, features_in: int, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(stages, features, features_in))
        self.bias = nn.Parameter(torch.zeros(stages, features))

    def forward(self, x: Tensor, stage: Tensor) -> Tensor:
        """
        Args:
            x: (n, features_in).
            stage: int64 (n,), whose layer each row goes through.
        """
        if x.device.type != "cpu":
            # Shapes that do not depend on the stages, which a recorded CUDA graph needs.
            return torch.einsum("nof,nf->no", self.weight[stage], x) + self.bias[stage]
        order = stage.argsort()
        numbers = torch.bincount(stage, minlength=len(self.weight)).tolist()
        # Unbound at once: the gradient of each weight[i] would be as large as all of them.
        layers = zip(x[order].split_with_sizes(numbers), self.weight.unbind(), self.bias.unbind(), strict=True)
        parts = [F.linear(part, weight, bias) for part, weight, bias in layers if len(part)]
        return torch.cat(parts)[order.argsort()]

    def reset_parameters(self) -> None:
        """The same weights for all stages."""
        layer = nn.Linear(self.weight.shape[2], self.weight.shape[1])
        nn.init.xavier_uniform_(layer.weight)
        with torch.no_grad():
            self.weight.copy_(layer.weight.expand_as(self.weight))
            self.bias.zero_()


class MapOfStages(nn.Module):
    """For maps of many stages: a shared layer, a bias for each page of each stage, and a layer for each stage."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.shared = nn.Linear(math.prod(shape), MAP_FEATURES)
        self.place = nn.Embedding(MAP_STAGES * MAP_PAGES, MAP_FEATURES)
        nn.init.zeros_(self.place.weight)
        self.of_stage = StageLinear(MAP_STAGES, MAP_FEATURES, _STAGE_FEATURES)

    def forward(self, maps: Tensor) -> Tensor:
        """
        Args:
            maps: (n, 1, 1, bytes of a map), normalised.

        Returns:
            (n, 256).
        """
        x = maps.flatten(1)
        place = x[:, MAP_PLACE_AT:]
        stage, page = place[:, :MAP_STAGES].argmax(1), place[:, MAP_STAGES : MAP_STAGES + MAP_PAGES].argmax(1)
        features: Tensor = self.of_stage(F.relu(self.shared(x) + self.place(stage * MAP_PAGES + page)), stage)
        return features


def train_stage_layers_only(model: nn.Module) -> None:
    """Leave gradients to what belongs to single stages, in a network with the encoder "map-stages"; all else stays as it is."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(_OF_STAGES))


def take_stage(tensors: dict[str, Tensor], others: Mapping[str, Tensor], stage: int) -> None:
    """Replace what belongs to one stage by that of another network with the encoder "map-stages".

    Args:
        tensors: its state_dict; changed in place.
        others: the other network's, which agrees in all that stages share.
        stage: 0 for 1-1 to 31 for 8-4.
    """
    for name, tensor in tensors.items():
        if name.startswith(_OF_STAGES):
            tensor.view(MAP_STAGES, -1)[stage] = others[name].view(MAP_STAGES, -1)[stage]


def divided_by_stages(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a network with the encoder "map", for one with "map-stages" that at first does the same in every stage.

    Args:
        tensors: its state_dict; its hidden_size must be 256.
    """
    moved = ("encoder.", "fc.")
    divided = {name: tensor for name, tensor in tensors.items() if not name.startswith(moved)}
    for name in ("weight", "bias"):
        divided[f"encoder.shared.{name}"] = tensors[f"encoder.1.{name}"]
        divided[f"encoder.of_stage.{name}"] = tensors[f"fc.{name}"].expand(MAP_STAGES, *tensors[f"fc.{name}"].shape).clone()
    divided["encoder.place.weight"] = torch.zeros(MAP_STAGES * MAP_PAGES, MAP_FEATURES)
    # Its inputs are positive already: a ReLU changes nothing after this.
    divided["fc.weight"], divided["fc.bias"] = torch.eye(_STAGE_FEATURES), torch.zeros(_STAGE_FEATURES)
    return divided
