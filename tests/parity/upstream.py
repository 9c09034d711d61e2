"""Networks of audio-diffusion-pytorch, and where each of their weights stands in ours."""

from typing import Any

import torch
from audio_diffusion_pytorch import UNetV0
from torch import Tensor, nn

from tiny_audio_diffusion.network.unet import Item, UNet

# Within a ResNet, modulation or attention item, their names (left) and ours (right).
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
TIME = {"blocks.0.to_out": "time.project", "blocks.1.blocks.0.0": "time.shared", "blocks.1.blocks.1.0": "time.shared"}


def build_upstream(config: dict[str, Any]) -> nn.Module:
    """Their network of the same configuration; `config` holds arguments of our UNet."""
    config = dict(config)
    groups = config.pop("groups", 8)
    features = config.pop("sequence_features", 0)
    if features:
        config |= {"embedding_features": features, "cross_attentions": config["attentions"]}
    return UNetV0(**{"dim": 1, "resnet_groups": groups, **config})


def key_map(ours: UNet) -> dict[str, str]:
    """Maps each of their module paths to ours; their level i + 1 stands inside level i, between its way down and up."""
    names = dict(TIME)
    path = "blocks.2.net"
    for index, level in enumerate(ours.levels):
        here, blocks = f"levels.{index}", f"{path}.block.blocks"
        names[f"{path}.skip.blocks.0.1"] = f"{here}.skip"
        names[f"{blocks}.0.block"] = f"{here}.downsample"
        position = 1
        for number, item in enumerate(level.descent):
            position += _add_item(names, blocks, position, f"{here}.descent.{number}", item)
        path = f"{blocks}.{position}"
        if level is not ours.levels[-1]:
            position += 1
        for number, item in enumerate(level.ascent):
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


def rename(theirs: dict[str, Tensor], ours: UNet) -> dict[str, Tensor]:
    """Their state dict under our names."""
    names = key_map(ours)
    renamed = {}
    for key, value in theirs.items():
        if key == "blocks.0.weights":
            renamed["time.frequencies"] = value
        else:
            path, _, leaf = key.rpartition(".")
            renamed[f"{names[path]}.{leaf}"] = value
    return renamed


def build_pair(config: dict[str, Any], *, seed: int = 0) -> tuple[nn.Module, UNet]:
    """Their network and ours with the same random weights."""
    torch.manual_seed(seed)
    theirs = build_upstream(config)
    ours = UNet(**config)
    ours.load_state_dict(rename(theirs.state_dict(), ours))
    return theirs, ours
