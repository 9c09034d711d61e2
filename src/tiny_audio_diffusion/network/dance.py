"""The U-Net of the Dance Diffusion models: three blocks on each way through a level, time as extra channels."""

from collections.abc import Sequence
from math import pi
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tiny_audio_diffusion.network.base import Network

CUBIC = (-0.01171875, -0.03515625, 0.11328125, 0.43359375, 0.43359375, 0.11328125, -0.03515625, -0.01171875)
HEAD_FEATURES = 32


class Downsample(nn.Module):
    """Every second position, after a cubic filter."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", torch.tensor(CUBIC), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        kernel = self.kernel.to(x.dtype).expand(channels, 1, -1)
        return F.conv1d(F.pad(x, (3, 3), mode="reflect"), kernel, stride=2, groups=channels)


class Upsample(nn.Module):
    """Twice the positions: zeros in between, then the same filter at twice the gain."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", 2 * torch.tensor(CUBIC), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        kernel = self.kernel.to(x.dtype).expand(channels, 1, -1)
        return F.conv_transpose1d(F.pad(x, (2, 2), mode="reflect"), kernel, stride=2, padding=7, groups=channels)


class ConvolutionBlock(nn.Module):
    """x + gelu(norm(conv(gelu(norm(conv(x)))))); the `last` block of a network ends with its convolution."""

    def __init__(self, channels: int, out_channels: int, *, middle: int, last: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(channels, middle, kernel_size=5, padding=2)
        self.norm1 = nn.GroupNorm(1, middle)
        self.conv2 = nn.Conv1d(middle, out_channels, kernel_size=5, padding=2)
        self.norm2 = None if last else nn.GroupNorm(1, out_channels)
        same = channels == out_channels
        self.skip = None if same else nn.Conv1d(channels, out_channels, kernel_size=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv2(F.gelu(self.norm1(self.conv1(x))))
        if self.norm2 is not None:
            hidden = F.gelu(self.norm2(hidden))
        return hidden + (x if self.skip is None else self.skip(x))


class SelfAttention(nn.Module):
    """x + attention of its positions to each other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = channels // HEAD_FEATURES
        self.norm = nn.GroupNorm(1, channels)
        self.query_key_value = nn.Conv1d(channels, 3 * channels, kernel_size=1)
        self.out = nn.Conv1d(channels, channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.query_key_value(self.norm(x)).chunk(3, dim=1)
        query, key, value = (part.unflatten(1, (self.heads, -1)).transpose(2, 3) for part in parts)  # [B, heads, N, 32]
        attended = F.scaled_dot_product_attention(query, key, value)
        return x + self.out(attended.transpose(2, 3).flatten(1, 2))


class Item(nn.Module):
    """One step within a level: a block, then attention if any."""

    def __init__(self, block: ConvolutionBlock, attention: SelfAttention | None) -> None:
        super().__init__()
        self.block = block
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(x)
        return x if self.attention is None else self.attention(x)


class Level(nn.Module):
    """One resolution, half as fine as the level outside it; the outermost has none outside."""

    def __init__(self, inside: int, outside: int, out: int, *, width: int, attends: bool, outermost: bool) -> None:
        super().__init__()
        self.downsample = None if outermost else Downsample()
        self.upsample = None if outermost else Upsample()

        def item(channels: int, out_channels: int, *, last: bool = False) -> Item:
            block = ConvolutionBlock(channels, out_channels, middle=width, last=last)
            return Item(block, SelfAttention(out_channels) if attends else None)

        self.descent = nn.Sequential(item(outside, width), item(width, width), item(width, width))
        self.ascent = nn.Sequential(item(inside, width), item(width, width), item(width, out, last=outermost))

    def enter(self, x: Tensor) -> Tensor:
        """From the outside to this level, through the items on the way down."""
        return self.descent(x if self.downsample is None else self.downsample(x))

    def leave(self, x: Tensor) -> Tensor:
        """Through the items on the way up, back to the outside."""
        x = self.ascent(x)
        return x if self.upsample is None else self.upsample(x)


class DanceUNet(Network):
    """Predicts from noisy sound x [B, C, L] and time [B]; each entry of the lists describes one level.

    Time enters as `time_features` channels beside the sound: cosines and sines of learned frequencies. Where two
    levels meet, the result of the inner one and what went into it stand side by side.
    """

    def __init__(
        self, *, in_channels: int, channels: Sequence[int], attentions: Sequence[int], time_features: int = 16
    ) -> None:
        super().__init__()
        _check_lists(channels, attentions)
        self.multiple = 2 ** (len(channels) - 1)
        self.frequencies = nn.Parameter(torch.randn(time_features // 2))
        self.levels = nn.ModuleList()
        for index, (width, attends) in enumerate(zip(channels, attentions, strict=True)):
            outermost, innermost = index == 0, index == len(channels) - 1
            level = Level(
                width if innermost else 2 * width,
                in_channels + time_features if outermost else channels[index - 1],
                in_channels if outermost else channels[index - 1],
                width=width,
                attends=bool(attends),
                outermost=outermost,
            )
            self.levels.append(level)
        with torch.no_grad():
            for parameter in self.levels.parameters():
                parameter.mul_(0.5)  # as published: so many sums of blocks would begin too loud

    def forward(self, x: Tensor, time: Tensor) -> Tensor:  # [B, C, L], [B]
        self.check_length(x.shape[-1])
        phase = 2 * pi * time.to(self.frequencies.dtype)[:, None] * self.frequencies
        planes = torch.cat([phase.cos(), phase.sin()], dim=1)[:, :, None]
        x = torch.cat([x, planes.to(x.dtype).expand(-1, -1, x.shape[-1])], dim=1)
        levels = cast(list[Level], list(self.levels))
        entered: list[Tensor] = []
        for level in levels:
            x = self.step(level.enter, x)
            entered.append(x)
        entered.pop()  # the innermost level works on what entered it
        for level in reversed(levels):
            x = self.step(level.leave, x)
            if entered:
                x = torch.cat([x, entered.pop()], dim=1)
        return x

    def check_length(self, length: int) -> None:
        """The innermost filter mirrors two positions at each end, so it needs three of them."""
        super().check_length(length)
        if len(self.levels) > 1 and length < 3 * self.multiple:
            raise ValueError(f"length {length} is too short for this network: use {3 * self.multiple} or more")


def _check_lists(channels: Sequence[int], attentions: Sequence[int]) -> None:
    if not channels:
        raise ValueError("channels is empty: give one entry for each level")
    if len(attentions) != len(channels):
        raise ValueError(f"attentions has {len(attentions)} entries, channels has {len(channels)}: one for each level")
    if attentions[0]:
        raise ValueError("attentions[0] is 1: the outermost level does not attend, use 0")
    for index, attends in enumerate(attentions):
        widths = channels[index - 1], channels[index]  # the last item on the way up has the width of the level outside
        if attends and any(width % HEAD_FEATURES for width in widths):
            raise ValueError(
                f"level {index} attends, and a head has {HEAD_FEATURES} features: "
                f"channels[{index - 1}] and channels[{index}] must be multiples of it"
            )
