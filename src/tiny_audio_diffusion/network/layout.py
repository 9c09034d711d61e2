"""How tensors lie in memory: [B, C, N] on a GPU, and on a CPU [B, C, 1, N] with channels last, where

- oneDNN's convolutions need no rearrangement before and after them (forward and backward take two thirds of the time),
- LayerNorm over channels is one pass, and tokens [B, N, C] for attention are a view.

All layers take both, and networks of two and three dimensions.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def lay_out(x: Tensor) -> Tensor:
    """[B, C, N] as the layers like it best on its device."""
    if x.device.type != "cpu":
        return x
    return x.unsqueeze(2).contiguous(memory_format=torch.channels_last)


def is_laid_out(x: Tensor) -> bool:
    """Whether x is one row of positions with channels last."""
    return x.ndim == 4 and x.shape[2] == 1 and x.stride(1) == 1


def tokens_of(x: Tensor) -> Tensor:
    """[B, C, N], or with more dimensions for the positions, as [B, N, C]."""
    return (x.squeeze(2) if is_laid_out(x) else x.flatten(2)).transpose(1, 2)


def positions_of(tokens: Tensor, like: Tensor) -> Tensor:
    """Undoes `tokens_of`."""
    x = tokens.transpose(1, 2)
    return x.unsqueeze(2) if is_laid_out(like) else x.reshape(like.shape)


def over_positions(values: Tensor, like: Tensor) -> Tensor:
    """[B, C] as [B, C, 1], with as many dimensions as `like`."""
    return values.reshape(*values.shape, *[1] * (like.ndim - 2))


class Convolution(nn.Conv1d):
    """A convolution along one dimension in either layout; its weights are those of nn.Conv1d."""

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 3:
            return super().forward(x)
        assert isinstance(self.padding, tuple)
        return F.conv2d(x, self.weight.unsqueeze(2), self.bias, (1, *self.stride), (0, *self.padding))


CONVOLUTIONS = {1: Convolution, 2: nn.Conv2d, 3: nn.Conv3d}


def product(one: Tensor, other: Tensor) -> Tensor:
    """one [N, K] otherᵀ [K, M] on a CPU, by oneDNN.

    In float32, behind torch.mm stands another library, which reaches half of the speed on CPUs of AMD: 1.29 against
    0.55 ms for 1024 × 128 × 512 on one core of an AMD EPYC.
    """
    if one.dtype != torch.float32:
        return one @ other.T
    return torch.ops.mkldnn._linear_pointwise(one.contiguous(), other.contiguous(), None, "none", [], "")


def multiplies(x: Tensor) -> bool:
    """Whether `product` is there for tensors like x; a compiler chooses by itself."""
    return not torch.compiler.is_compiling() and x.device.type == "cpu" and torch.backends.mkldnn.is_available()


class Projection(torch.autograd.Function):
    """tokens [B, N, C] weightᵀ, and both gradients, as `product`s."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(tokens, weight)
        return product(tokens.flatten(0, 1), weight).unflatten(0, tokens.shape[:2])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        tokens, weight = ctx.saved_tensors
        rows = gradient.flatten(0, 1)
        to_tokens = product(rows, weight.T).unflatten(0, tokens.shape[:2])
        return to_tokens, product(rows.T, tokens.flatten(0, 1).T)


def project(linear: nn.Linear, tokens: Tensor) -> Tensor:
    """What a layer without bias makes of tokens [B, N, C]; half precision goes to oneDNN anyway."""
    assert linear.bias is None
    if tokens.dtype == linear.weight.dtype == torch.float32 and multiplies(tokens):
        return Projection.apply(tokens, linear.weight)
    return linear(tokens)
