"""Where each weight of UNetV0 stands in our U-Net, and what the shapes of its weights say about it."""

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor

from tiny_audio_diffusion.network.unet import Item, Level, UNet

# Within a residual block, modulation or attention, their names (left) and ours (right).
RESIDUAL = {
    "block.blocks.0.blocks.0.0": "residual.norm1",
    "block.blocks.0.blocks.0.2": "residual.conv1",
    "block.blocks.0.blocks.1.0": "residual.norm2",
    "block.blocks.0.blocks.1.2": "residual.conv2",
}
MODULATION = {"blocks.0.block.blocks.0.1": "modulation.scale_shift"}
ATTENTION = {
    "blocks.0.block.norm": "query_norm",
    "blocks.0.block.norm_context": "context_norm",
    "blocks.0.block.to_q": "query",
    "blocks.0.block.to_kv": "key_value",
    "blocks.0.block.attention.blocks.0": "out",
}
# They hold one layer of the time features twice.
TIME = {"blocks.0.to_out": "time.project", "blocks.1.blocks.0.0": "time.shared", "blocks.1.blocks.1.0": "time.shared"}
FREQUENCIES = "blocks.0.weights"
OUTERMOST = "blocks.2.net"
CONDITIONED = "it is conditioned on embeddings or latents: only unconditional networks can be read"

# What tells the parts of a level apart; the channels of a latent are injected by a convolution.
PARTS = {
    "residual": "block.blocks.0.blocks.0.0.weight",
    "modulation": "blocks.0.block.blocks.0.1.weight",
    "attention": "blocks.0.block.to_q.weight",
    "injection": "block.blocks.0.weight",
}


def key_map(ours: UNet) -> dict[str, str]:
    """Maps each of their module paths to ours; their level i + 1 stands inside level i, between its way down and up."""
    names = dict(TIME)
    path = OUTERMOST
    for index, level in enumerate(cast(list[Level], list(ours.levels))):
        here, blocks = f"levels.{index}", f"{path}.block.blocks"
        names[f"{path}.skip.blocks.0.1"] = f"{here}.skip"
        names[f"{blocks}.0.block"] = f"{here}.downsample"
        position = 1
        for number, item in enumerate(cast(list[Item], list(level.descent))):
            position += _add_item(names, blocks, position, f"{here}.descent.{number}", item)
        path = f"{blocks}.{position}"
        if level is not ours.levels[-1]:
            position += 1
        for number, item in enumerate(cast(list[Item], list(level.ascent))):
            position += _add_item(names, blocks, position, f"{here}.ascent.{number}", item)
        names[f"{blocks}.{position}.block.1"] = f"{here}.upsample"
    return names


def _add_item(names: dict[str, str], blocks: str, position: int, here: str, item: Item) -> int:
    """Adds the parts of one of our items, each a block of its own in theirs, and returns how many they are."""
    parts = [RESIDUAL, MODULATION]
    for attention in ("attention", "cross_attention"):
        if getattr(item, attention) is not None:
            parts.append({theirs: f"{attention}.{own}" for theirs, own in ATTENTION.items()})
    for offset, part in enumerate(parts):
        for theirs, own in part.items():
            names[f"{blocks}.{position + offset}.{theirs}"] = f"{here}.{own}"
    return len(parts)


def tensor_names(ours: UNet) -> dict[str, str]:
    """Maps the name of each of their tensors to ours."""
    names = {FREQUENCIES: "time.frequencies"}
    for path, own in key_map(ours).items():
        for leaf, _ in ours.get_submodule(own).named_parameters():
            names[f"{path}.{leaf}"] = f"{own}.{leaf}"
    return names


def rename(theirs: Mapping[str, Tensor], ours: UNet) -> dict[str, Tensor]:
    """Their state dict under our names."""
    names = tensor_names(ours)
    return {names[name]: value for name, value in theirs.items()}


def seen_arguments(theirs: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """Arguments of our U-Net as far as the shapes tell them, or None where the layers are not those of UNetV0.

    The product of attention heads and features is `attention_width`; 0 where nothing attends.
    """
    if any(name.startswith("blocks.2.blocks.") for name in theirs):  # around the network stands what guides it
        raise ValueError(CONDITIONED)
    seen: dict[str, Any] = {"channels": [], "factors": [], "items": [], "attentions": []}
    path, width = OUTERMOST, 0
    while f"{path}.skip.blocks.0.1.weight" in theirs:
        blocks = f"{path}.block.blocks"
        parts = _parts(theirs, blocks)
        innermost = f"{blocks}.{len(parts) + 1}.block.1.weight" in theirs
        down = theirs.get(f"{blocks}.0.block.weight")
        if down is None or down.ndim < 3:
            return None
        if down.ndim > 3:
            raise ValueError("it is made for pictures: only networks of one dimension can be read")
        if "injection" in parts or parts.count("attention") > parts.count("residual"):
            raise ValueError(CONDITIONED)
        seen.setdefault("in_channels", down.shape[1])
        seen["channels"].append(down.shape[0])
        seen["factors"].append(down.shape[2])
        seen["items"].append(parts.count("residual") // (2 if innermost else 1))
        seen["attentions"].append(int("attention" in parts))
        if "attention" in parts:
            width = theirs[f"{blocks}.{parts.index('attention') + 1}.{PARTS['attention']}"].shape[0]
        path = f"{blocks}.{len(parts) + 1}"
    projection = theirs.get("blocks.0.to_out.weight")
    if projection is None or not seen["channels"]:
        return None
    return seen | {"modulation_features": projection.shape[0], "attention_width": width}


def _parts(theirs: Mapping[str, Tensor], blocks: str) -> list[str]:
    """What stands in a level from position 1 on: up to the next level, in the innermost up to the way out."""
    parts: list[str] = []
    while True:
        here = f"{blocks}.{len(parts) + 1}"
        part = next((part for part, name in PARTS.items() if f"{here}.{name}" in theirs), None)
        if part is None:
            return parts
        parts.append(part)
