"""The networks and their flat layout."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import a3g.networks.pictures
from a3g.algorithms.a3c import actor_critic_loss
from a3g.errors import UserError
from a3g.networks.actor_critic import ActorCritic
from a3g.networks.encoders import ENCODERS
from a3g.networks.flat_parameters import FlatParameters
from a3g.networks.pixel_network import SHIPPED_INPUT_MEAN, SHIPPED_INPUT_VARIANCE, NetworkSpec

SMALL = (2, 36, 40)  # (stack, height, width): the least that all encoders take


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def small(encoder: str = "conv4", lstm: bool = True, hidden_size: int = 24) -> ActorCritic:
    return ActorCritic(NetworkSpec(encoder, SMALL, num_actions=5, hidden_size=hidden_size, lstm=lstm))


def pictures(steps: int, lanes: int, shape: tuple[int, int, int] = SMALL) -> Tensor:
    return torch.randint(0, 256, (steps, lanes, *shape), dtype=torch.uint8)


def nowhere(steps: int, lanes: int) -> Tensor:
    return torch.zeros(steps, lanes, dtype=torch.bool)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("lstm", [True, False])
def test_shapes_and_types(encoder: str, lstm: bool) -> None:
    model = small(encoder, lstm)
    state = model.initial_state(3)
    assert state.shape == (2, 3, 24 if lstm else 0)
    logits, values, after = model(pictures(4, 3), state, nowhere(4, 3))
    assert (logits.shape, values.shape, after.shape) == ((4, 3, 5), (4, 3), state.shape)
    assert logits.dtype == values.dtype == after.dtype == torch.float32


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("lstm", [True, False])
def test_in_bfloat16_outputs_stay_float32_and_close(encoder: str, lstm: bool) -> None:
    model = small(encoder, lstm)
    inputs = pictures(4, 3), model.initial_state(3), nowhere(4, 3)
    exact = model(*inputs)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(*inputs)
    assert all(tensor.dtype == torch.float32 for tensor in rough)
    for each, reference in zip(rough, exact, strict=True):
        torch.testing.assert_close(each, reference, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("lstm", [True, False])
def test_a_rollout_at_once_is_the_same_as_step_by_step(encoder: str, lstm: bool) -> None:
    """What the worker learns from must be what it acted by, episode ends in the middle of a rollout included."""
    model = small(encoder, lstm)
    observations, resets = pictures(6, 3), torch.rand(6, 3) < 0.3
    resets[2, 1] = True
    start = torch.randn(model.initial_state(3).shape)
    at_once = model(observations, start, resets)

    state, logits, values = start, [], []
    for t in range(6):
        one_logits, one_values, state = model(observations[t : t + 1], state, resets[t : t + 1])
        logits.append(one_logits)
        values.append(one_values)
    torch.testing.assert_close(at_once, (torch.cat(logits), torch.cat(values), state), rtol=1e-4, atol=1e-5)


def test_lanes_do_not_mix() -> None:
    """Regression against a reshape that swaps time and lanes: each lane alone gives what it gives in company."""
    model = small("nature")
    observations, resets = pictures(5, 3), torch.rand(5, 3) < 0.3
    start = torch.randn(2, 3, 24)
    together = model(observations, start, resets)
    for lane in range(3):
        one = slice(lane, lane + 1)
        alone = model(observations[:, one], start[:, one], resets[:, one])
        for company, single in zip(together, alone, strict=True):
            torch.testing.assert_close(company[:, one], single, rtol=1e-4, atol=1e-5)


def test_a_reset_forgets_everything_before() -> None:
    model = small()
    observations, resets = pictures(4, 2), nowhere(4, 2)
    resets[2, 0] = True
    other = observations.clone()
    other[:2] = 255 - other[:2]
    first, second = (model(each, torch.randn(2, 2, 24), resets)[0] for each in (observations, other))
    torch.testing.assert_close(first[2:, 0], second[2:, 0])
    assert not torch.allclose(first[2:, 1], second[2:, 1])


def test_the_lstm_is_torchs_lstm() -> None:
    model = small()
    assert model.lstm is not None
    observations, resets = pictures(6, 3), torch.rand(6, 3) < 0.3
    features = model.fc(model.encoder(model.prepare(observations.flatten(0, 1))).flatten(1).relu()).relu().view(6, 3, -1)
    start = torch.randn(2, 3, 24)
    hidden, cell = start
    expected = []
    for t in range(6):
        keep = (~resets[t]).float().unsqueeze(-1)
        hidden, cell = model.lstm(features[t], (hidden * keep, cell * keep))
        expected.append(model.critic(hidden).squeeze(-1))
    _, values, after = model(observations, start, resets)
    torch.testing.assert_close(values, torch.stack(expected))
    torch.testing.assert_close(after, torch.stack((hidden, cell)))


def test_without_the_fully_connected_layer_the_lstm_begins_with_the_features() -> None:
    """As in https://github.com/CVHvn/Mario_A2C_A3C: four convolutions, an LSTM cell, two heads."""
    model = ActorCritic(NetworkSpec("conv4", (1, 84, 84), num_actions=12, hidden_size=512, fc=False))
    assert model.lstm is not None
    assert model.lstm.input_size == 1152
    convolutions = 1 * 32 * 9 + 3 * 32 * 32 * 9 + 4 * 32
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == convolutions + 4 * 512 * (1152 + 512 + 2) + 13 * 513
    observations, state = pictures(1, 2, (1, 84, 84)), torch.randn(2, 2, 512)
    features = model.encoder(model.prepare(observations[0])).relu().flatten(1)
    hidden, cell = model.lstm(features, tuple(state))
    logits, values, after = model(observations, state, nowhere(1, 2))
    torch.testing.assert_close(logits[0], model.actor(hidden))
    torch.testing.assert_close(values[0], model.critic(hidden).squeeze(-1))
    torch.testing.assert_close(after, torch.stack((hidden, cell)))


def test_a_network_has_one_of_the_two_layers_before_its_heads() -> None:
    with pytest.raises(ValueError, match="without an LSTM must have the fully connected layer"):
        NetworkSpec(lstm=False, fc=False)


def test_torchs_own_initialisation_on_request() -> None:
    """Uniform in ±1/sqrt(fan in) for convolutions and linear layers, in ±1/sqrt(hidden) for the LSTM; biases as well."""
    model = ActorCritic(NetworkSpec())
    model.initialise_as_torch()
    for layer in (module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)):
        bound = 1 / math.sqrt(layer.weight[0].numel())
        assert float(layer.weight.detach().abs().max()) == pytest.approx(bound, rel=0.05)
        assert layer.bias.any()
    assert model.lstm is not None
    for parameter in model.lstm.parameters():
        assert_uniform(parameter, 1 / math.sqrt(512))


def test_the_seeds_network_has_3_84_million_parameters() -> None:
    model = ActorCritic(NetworkSpec())
    assert (model.spec.encoder, model.spec.observation_shape, model.spec.hidden_size) == ("impala", (4, 80, 80), 512)
    count = sum(parameter.numel() for parameter in model.parameters())
    convolutions = (
        (4 * 16 + 4 * 16 * 16) * 9 + 5 * 16 + (16 * 32 + 4 * 32 * 32) * 9 + 5 * 32 + (32 * 32 + 4 * 32 * 32) * 9 + 5 * 32
    )
    assert count == convolutions + (32 * 10 * 10 * 512 + 512) + 4 * 512 * (2 * 512 + 2) + 10 * 513 + 513
    assert round(count / 1e6, 2) == 3.84


def test_the_initialisation_is_seed_002s() -> None:
    model = ActorCritic(NetworkSpec())
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_in, fan_out = module.weight[0].numel(), module.weight[:, 0].numel()
            assert_uniform(module.weight, math.sqrt(6 / (fan_in + fan_out)))
            assert not module.bias.any()
    assert isinstance(model.fc, nn.Linear)
    assert_uniform(model.fc.weight, math.sqrt(2) * math.sqrt(6 / (3200 + 512)))
    torch.testing.assert_close(model.actor.weight.norm(dim=1), torch.full((10,), 0.01))
    torch.testing.assert_close(model.critic.weight.norm(dim=1), torch.ones(1))
    assert model.lstm is not None
    for weight in (model.lstm.weight_ih, model.lstm.weight_hh):
        assert_uniform(weight, 1 / math.sqrt(512))
    bias = model.lstm.bias_ih + model.lstm.bias_hh
    expected = torch.zeros(4, 512)
    expected[1] = 1.0  # torch's order of gates: input, forget, cell, output
    torch.testing.assert_close(bias.view(4, 512), expected)
    for layer in (model.fc, model.actor, model.critic):
        assert not layer.bias.any()


def assert_uniform(weight: Tensor, bound: float) -> None:
    """Uniform in ±bound: the largest is just below it, the variance is a third of its square."""
    weight = weight.detach()
    assert float(weight.abs().max()) == pytest.approx(bound, rel=0.02)
    assert float(weight.abs().max()) <= bound * (1 + 1e-5)
    assert float(weight.var()) == pytest.approx(bound**2 / 3, rel=0.1)


def test_a_fresh_policy_is_nearly_uniform() -> None:
    """Actor rows of norm 0.01: nothing is preferred before anything is learnt."""
    logits, _, _ = small("impala")(pictures(2, 4), torch.zeros(2, 4, 24), nowhere(2, 4))
    torch.testing.assert_close(logits.softmax(-1), torch.full((2, 4, 5), 0.2), rtol=0, atol=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(4, 80, 80), (1, 36, 40), (3, 41, 37)])
def test_pictures_are_the_same_with_and_without_the_native_core(
    dtype: torch.dtype, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, and in the same layout."""
    if a3g.networks.pictures.interleave is None:
        pytest.skip("The native core is not installed.")
    model, observations = small(), pictures(2, 3, shape).flatten(0, 1)
    model.input_variance.fill_(30.0)  # so that bright pixels are clipped
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
        looked_up = model.prepare(observations), model.prepare(observations[::2])
        monkeypatch.setattr(a3g.networks.pictures, "interleave", None)
        computed = model.prepare(observations), model.prepare(observations[::2])
    for one, other in zip(looked_up, computed, strict=True):
        assert one.dtype is other.dtype is dtype
        assert one.is_contiguous(memory_format=torch.channels_last)
        assert other.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(one, other)
    assert looked_up[0].max() == 10


def test_a_recurrent_state_that_is_no_number_ends_with_its_episode() -> None:
    model, observations = small(), pictures(3, 2)
    resets = nowhere(3, 2)
    resets[1] = True
    logits, values, state = model(observations, torch.full((2, 2, 24), math.nan), resets)
    assert logits[0].isnan().all()
    assert not logits[1:].isnan().any()
    assert not values[1:].isnan().any()
    assert not state.isnan().any()


def test_pictures_are_normalised_inside_the_model() -> None:
    model = small()
    observations = pictures(2, 3)
    expected = ((observations.float() - 88.86) / math.sqrt(3658.0)).clamp(-10, 10).flatten(0, 1)
    torch.testing.assert_close(model.prepare(observations.flatten(0, 1)), expected)
    features = model.encoder(expected).relu().view(2, 3, -1)
    torch.testing.assert_close(model.encode(observations), features, rtol=1e-4, atol=1e-5)
    names = {"input_mean", "input_variance"}
    assert names <= set(model.state_dict())  # so they travel with the weights
    assert not names & {name for name, _ in model.named_parameters()}
    assert (float(model.input_mean), float(model.input_variance)) == (
        pytest.approx(SHIPPED_INPUT_MEAN),
        pytest.approx(SHIPPED_INPUT_VARIANCE),
    )


def test_other_statistics_change_what_the_network_sees_and_are_clipped() -> None:
    model = small()
    model.input_mean.fill_(10.0)
    model.input_variance.fill_(4.0)
    normalised = model.prepare(torch.tensor([0, 10, 12, 255], dtype=torch.uint8).view(1, 1, 2, 2))
    torch.testing.assert_close(normalised.flatten(), torch.tensor([-5.0, 0.0, 1.0, 10.0]))


def test_normalising_leaves_the_observations_alone() -> None:
    model, observations = small(), pictures(1, 1)
    before = observations.clone()
    model(observations, model.initial_state(1), nowhere(1, 1))
    assert torch.equal(observations, before)


@pytest.mark.parametrize(("encoder", "size"), [("nature", 20), ("nature", 35)])
def test_too_small_pictures_are_refused(encoder: str, size: int) -> None:
    with pytest.raises(UserError, match=f"{size} x {size} are too small for the {encoder}"):
        ActorCritic(NetworkSpec(encoder, (4, size, size)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_size", 0),
        ("hidden_size", -8),
        ("num_actions", 0),
        ("observation_shape", (0, 36, 40)),
        ("observation_shape", (2, 36, -1)),
        ("observation_shape", (36, 40)),
    ],
)
def test_dimensions_below_one_are_refused(name: str, value: object) -> None:
    """Regression: a hidden size of 0, from a damaged weights file, was a division by zero in the initialisation."""
    with pytest.raises(ValueError, match=name):
        NetworkSpec(**{"encoder": "conv4", "observation_shape": SMALL, name: value})


def test_an_unknown_encoder_is_refused() -> None:
    with pytest.raises(UserError, match="Unknown network 'resnet'"):
        ActorCritic(NetworkSpec("resnet"))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_parameter_is_learnt(encoder: str) -> None:
    """Regression of seed 003, whose `detach` cuts the gradient to the whole network before its heads."""
    model = small(encoder)
    flat = FlatParameters(model)
    learn(model, flat)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert bool(parameter.grad.any()), f"{name} gets no gradient"


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_recurrent_state_carries_gradients_back_in_time(encoder: str) -> None:
    """Only the last value is learnt from; the first picture's features must still hear of it, unless reset between."""
    model = small(encoder)
    for resets, heard in ((nowhere(3, 1), True), (torch.tensor([[True], [False], [True]]), False)):
        seen: list[Tensor] = []
        handle = model.fc.register_forward_hook(lambda module, inputs, output, seen=seen: seen.append(output))
        _, values, _ = model(pictures(3, 1), model.initial_state(1), resets)
        handle.remove()
        (gradient,) = torch.autograd.grad(values[2, 0], seen)
        assert bool(gradient[0].any()) is heard
        assert bool(gradient[2].any())


def learn(model: ActorCritic, flat: FlatParameters, scale: float = 1.0) -> None:
    """One backward pass into the flat gradients."""
    random = torch.Generator().manual_seed(9)
    observations = torch.randint(0, 256, (3, 2, *SMALL), dtype=torch.uint8, generator=random)
    actions = torch.randint(0, 5, (3, 2), generator=random)
    targets = scale * torch.randn(3, 2, generator=random)
    logits, values, _ = model(observations, model.initial_state(2), nowhere(3, 2))
    flat.zero_gradients()
    actor_critic_loss(logits, values, actions, targets, targets, 0.5, 0.01).total.backward()


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_flat_model_computes_and_learns_as_an_ordinary_one(encoder: str, bfloat16: bool) -> None:
    plain = small(encoder)
    model = small(encoder)
    flat = FlatParameters(model)
    model.load_state_dict(plain.state_dict())  # also: loading writes into the flat vector
    inputs = pictures(3, 2), plain.initial_state(2), nowhere(3, 2)
    for _ in range(2):  # twice: gradients must not pile up
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            outputs, expected = model(*inputs), plain(*inputs)
        torch.testing.assert_close(outputs, expected)
        plain.zero_grad()
        flat.zero_gradients()
        (expected[0].square().sum() + expected[1].sum()).backward()
        (outputs[0].square().sum() + outputs[1].sum()).backward()
        for (name, ours), theirs in zip(model.named_parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad, msg=lambda text, name=name: f"{name}: {text}")


def test_parameters_and_gradients_are_views_of_two_vectors() -> None:
    model = small()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    flat = FlatParameters(model)
    parameters = list(model.parameters())
    torch.testing.assert_close([parameter.detach() for parameter in parameters], before)
    for parameter in parameters:
        assert parameter.grad is not None
        for view, vector in ((parameter.data, flat.parameters), (parameter.grad, flat.gradients)):
            assert view.untyped_storage().data_ptr() == vector.untyped_storage().data_ptr()
            assert view.data_ptr() % 64 == flat.parameters.data_ptr() % 64  # each begins on a cache line
            assert view.is_contiguous()
    learn(model, flat)
    for parameter in parameters:  # still views after a backward pass
        assert parameter.grad is not None
        assert parameter.grad.untyped_storage().data_ptr() == flat.gradients.untyped_storage().data_ptr()
    flat.parameters.add_(1.0)
    torch.testing.assert_close([parameter.detach() for parameter in parameters], [each + 1.0 for each in before])
    flat.zero_gradients()
    assert not any(bool(parameter.grad.any()) for parameter in parameters if parameter.grad is not None)


def test_clipping_scales_long_gradients_only() -> None:
    model = small()
    flat = FlatParameters(model)
    learn(model, flat, scale=10.0)
    gradients = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    expected_norm = torch.nn.utils.get_total_norm(gradients)
    whole = flat.gradients.clone()

    torch.testing.assert_close(flat.clip_gradients(0.0), expected_norm)
    torch.testing.assert_close(flat.gradients, whole, rtol=0, atol=0)
    torch.testing.assert_close(flat.clip_gradients(2.0 * float(expected_norm)), expected_norm)
    torch.testing.assert_close(flat.gradients, whole)
    torch.testing.assert_close(flat.clip_gradients(0.5), expected_norm)
    torch.testing.assert_close(float(flat.gradients.norm()), 0.5, rtol=1e-4, atol=0)
    torch.testing.assert_close(flat.gradients, whole * (0.5 / expected_norm), rtol=1e-4, atol=1e-7)
