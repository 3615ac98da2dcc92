"""The network of the expert for all stages: a layer for each stage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from a3g.command_line import parse_train
from a3g.errors import UserError
from a3g.game.map_observation import MAP_ONE
from a3g.game.options import MAP_SHAPE, GameOptions
from a3g.game.stages import WHOLE_GAME
from a3g.network_spec import FIRST_MAP_SIZE, MAP_PAGES, MAP_PLACE_AT, MAP_STAGES, NetworkSpec
from a3g.networks.actor_critic import ActorCritic
from a3g.networks.flat_parameters import FlatParameters
from a3g.networks.map_of_stages import StageLinear, divided_by_stages, take_stage
from a3g.processes.launcher import train
from a3g.processes.prepare import prepare_run
from a3g.runs.checkpoint import find_checkpoint
from a3g.runs.playable import load_checkpoint_weights
from a3g.runs.weights import load_weights, save_weights, weights_path

SHARED = NetworkSpec("map", MAP_SHAPE, hidden_size=256, lstm=False)
DIVIDED = NetworkSpec("map-stages", MAP_SHAPE, hidden_size=256, lstm=False)


def maps_of(stages: list[int], pages: list[int]) -> Tensor:
    """Random maps of some stages and pages, uint8 (1, lanes, *MAP_SHAPE)."""
    maps = torch.randint(0, 256, (1, len(stages), *MAP_SHAPE), dtype=torch.uint8)
    place = maps[0, :, 0, 0, MAP_PLACE_AT:FIRST_MAP_SIZE]
    place.zero_()
    for lane, (stage, page) in enumerate(zip(stages, pages, strict=True)):
        place[lane, stage] = place[lane, MAP_STAGES + page] = place[lane, -1] = MAP_ONE
    return maps


def play(network: ActorCritic, maps: Tensor) -> tuple[Tensor, Tensor]:
    lanes = maps.shape[1]
    logits, values, _ = network(maps, network.initial_state(lanes), torch.ones(1, lanes, dtype=torch.bool))
    return logits, values


def test_each_row_goes_through_the_layer_of_its_stage() -> None:
    torch.manual_seed(0)
    layer = StageLinear(4, 6, 3)
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    x, stage = torch.randn(9, 6), torch.tensor([3, 0, 3, 1, 1, 0, 3, 0, 1])
    rows = [F.linear(x[i], layer.weight[stage[i]], layer.bias[stage[i]]) for i in range(len(x))]
    torch.testing.assert_close(layer(x, stage), torch.stack(rows))
    layer(x, stage).square().sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad[2].count_nonzero() == 0, "no row was of stage 2"
    assert layer.weight.grad[3].count_nonzero() > 0


def test_weights_of_a_shared_network_do_the_same_when_divided() -> None:
    torch.manual_seed(1)
    shared, divided = ActorCritic(SHARED).eval(), ActorCritic(DIVIDED).eval()
    divided.load_state_dict(divided_by_stages(shared.state_dict()))
    maps = maps_of([0, 5, 31, 5, 17], [0, 3, 23, 4, 9])
    for theirs, ours in zip(play(shared, maps), play(divided, maps), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("spec", [SHARED, DIVIDED], ids=lambda spec: spec.encoder)
def test_weights_that_read_shorter_maps_do_the_same_with_todays(spec: NetworkSpec, tmp_path: Path) -> None:
    torch.manual_seed(4)
    older = ActorCritic(replace(spec, observation_shape=(1, 1, FIRST_MAP_SIZE))).eval()
    path = weights_path(tmp_path, WHOLE_GAME)
    save_weights(path, older, WHOLE_GAME, GameOptions(observation="map"), agent_steps=7)
    weights = load_weights(path)
    assert weights.network == spec
    maps = maps_of([0, 5, 31], [0, 3, 23])
    for theirs, ours in zip(play(older, maps[..., :FIRST_MAP_SIZE]), play(weights.build(), maps), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_learning_one_stage_changes_only_its_own_layer_and_place() -> None:
    torch.manual_seed(2)
    network = ActorCritic(DIVIDED)
    play(network, maps_of([7, 7], [2, 3]))[1].square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}
    own_layer = gradients["encoder.of_stage.weight"].flatten(1).any(1).nonzero().flatten().tolist()
    places = gradients["encoder.place.weight"].any(1).nonzero().flatten().tolist()
    assert own_layer == [7]
    assert places == [7 * MAP_PAGES + 2, 7 * MAP_PAGES + 3]


def test_a_run_begins_with_the_weights_of_a_shared_network(tmp_path: Path) -> None:
    torch.manual_seed(3)
    shared = ActorCritic(SHARED)
    save_weights(weights_path(tmp_path, WHOLE_GAME), shared, WHOLE_GAME, GameOptions(observation="map"), 0, algorithm="ppo")
    flags = "--preset expert --network map-stages --load --run-name divided --load-model-dir"
    config = parse_train(
        [*flags.split(), str(tmp_path), "--log-dir", str(tmp_path), "--save-model-dir", str(tmp_path / "best")]
    )
    run = prepare_run(config)
    try:
        model = ActorCritic(DIVIDED)
        run.shared.model.copy_to(FlatParameters(model))
    finally:
        run.close()
    for stage in (0, 31):
        assert torch.equal(model.encoder.of_stage.weight[stage], shared.fc.weight)  # type: ignore[union-attr, index]


def test_learning_in_the_stages_layers_alone_leaves_other_stages_as_they_are(tmp_path: Path) -> None:
    flags = "--preset expert --network map-stages --stages 5-4 --stage-layers-only --serial --lanes 8 --num-steps 8"
    config = parse_train(
        [
            *flags.split(),
            "--total-steps",
            "128",
            "--run-name",
            "one",
            "--log-dir",
            str(tmp_path),
            "--save-model-dir",
            str(tmp_path),
        ]
    )
    torch.manual_seed(config.seed)
    before = ActorCritic(DIVIDED).state_dict()
    assert train(config) == 0
    after = load_checkpoint_weights(find_checkpoint("one", tmp_path, print)).tensors
    stage = 4 * 4 + 3
    assert not torch.equal(after["encoder.of_stage.weight"][stage], before["encoder.of_stage.weight"][stage])
    taken = dict(before)
    take_stage(taken, after, stage)
    for name, tensor in taken.items():
        assert torch.equal(tensor, after[name]), name


def test_only_that_network_has_stages_layers() -> None:
    with pytest.raises(UserError, match="--stage-layers-only needs --network map-stages, not nature"):
        parse_train(["--stage-layers-only", "--network", "nature"])
    with pytest.raises(UserError, match="--stage-layers-only goes with the actor-critic algorithms, not with dqn"):
        parse_train(["--preset", "ddqn", "--network", "map-stages", "--observation", "map", "--stage-layers-only"])
