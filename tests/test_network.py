"""The U-Net on its own: lengths, conditions, patches, gradients, precision."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tiny_audio_diffusion.network.norms import ChannelNorm
from tiny_audio_diffusion.network.unet import UNet, fold, unfold

SMALL = {
    "in_channels": 2,
    "channels": [8, 16, 16],
    "factors": [1, 4, 2],
    "items": [1, 1, 2],
    "attentions": [0, 0, 1],
    "attention_heads": 2,
    "attention_features": 8,
    "modulation_features": 32,
}
CONDITIONS = {"vector": (3,), "sequence": (5, 6), "channels": (4, 64)}
CONDITIONED = {"vector_features": 3, "sequence_features": 6, "condition_channels": 4}


def build(**changes: Any) -> UNet:
    torch.manual_seed(0)
    return UNet(**{**SMALL, **changes})


def draw_conditions(batch: int) -> dict[str, Tensor]:
    return {name: torch.randn(batch, *shape) for name, shape in CONDITIONS.items()}


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("patch", [1, 2])
def test_output_has_the_shape_of_the_input_and_gradients_reach_everything(batch: int, patch: int) -> None:
    network = build(patch=patch, **CONDITIONED)
    output = network(torch.randn(batch, 2, 64), torch.rand(batch), **draw_conditions(batch))
    assert output.shape == (batch, 2, 64)
    output.square().mean().backward()
    without = [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    assert without == []


def test_items_of_a_batch_do_not_mix() -> None:
    network = build(**CONDITIONED)
    x, time, conditions = torch.randn(3, 2, 64), torch.rand(3), draw_conditions(3)
    whole = network(x, time, **conditions)
    for index in range(3):
        own = slice(index, index + 1)
        alone = network(x[own], time[own], **{name: value[own] for name, value in conditions.items()})
        torch.testing.assert_close(alone, whole[own], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", CONDITIONS)
def test_each_condition_changes_the_output(name: str) -> None:
    network = build(**CONDITIONED)
    x, time, conditions = torch.randn(1, 2, 64), torch.rand(1), draw_conditions(1)
    before = network(x, time, **conditions)
    after = network(x, time, **{**conditions, name: torch.randn(1, *CONDITIONS[name])})
    assert (before - after).abs().max() > 1e-4


def test_time_changes_the_output() -> None:
    network, x = build(), torch.randn(1, 2, 64)
    assert (network(x, torch.tensor([0.1])) - network(x, torch.tensor([0.9]))).abs().max() > 1e-4


@pytest.mark.parametrize("name", CONDITIONS)
def test_missing_and_unexpected_conditions_are_named(name: str) -> None:
    x, time, conditions = torch.randn(1, 2, 64), torch.rand(1), draw_conditions(1)
    with pytest.raises(ValueError, match=f"takes no condition '{name}'"):
        build()(x, time, **{name: conditions[name]})
    with pytest.raises(ValueError, match=f"needs the condition '{name}'"):
        build(**CONDITIONED)(x, time, **{other: value for other, value in conditions.items() if other != name})


def test_length_error_names_the_multiple_and_the_nearest_lengths() -> None:
    network = build(channels=[8] * 8, factors=[1] + [2] * 7, items=[0] * 8, attentions=[0] * 8)
    assert network.multiple == 128
    network.check_length(32768)
    with pytest.raises(ValueError, match=r"^length 32767 is not a multiple of 128: use 32640 or 32768$"):
        network(torch.randn(1, 2, 32767), torch.rand(1))
    for length in (0, 1):
        with pytest.raises(ValueError, match=rf"^length {length} is not a multiple of 128: use 128$"):
            network.check_length(length)
    assert build(patch=4).multiple == 32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"items": [1, 1]}, "items has 2 entries, channels has 3"),
        ({"attentions": [0, 0, 2]}, r"attentions\[2\] is 2: use 0 or 1"),
        ({"factors": [1, 0, 2]}, r"factors\[1\] is 0: use 1 or more"),
        ({"channels": [8, 12, 16]}, r"channels\[1\] is 12, which groups=8 does not divide"),
        ({"channels": [], "factors": [], "items": [], "attentions": []}, "channels is empty"),
        ({"groups": 0}, "groups is 0: use 1 or more"),
        ({"dim": 4}, "dim is 4: use one of 1, 2, 3"),
        ({"patch": 0}, "patch is 0"),
        ({"patch": 2, "dim": 2}, "patch is 2"),
        ({"sequence_features": 6, "attentions": [0, 0, 0]}, "sequence_features is 6 and no level attends"),
    ],
)
def test_wrong_configurations_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**changes)


def test_fold_and_unfold() -> None:
    x = torch.randn(2, 3, 20)
    folded = fold(x, 4)
    assert folded.shape == (2, 12, 5)
    assert torch.equal(folded[:, 1 * 4 + 3], x[:, 1, 3::4])  # channel c * patch + phase
    assert torch.equal(unfold(folded, 4), x)


def test_two_dimensions() -> None:
    x = torch.randn(2, 2, 8, 16)
    assert build(dim=2)(x, torch.rand(2)).shape == x.shape


def test_bfloat16_autocast_stays_close_to_float32() -> None:
    network, x, time = build(), torch.randn(2, 2, 64), torch.rand(2)
    exact = network(x, time)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = network(x, time)
        loss = output.float().square().mean()
    assert (output - exact).abs().max() < 0.05 * exact.abs().max()
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_channel_norm_is_layer_norm_over_channels() -> None:
    x = torch.randn(2, 5, 7, dtype=torch.float64, requires_grad=True)
    expected = torch.nn.functional.layer_norm(x.transpose(1, 2), (5,), eps=1e-6).transpose(1, 2)
    torch.testing.assert_close(ChannelNorm.apply(x), expected)
    assert torch.autograd.gradcheck(ChannelNorm.apply, x)


def test_channel_norm_of_loud_float16_does_not_overflow() -> None:
    x = torch.randn(1, 8, 16) * 1000
    torch.testing.assert_close(ChannelNorm.apply(x.half()).float(), ChannelNorm.apply(x), rtol=0, atol=5e-3)


def test_patched_network_runs() -> None:
    network = build(
        channels=[64, 128, 256, 256],
        factors=[1, 4, 4, 4],
        items=[2, 2, 2, 2],
        attentions=[0, 0, 0, 1],
        patch=16,
    )
    assert network.multiple == 1024
    x = torch.randn(1, 2, 32768)
    with torch.no_grad():
        assert network(x, torch.rand(1)).shape == x.shape


def test_gated_network_starts_as_its_outer_skip_and_learns_everywhere() -> None:
    torch.manual_seed(0)
    config = SMALL | {"gated": True, "patch": 2}
    network = UNet(**config)
    assert network.gate is not None
    x, time = torch.randn(2, config["in_channels"], 8 * network.multiple), torch.rand(2)
    with torch.no_grad():
        network.gate.share.bias.fill_(-1)  # a closed gate: what is left comes through the network alone
        through = network(x, time)
        network.gate.share.bias.fill_(0)
        torch.testing.assert_close(network(x, time), x + through)
    for parameter in network.parameters():  # leave the zeros of the beginning, behind which nothing is learned yet
        torch.nn.init.normal_(parameter, std=0.1)
    network(x, time).square().mean().backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad.abs().max() == 0] == []
