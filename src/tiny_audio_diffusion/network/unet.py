"""The U-Net of the published models, as one flat list of levels."""

from collections.abc import Sequence
from functools import partial
from math import prod
from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from tiny_audio_diffusion.network.base import Network
from tiny_audio_diffusion.network.layers import Attention, Gate, ModulatedBlock, Modulation, ResidualBlock, TimeFeatures
from tiny_audio_diffusion.network.layout import CONVOLUTIONS, lay_out, over_positions


class Item(nn.Module):
    """One step within a level: residual block and modulation, one after the other or in one, then attention if any."""

    def __init__(
        self,
        residual: ResidualBlock | ModulatedBlock,
        modulation: Modulation | None,
        attention: Attention | None,
        cross_attention: Attention | None,
    ) -> None:
        super().__init__()
        self.residual = residual
        self.modulation = modulation
        self.attention = attention
        self.cross_attention = cross_attention

    def forward(self, x: Tensor, features: Tensor, sequence: Tensor | None) -> Tensor:
        x = self.residual(x, features) if self.modulation is None else self.modulation(self.residual(x), features)
        if self.attention is not None:
            x = self.attention(x)
        if self.cross_attention is not None:
            x = self.cross_attention(x, sequence)
        return x


class Level(nn.Module):
    """One resolution, with `factor` outside positions to each of its own; the next level works between its two ways."""

    def __init__(
        self,
        downsample: nn.Module,
        descent: list[Item],
        ascent: list[Item],
        upsample: nn.Module,
        skip: nn.Linear,
        *,
        factor: int,
    ) -> None:
        super().__init__()
        self.downsample = downsample
        self.descent = nn.ModuleList(descent)
        self.ascent = nn.ModuleList(ascent)
        self.upsample = upsample
        self.skip = skip
        self.factor = factor

    def enter(self, x: Tensor, features: Tensor, sequence: Tensor | None) -> Tensor:
        """From the outside to this level, through the items on the way down."""
        x = self.downsample(x)
        for item in self.descent:
            x = item(x, features, sequence)
        return x

    def leave(self, x: Tensor, outside: Tensor, features: Tensor, sequence: Tensor | None) -> Tensor:
        """Through the items on the way up, back to the outside: outside + scale(features) * result."""
        for item in self.ascent:
            x = item(x, features, sequence)
        x = F.interpolate(x, size=outside.shape[2:]) if self.factor > 1 else x
        return torch.addcmul(outside, over_positions(self.skip(features), x), self.upsample(x))


class UNet(Network):
    """Predicts from noisy sound x [B, C, L] and time [B]; each entry of the lists describes one level.

    `patch` consecutive samples count as one position of as many more channels. Conditions: a vector [B, features]
    joins the time, a sequence [B, N, features] is attended to wherever the level has attention, and channels
    [B, C, L] stand beside the noisy sound.

    `gated` is for new models: modulation acts inside the residual blocks and not on the stream, and the noisy sound
    reaches the prediction through a learned gate, not whole. The published models are not gated.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        channels: Sequence[int],
        factors: Sequence[int],
        items: Sequence[int],
        attentions: Sequence[int],
        attention_heads: int,
        attention_features: int,
        modulation_features: int = 1024,
        groups: int = 8,
        dim: int = 1,
        patch: int = 1,
        gated: bool = False,
        vector_features: int = 0,
        sequence_features: int = 0,
        condition_channels: int = 0,
    ) -> None:
        super().__init__()
        _check_lists(channels=channels, factors=factors, items=items, attentions=attentions)
        _check_shape(in_channels, channels, groups, dim, patch)
        if sequence_features and not any(attentions):
            raise ValueError(f"sequence_features is {sequence_features} and no level attends: set some attentions")
        self.dim, self.patch = dim, patch
        self.multiple = patch * prod(factors)
        self.takes = {
            "vector": vector_features > 0,
            "sequence": sequence_features > 0,
            "channels": condition_channels > 0,
        }
        self.time = TimeFeatures(modulation_features)
        self.vector = nn.Linear(vector_features, modulation_features) if vector_features else None

        convolution = CONVOLUTIONS[dim]
        attention = partial(Attention, heads=attention_heads, features=attention_features)
        block = partial(make_block, features=modulation_features, groups=groups, dim=dim, gated=gated)

        def item(width: int, attends: bool) -> Item:
            own = attention(width) if attends else None
            cross = attention(width, sequence_features=sequence_features) if attends and sequence_features else None
            return Item(*block(width), own, cross)

        self.gate = Gate(patch * in_channels, features=modulation_features) if gated else None
        self.levels = nn.ModuleList()
        outer, conditions = patch * in_channels, patch * condition_channels
        for width, factor, count, attends in zip(channels, factors, items, attentions, strict=True):
            level = Level(
                convolution(outer + conditions, width, kernel_size=factor, stride=factor),
                [item(width, bool(attends)) for _ in range(count)],
                [item(width, bool(attends)) for _ in range(count)],
                convolution(width, outer, kernel_size=3, padding=1),
                nn.Linear(modulation_features, outer),
                factor=factor,
            )
            self.levels.append(level)
            outer, conditions = width, 0

    def forward(
        self,
        x: Tensor,  # [B, C, L]
        time: Tensor,  # [B]
        *,
        vector: Tensor | None = None,  # [B, vector_features]
        sequence: Tensor | None = None,  # [B, N, sequence_features]
        channels: Tensor | None = None,  # [B, condition_channels, L]
    ) -> Tensor:
        self._check_conditions(vector=vector, sequence=sequence, channels=channels)
        for length in x.shape[2:]:
            self.check_length(length)
        features = self.time(time, None if self.vector is None else self.vector(vector))
        features = F.silu(features)  # what every modulation and skip reads of them

        x = self._fold(x)
        # Only the first level's way in sees the condition: its skip carries the noisy input alone.
        inward = x if channels is None else torch.cat([x, self._fold(channels)], dim=1)
        levels = cast(list[Level], list(self.levels))
        outsides: list[Tensor] = []
        for level in levels:
            outsides.append(x if self.gate is None or outsides else self.gate(x, features))
            x = inward = self.step(level.enter, inward, features, sequence)
        for level in reversed(levels):
            x = self.step(level.leave, x, outsides.pop(), features, sequence)
        return unfold(x.squeeze(2).contiguous() if x.ndim > self.dim + 2 else x, self.patch)

    def _fold(self, x: Tensor) -> Tensor:
        """Patches as channels, in the layout that the layers like best."""
        return lay_out(fold(x, self.patch)) if self.dim == 1 else x

    def _check_conditions(self, **conditions: Tensor | None) -> None:
        for name, given in conditions.items():
            if self.takes[name] and given is None:
                raise ValueError(f"the network needs the condition {name!r}")
            if given is not None and not self.takes[name]:
                raise ValueError(f"the network takes no condition {name!r}")


def make_block(
    channels: int, *, features: int, groups: int, dim: int, gated: bool
) -> tuple[ResidualBlock | ModulatedBlock, Modulation | None]:
    """A residual block and a modulation after it, or one block that is both."""
    if gated:
        return ModulatedBlock(channels, features, groups=groups, dim=dim), None
    return ResidualBlock(channels, groups=groups, dim=dim), Modulation(channels, features=features)


def fold(x: Tensor, patch: int) -> Tensor:
    """Moves `patch` samples into channels: [B, C, L] to [B, C * patch, L / patch], channel c * patch + phase."""
    if patch == 1:
        return x
    return rearrange(x, "b c (l p) -> b (c p) l", p=patch)


def unfold(x: Tensor, patch: int) -> Tensor:
    """Undoes `fold`: [B, C * patch, L / patch] to [B, C, L]."""
    if patch == 1:
        return x
    return rearrange(x, "b (c p) l -> b c (l p)", p=patch)


def _check_lists(**lists: Sequence[int]) -> None:
    levels = len(lists["channels"])
    for name, values in lists.items():
        if len(values) != levels:
            raise ValueError(f"{name} has {len(values)} entries, channels has {levels}: give one for each level")
        least = 0 if name in ("items", "attentions") else 1
        for index, value in enumerate(values):
            if value < least or (name == "attentions" and value > 1):
                choices = "0 or 1" if name == "attentions" else f"{least} or more"
                raise ValueError(f"{name}[{index}] is {value}: use {choices}")
    if levels == 0:
        raise ValueError("channels is empty: give one entry for each level")


def _check_shape(in_channels: int, channels: Sequence[int], groups: int, dim: int, patch: int) -> None:
    if in_channels < 1:
        raise ValueError(f"in_channels is {in_channels}: use 1 or more")
    if dim not in CONVOLUTIONS:
        raise ValueError(f"dim is {dim}: use one of {', '.join(map(str, CONVOLUTIONS))}")
    if patch < 1 or (patch > 1 and dim > 1):
        raise ValueError(f"patch is {patch}: use 1 or, where dim is 1, more")
    if groups < 1:
        raise ValueError(f"groups is {groups}: use 1 or more")
    for index, width in enumerate(channels):
        if width % groups:
            raise ValueError(f"channels[{index}] is {width}, which groups={groups} does not divide")
