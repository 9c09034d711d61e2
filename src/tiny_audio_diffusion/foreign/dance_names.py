"""The weights of a DanceUNet as Harmonai's and as diffusers' files hold them, there and back without loss."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from tiny_audio_diffusion.network.dance import CUBIC

OURS = re.compile(r"levels\.(\d+)\.(descent|ascent)\.(\d)\.(block|attention)\.(\w+)\.(\w+)")
TIME = "frequencies"

# Layers within a block or an attention: ours, Harmonai's and diffusers'.
HARMONAI = {
    "block": {"conv1": "main.0", "norm1": "main.1", "conv2": "main.3", "norm2": "main.4", "skip": "skip"},
    "attention": {"norm": "norm", "query_key_value": "qkv_proj", "out": "out_proj"},
}
DIFFUSERS = {
    "block": {
        "conv1": "conv_1",
        "norm1": "group_norm_1",
        "conv2": "conv_2",
        "norm2": "group_norm_2",
        "skip": "conv_skip",
    },
    "attention": {"norm": "group_norm", "out": "proj_attn"},
}


class Layout:
    """How one project calls and shapes the weights of a network of so many levels."""

    def __init__(self, levels: int) -> None:
        self.levels = levels

    def names(self, own: str) -> list[str]:
        """Theirs for one of ours: more than one where they hold it in pieces."""
        raise NotImplementedError

    def shaped(self, value: Tensor, own: str) -> Tensor:
        """One of our tensors, or a piece of it, in their shape."""
        raise NotImplementedError

    def kernels(self) -> dict[str, Tensor]:
        """The resampling filters, which they hold as tensors."""
        raise NotImplementedError


class Harmonai(Layout):
    """Each level stands inside the one outside it; a layer of its list in turn is a block, an attention, a block…"""

    def names(self, own: str) -> list[str]:
        if own == TIME:
            return ["timestep_embed.weight"]
        level, way, number, part, layer, leaf = _place(own)
        if level == 0:
            position = number + (0 if way == "descent" else 4)
        else:
            position = 2 * number + (1 if way == "descent" else 8) + (part == "attention")
        return [f"{self._list(level)}.{position}.{HARMONAI[part][layer]}.{leaf}"]

    def shaped(self, value: Tensor, own: str) -> Tensor:
        return value[:, None] if own == TIME else value

    def kernels(self) -> dict[str, Tensor]:
        down = {f"{self._list(level)}.0.kernel": torch.tensor(CUBIC) for level in range(1, self.levels)}
        up = {f"{self._list(level)}.14.kernel": 2 * torch.tensor(CUBIC) for level in range(1, self.levels)}
        return down | up

    def _list(self, level: int) -> str:
        return "net" if level == 0 else "net.3" + ".main.7" * (level - 1) + ".main"


class Diffusers(Layout):
    """Levels on the way down and on the way up in two lists, the innermost one apart; queries, keys and values too."""

    def names(self, own: str) -> list[str]:
        if own == TIME:
            return ["time_proj.weight"]
        level, way, number, part, layer, leaf = _place(own)
        innermost = level == self.levels - 1
        position = number + (3 if innermost and way == "ascent" else 0)
        here = f"{self._level(level, way)}.{'resnets' if part == 'block' else 'attentions'}.{position}"
        layers = ("query", "key", "value") if layer == "query_key_value" else (DIFFUSERS[part][layer],)
        return [f"{here}.{name}.{leaf}" for name in layers]

    def shaped(self, value: Tensor, own: str) -> Tensor:
        return value.squeeze(-1) if ".attention." in own and value.ndim == 3 else value

    def kernels(self) -> dict[str, Tensor]:
        down = {f"{self._level(level, 'descent')}.down.kernel": torch.tensor(CUBIC) for level in range(1, self.levels)}
        up = {f"{self._level(level, 'ascent')}.up.kernel": 2 * torch.tensor(CUBIC) for level in range(1, self.levels)}
        return down | up

    def _level(self, level: int, way: str) -> str:
        if level == self.levels - 1:
            return "mid_block"
        return f"down_blocks.{level}" if way == "descent" else f"up_blocks.{self.levels - 2 - level}"


def _place(own: str) -> tuple[int, str, int, str, str, str]:
    match = OURS.fullmatch(own)
    assert match, own
    level, way, number, part, layer, leaf = match.groups()
    return int(level), way, int(number), part, layer, leaf


def packed(ours: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """Our network's weights as they hold them."""
    theirs = {}
    for own, value in ours.items():
        names = layout.names(own)
        for name, piece in zip(names, value.chunk(len(names)), strict=True):
            theirs[name] = layout.shaped(piece, own)
    return theirs | layout.kernels()


def unpacked(theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """Their weights under our names and in the shapes of `ours`."""
    weights = {}
    for own, like in ours.items():
        pieces = [theirs[name] for name in layout.names(own)]
        weights[own] = (torch.cat(pieces) if len(pieces) > 1 else pieces[0]).reshape(like.shape)
    return weights
