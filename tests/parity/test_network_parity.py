"""Our U-Net computes what UNetV0 of audio-diffusion-pytorch computes, forwards and backwards."""

import pytest
import torch

pytest.importorskip("a_unet")
pytest.importorskip("audio_diffusion_pytorch")

from upstream import build_pair

from tiny_audio_diffusion.foreign.unet_names import key_map

PUBLISHED = {
    "in_channels": 2,
    "channels": [32, 32, 64, 64, 128, 128, 256, 256],
    "factors": [1, 2, 2, 2, 2, 2, 2, 2],
    "items": [2, 2, 2, 2, 2, 2, 4, 4],
    "attentions": [0, 0, 0, 0, 0, 1, 1, 1],
    "attention_heads": 8,
    "attention_features": 64,
}
SMALL = {
    "in_channels": 3,
    "channels": [8, 12, 20],
    "factors": [1, 3, 2],
    "items": [1, 2, 3],
    "attentions": [0, 1, 1],
    "attention_heads": 3,
    "attention_features": 5,
    "modulation_features": 24,
    "groups": 4,
}
TOLERANCE = {"rtol": 0, "atol": 1e-5}


def test_published_network_at_full_length() -> None:
    theirs, ours = build_pair(PUBLISHED)
    assert sum(parameter.numel() for parameter in ours.parameters()) == 31_574_724
    x, time = torch.randn(1, 2, 32768), torch.tensor([0.5])
    with torch.no_grad():
        torch.testing.assert_close(ours(x, time), theirs(x, time), **TOLERANCE)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("length", [6, 66])
def test_small_network(batch: int, length: int) -> None:
    theirs, ours = build_pair(SMALL)
    x, time = torch.randn(batch, 3, length), torch.rand(batch)
    torch.testing.assert_close(ours(x, time), theirs(x, time), **TOLERANCE)


def test_gradients() -> None:
    theirs, ours = build_pair(SMALL)
    x, time = torch.randn(2, 3, 30), torch.rand(2)
    for network in (theirs, ours):
        network(x, time).square().mean().backward()
    gradients = dict(ours.named_parameters())
    for path, own in key_map(ours).items():
        for leaf, parameter in theirs.get_submodule(path).named_parameters():
            torch.testing.assert_close(gradients[f"{own}.{leaf}"].grad, parameter.grad, rtol=1e-4, atol=1e-6)


def test_cross_attention() -> None:
    theirs, ours = build_pair(SMALL | {"sequence_features": 7})
    x, time, sequence = torch.randn(2, 3, 30), torch.rand(2), torch.randn(2, 4, 7)
    expected = theirs(x, time, embedding=sequence)
    torch.testing.assert_close(ours(x, time, sequence=sequence), expected, **TOLERANCE)


def test_two_dimensions() -> None:
    theirs, ours = build_pair(SMALL | {"dim": 2})
    x, time = torch.randn(2, 3, 12, 18), torch.rand(2)
    torch.testing.assert_close(ours(x, time), theirs(x, time), **TOLERANCE)
