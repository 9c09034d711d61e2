"""The U-Net of tiny-audio-diffusion and of audio-diffusion-pytorch 0.1 (UNetV0), in whatever file it lies."""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tiny_audio_diffusion.command import ROOT
from tiny_audio_diffusion.foreign.configuration import chosen, configuration, settings
from tiny_audio_diffusion.foreign.model import Foreign, explain_mismatch, under_our_names
from tiny_audio_diffusion.foreign.unet_names import FREQUENCIES, OUTERMOST, rename, seen_arguments, tensor_names
from tiny_audio_diffusion.network import UNet

TINY = "tiny-audio-diffusion"
UNET_V0 = "audio-diffusion-pytorch"
GUIDED = "blocks.2.blocks.1.net"  # where the outermost level stands in a network with embeddings
COUNTERS = {"step", "initted"}  # of ema-pytorch, of no use here; their shapes changed over its versions

NETWORK = ("channels", "factors", "items", "attentions", "attention_heads", "attention_features")
# Where the settings of their training stand in our configuration.
TRAINING = {
    "model.lr": "module.optimizer.lr",
    "model.lr_eps": "module.optimizer.eps",
    "model.lr_weight_decay": "module.optimizer.weight_decay",
    "model.ema_beta": "callbacks.average.beta",
    "model.ema_power": "callbacks.average.power",
    "sampling_rate": "sampling_rate",
    "length": "length",
}


@dataclass
class Said:
    """What a config.yaml says: arguments of our network, and values of our configuration by their place."""

    network: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    file: Path | None = None


def kind(names: Set[str]) -> str | None:
    """Which of the two projects wrote a file with these names, if any."""
    prefixes = _prefixes(names)
    if {"model.net.", "model_ema.ema_model.net."} <= set(prefixes):
        return TINY
    return UNET_V0 if prefixes else None


def read(
    file: Path, weights: Mapping[str, Tensor], *, kind: str, step: int | None, config_file: Path | None
) -> Foreign:
    """The averaged weights for sounds and those in training, where the file has both."""
    sets, notes = _sets(file, weights), []
    if len(sets) == 1:
        notes.append("the file holds one set of weights, for sounds and for training alike")
    if any(value.dtype != torch.float32 for value in sets[0].values()):
        notes.append("the weights were converted to float32")
    said = _said(file, config_file)
    try:
        seen = seen_arguments(sets[0])
    except ValueError as error:
        raise ValueError(f"{file} holds a UNetV0, but {error}") from error
    arguments = _arguments(file, seen, said, notes)
    with torch.device("meta"):
        network = UNet(**arguments)
    states = [under_our_names(_fitted(file, each, network)) for each in sets]
    values = {f"network.{name}": value for name, value in arguments.items()} | said.values
    config = configuration(values=values | {"channels": arguments["in_channels"]}, name=kind)
    if not {"sampling_rate", "length"} <= said.values.keys():
        notes.append(f"{config.sampling_rate} Hz and {config.length} samples are assumed, as published")
    return Foreign(
        kind=kind,
        config=config,
        state_dict=states[0],
        current_model_state=states[1] if len(states) == 2 else None,
        step=step,
        notes=notes,
    )


def _prefixes(names: Set[str]) -> list[str]:
    """What stands before the names of each copy of a UNetV0."""
    found = [name.removesuffix(FREQUENCIES) for name in names if name.endswith(FREQUENCIES)]
    ways_in = [f"{path}.block.blocks.0.block.weight" for path in (OUTERMOST, GUIDED)]
    return [prefix for prefix in found if any(prefix + name in names for name in ways_in)]


def _sets(file: Path, weights: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """The different sets of weights, averaged ones first: a file has each several times, under the names of owners."""
    copies: dict[str, dict[str, Tensor]] = {prefix: {} for prefix in _prefixes(weights.keys())}
    besides = []
    for name, value in weights.items():
        prefix = max((prefix for prefix in copies if name.startswith(prefix)), key=len, default=None)
        if prefix is not None:
            copies[prefix][name.removeprefix(prefix)] = value
        elif name.rpartition(".")[2] not in COUNTERS:
            besides.append(name)
    if besides:
        some = ", ".join(besides[:3])
        raise ValueError(f"{file} holds a UNetV0 and {len(besides)} tensors that are no part of it, such as {some}")
    averaged = [prefix for prefix in copies if "ema_model." in prefix]
    online = [prefix for prefix in copies if prefix not in averaged]
    return [_merged(file, [copies[prefix] for prefix in group]) for group in (averaged, online) if group]


def _merged(file: Path, copies: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    """One set of weights from copies that have to be equal, whole or in parts."""
    merged: dict[str, Tensor] = {}
    for name, value in ((name, value) for copy in copies for name, value in copy.items()):
        if not _same(merged.setdefault(name, value), value):
            raise ValueError(f"{file} holds several copies of one network that differ, for example in {name}")
    return merged


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and (one.data_ptr() == other.data_ptr() or torch.equal(one, other))


def _said(file: Path, config_file: Path | None) -> Said:
    """What the given config.yaml says, or the one beside the weights if it is theirs."""
    path = config_file or file.with_name("config.yaml")
    if not path.is_file():
        return Said()
    loaded = settings(path)
    if chosen(loaded, "model.model.channels") is None:
        if config_file is not None:
            raise ValueError(f"{path} describes no network: model.model.channels is missing")
        return Said()
    network = {name: chosen(loaded, f"model.model.{name}") for name in ("in_channels", *NETWORK, "modulation_features")}
    network["groups"] = chosen(loaded, "model.model.resnet_groups")
    values = {place: chosen(loaded, name) for name, place in TRAINING.items()}
    betas = [chosen(loaded, f"model.lr_beta{number}") for number in (1, 2)]
    values["module.optimizer.betas"] = betas if None not in betas else None
    return Said(network=_given(network), values=_given(values), file=path)


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _arguments(file: Path, seen: dict[str, Any] | None, said: Said, notes: list[str]) -> dict[str, Any]:
    """Arguments of our network: seen in the shapes, the rest as config.yaml says or else as published."""
    published = settings(ROOT / "configs" / "network" / "published.yaml")
    if seen is None:  # the comparison with the weights will tell what is wrong with them
        return {name: chosen(published, name) for name in NETWORK} | {"in_channels": 2} | said.network
    width = seen.pop("attention_width")
    heads = said.network.get("attention_heads", published.attention_heads)
    if width % heads:
        raise ValueError(f"{file}: {heads} attention heads do not divide a width of {width}: give its config.yaml")
    idle = said.network.get("attention_features", published.attention_features)  # where nothing attends
    seen |= {"attention_heads": heads, "attention_features": width // heads if width else idle}
    other = [name for name, value in said.network.items() if name in seen and seen[name] != value]
    if other:
        lines = [f"  {name}: {said.network[name]} there, {seen[name]} in the weights" for name in other]
        raise ValueError("\n".join([f"{said.file} describes another network than {file} holds:", *lines]))
    if said.file is None:
        notes.append(f"there is no config.yaml: {heads} attention heads and the published groups are assumed")
    return seen | ({"groups": said.network["groups"]} if "groups" in said.network else {})


def _fitted(file: Path, weights: dict[str, Tensor], network: UNet) -> dict[str, Tensor]:
    """One set of weights by our names, if it is complete and nothing else is in it."""
    ours, names = network.state_dict(), tensor_names(network)
    given = {own for name, own in names.items() if name in weights}  # one layer has two names and may lack one
    expected = {name: ours[own] for name, own in names.items() if name in weights or own not in given}
    if difference := explain_mismatch(expected, weights):
        raise ValueError(f"the weights in {file} are not those of a UNetV0: {difference}")
    renamed = rename(weights, network)
    for name, value in weights.items():
        if not _same(renamed[names[name]], value):
            raise ValueError(f"{file} holds two layers where UNetV0 has one: {name} differs from its twin")
    return renamed
