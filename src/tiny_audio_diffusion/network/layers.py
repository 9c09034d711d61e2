"""The layers that the U-Net is made of."""

from math import pi

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tiny_audio_diffusion.network.attention import attend
from tiny_audio_diffusion.network.layout import CONVOLUTIONS, over_positions, positions_of, project, tokens_of
from tiny_audio_diffusion.network.norms import activated, modulated


class TimeFeatures(nn.Module):
    """Turns network time [B] into features [B, features] through learned Fourier frequencies."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.frequencies = nn.Parameter(torch.randn(128))
        self.project = nn.Linear(1 + 2 * 128, features)
        self.shared = nn.Linear(features, features)

    def forward(self, time: Tensor, extra: Tensor | None = None) -> Tensor:
        time = time.to(self.frequencies.dtype)[:, None]  # [B, 1]
        phase = 2 * pi * time * self.frequencies
        features = F.gelu(self.project(torch.cat([time, phase.sin(), phase.cos()], dim=1)))
        if extra is not None:
            features = features + extra
        # The published network runs one layer twice: both steps share their weights.
        for _ in range(2):
            features = F.gelu(self.shared(features))
        return features


class ResidualBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x))))))."""

    def __init__(self, channels: int, *, groups: int, dim: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels)
        self.conv1 = CONVOLUTIONS[dim](channels, channels, kernel_size=3, padding=1)
        self.norm2 = nn.GroupNorm(groups, channels)
        self.conv2 = CONVOLUTIONS[dim](channels, channels, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv1(activated(self.norm1, x))
        return x + self.conv2(activated(self.norm2, hidden))


class ModulatedBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))) * (1 + scale) + shift)), with scale and shift from the features.

    The stream x itself is never normalised, so it carries how loud each position is; the block begins as x alone.
    """

    def __init__(self, channels: int, features: int, *, groups: int, dim: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels)
        self.conv1 = CONVOLUTIONS[dim](channels, channels, kernel_size=3, padding=1)
        self.norm2 = nn.GroupNorm(groups, channels)
        self.scale_shift = nn.Linear(features, 2 * channels)
        self.conv2 = CONVOLUTIONS[dim](channels, channels, kernel_size=3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        if self.conv2.bias is not None:
            nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        hidden = self.norm2(self.conv1(activated(self.norm1, x)))
        scale, shift = over_positions(self.scale_shift(features).to(hidden.dtype), hidden).chunk(2, dim=1)
        return x + self.conv2(F.silu(torch.addcmul(shift, hidden, 1 + scale)))


class Gate(nn.Module):
    """Lets through the share of x that the features say, per channel; all of it in the beginning."""

    def __init__(self, channels: int, *, features: int) -> None:
        super().__init__()
        self.share = nn.Linear(features, channels)
        nn.init.zeros_(self.share.weight)
        nn.init.zeros_(self.share.bias)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        return x * (1 + over_positions(self.share(features).to(x.dtype), x))


class Modulation(nn.Module):
    """Normalises the channels of each position, then scales and shifts each channel as the features say."""

    def __init__(self, channels: int, *, features: int) -> None:
        super().__init__()
        self.scale_shift = nn.Linear(features, 2 * channels)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        scale, shift = self.scale_shift(features).chunk(2, dim=1)
        return modulated(x, scale, shift)


class Attention(nn.Module):
    """x + attention of its positions to each other, or to the tokens of a sequence."""

    def __init__(self, channels: int, *, heads: int, features: int, sequence_features: int | None = None) -> None:
        super().__init__()
        context = channels if sequence_features is None else sequence_features
        self.heads = heads
        self.query_norm = nn.LayerNorm(channels)
        self.context_norm = nn.LayerNorm(context)
        self.query = nn.Linear(channels, heads * features, bias=False)
        self.key_value = nn.Linear(context, 2 * heads * features, bias=False)
        self.out = nn.Linear(heads * features, channels, bias=False)

    def forward(self, x: Tensor, sequence: Tensor | None = None) -> Tensor:
        tokens = tokens_of(x)
        query = project(self.query, self.query_norm(tokens))
        context = self.context_norm(tokens if sequence is None else sequence)
        key, value = project(self.key_value, context).chunk(2, dim=-1)
        attended = attend(self._split(query), self._split(key), self._split(value))
        change = project(self.out, attended.transpose(1, 2).flatten(2))  # [B, N, C]
        return x + positions_of(change, x)

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, heads, N, features]
