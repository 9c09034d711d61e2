"""What the U-Net is made of, against torch's own layers, forwards and backwards, in both layouts."""

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from test_network import CONDITIONED, build, draw_conditions
from torch import Tensor, nn

from tiny_audio_diffusion.network import unet
from tiny_audio_diffusion.network.attention import HeadByHead, attend
from tiny_audio_diffusion.network.layout import (
    Convolution,
    Projection,
    is_laid_out,
    lay_out,
    positions_of,
    project,
    tokens_of,
)
from tiny_audio_diffusion.network.norms import activated, modulated

LAYOUTS = [lay_out, Tensor.contiguous]


def check_same(
    one: Callable[..., Tensor], other: Callable[..., Tensor], inputs: Sequence[Tensor], *, atol: float = 1e-5
) -> None:
    """Both give the same result and the same gradients of all inputs."""
    results = []
    for function in (one, other):
        given = [value.detach().clone().requires_grad_() for value in inputs]
        output = function(*given)
        weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
        (output * weights.to(output.dtype)).sum().backward()
        results.append([output, *(value.grad for value in given)])
    for ours, theirs in zip(*results, strict=True):
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs, rtol=atol, atol=atol)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
@pytest.mark.parametrize(("queries", "keys"), [(256, 256), (300, 260)])
def test_attention_head_by_head(queries: int, keys: int, dtype: torch.dtype, atol: float) -> None:
    shapes = [(2, length, 3, 16) for length in (queries, keys, keys)]
    inputs = [torch.randn(shape, dtype=dtype) for shape in shapes]

    def by(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda *tokens: function(*(each.transpose(1, 2) for each in tokens))

    check_same(by(HeadByHead.apply), by(F.scaled_dot_product_attention), inputs, atol=atol)
    check_same(by(attend), by(F.scaled_dot_product_attention), inputs, atol=atol)


def test_attention_of_long_sequences_without_gradients() -> None:
    query, key, value = (torch.randn(1, 2, 520, 16) for _ in range(3))
    with torch.no_grad():
        ours = attend(query, key, value)
    torch.testing.assert_close(ours, F.scaled_dot_product_attention(query, key, value), rtol=1e-5, atol=1e-5)


def test_projection() -> None:
    linear, tokens = nn.Linear(12, 20, bias=False), torch.randn(2, 7, 12)
    check_same(Projection.apply, F.linear, [tokens, linear.weight.detach()])
    for dtype in (torch.float32, torch.float64):
        torch.testing.assert_close(project(linear.to(dtype), tokens.to(dtype)), linear(tokens.to(dtype)))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("stride", [1, 2])
def test_convolution(layout: Callable[[Tensor], Tensor], stride: int) -> None:
    convolution = Convolution(4, 6, kernel_size=3, stride=stride, padding=1)
    x = torch.randn(2, 4, 10)
    ours = convolution(layout(x))
    expected = F.conv1d(x, convolution.weight, convolution.bias, stride=stride, padding=1)
    torch.testing.assert_close(ours.reshape(expected.shape), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("batch", [1, 3])
def test_norm_and_activation(layout: Callable[[Tensor], Tensor], batch: int) -> None:
    norm = nn.GroupNorm(4, 8)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(batch, 8, 30) * torch.arange(1, 9)[:, None] + 2

    def ours(x: Tensor) -> Tensor:
        return activated(norm, layout(x)).reshape(x.shape)

    gradients = []
    check_same(ours, lambda x: F.silu(norm(x)), [x])
    for function in (ours, lambda x: F.silu(norm(x))):
        norm.zero_grad()
        function(x).square().sum().backward()
        gradients.append([value.grad.clone() for value in norm.parameters() if value.grad is not None])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("batch", [1, 3])
def test_modulation(layout: Callable[[Tensor], Tensor], batch: int) -> None:
    inputs = [torch.randn(batch, 8, 30), torch.randn(batch, 8), torch.randn(batch, 8)]

    def ours(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        return modulated(layout(x), scale, shift).reshape(x.shape)

    def theirs(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        normal = F.layer_norm(x.transpose(1, 2), (8,), eps=1e-6).transpose(1, 2)
        return normal * (1 + scale[:, :, None]) + shift[:, :, None]

    check_same(ours, theirs, inputs)


@pytest.mark.parametrize("batch", [1, 2])
def test_tokens_are_a_view_and_come_back(batch: int) -> None:
    x = lay_out(torch.randn(batch, 3, 5))
    assert is_laid_out(x)
    tokens = tokens_of(x)
    assert tokens.shape == (batch, 5, 3)
    assert tokens.is_contiguous()
    assert tokens.data_ptr() == x.data_ptr()
    back = positions_of(tokens, x)
    assert torch.equal(back, x)
    assert is_laid_out(back)
    flat = torch.randn(batch, 3, 2, 4)  # of two dimensions
    assert torch.equal(positions_of(tokens_of(flat), flat), flat)


@pytest.mark.parametrize("gated", [False, True])
def test_the_network_is_the_same_in_both_layouts(gated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    network = build(gated=gated, **CONDITIONED).double()
    conditions = {name: value.double() for name, value in draw_conditions(2).items()}
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    x, time = torch.randn(2, 2, 64).double(), torch.rand(2).double()
    found = []
    for layout in LAYOUTS:
        monkeypatch.setattr(unet, "lay_out", layout)
        network.zero_grad()
        output = network(x, time, **conditions)
        output.square().mean().backward()
        gradients = [value.grad for value in network.parameters() if value.grad is not None]
        found.append([output, *gradients])
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-9)
