"""Dance Diffusion models: Harmonai's .ckpt and the folders of diffusers, to our names and back."""

from collections.abc import Mapping, Set
from itertools import count
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from tiny_audio_diffusion.foreign.configuration import chosen, configuration, settings
from tiny_audio_diffusion.foreign.dance_names import TIME, Diffusers, Harmonai, Layout, packed, unpacked
from tiny_audio_diffusion.foreign.model import NETWORK, Foreign, explain_mismatch, under_our_names
from tiny_audio_diffusion.network.dance import DanceUNet

HARMONAI = "dance-diffusion"
DIFFUSERS = "dance-diffusion-diffusers"
PREFIXES = ("diffusion_ema.", "diffusion.", "")  # averaged weights, weights in training, either
LAYOUTS: dict[str, type[Layout]] = {HARMONAI: Harmonai, DIFFUSERS: Diffusers}

# What the published models say nowhere but in their names: Hz and samples.
PUBLISHED = {
    "maestro": (16000, 65536),
    "unlocked": (16000, 65536),
    "honk": (16000, 65536),
    "jmann-large": (48000, 131072),
    "": (48000, 65536),
}
ADAM = {"lr": 4e-5, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0}


def kind(names: Set[str]) -> str | None:
    """Which of the two layouts has these names, if any."""
    for kind, layout in LAYOUTS.items():
        first = layout(2).names(_first(0))[0]
        if any(prefix + first in names and prefix + layout(2).names(TIME)[0] in names for prefix in PREFIXES):
            return kind
    return None


def read(
    file: Path, weights: Mapping[str, Tensor], *, kind: str, step: int | None, config_file: Path | None
) -> Foreign:
    """The averaged weights for sounds and those in training, where the file has both."""
    notes: list[str] = []
    sets = _sets(file, weights)
    if len(sets) == 1:
        notes.append("the file holds one set of weights, for sounds and for training alike")
    if any(value.dtype != torch.float32 for value in sets[0].values()):
        notes.append("the weights were converted to float32")
    arguments = _arguments(sets[0], LAYOUTS[kind])
    with torch.device("meta"):
        network = DanceUNet(**arguments)
    layout = LAYOUTS[kind](len(network.levels))
    states = [under_our_names(_fitted(file, each, network, layout)) for each in sets]
    rate, length = _sounds(file, config_file, notes)
    values = {f"network.{name}": value for name, value in arguments.items()}
    values |= {f"module.optimizer.{name}": value for name, value in ADAM.items()}
    values |= {"channels": arguments["in_channels"], "sampling_rate": rate, "length": length}
    choices = ["network=dance", "schedule@noise=crash", "schedule@ladder=crash"]
    return Foreign(
        kind=kind,
        config=configuration(choices, values=values, name=kind),
        state_dict=states[0],
        current_model_state=states[1] if len(states) == 2 else None,
        step=step,
        notes=notes,
    )


def to_harmonai(state: Mapping[str, Tensor], *, current: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The `state_dict` of a .ckpt, from averaged weights by a Pipeline's names and those in training if there are."""
    averaged = _exported(state, Harmonai)
    online = averaged if current is None else _exported(current, Harmonai)
    return {f"diffusion.{name}": value for name, value in online.items()} | {
        f"diffusion_ema.{name}": value for name, value in averaged.items()
    }


def to_diffusers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a UNet1DModel, from weights by a Pipeline's names."""
    return _exported(state, Diffusers)


def _exported(state: Mapping[str, Tensor], layout: type[Layout]) -> dict[str, Tensor]:
    if f"{NETWORK}{TIME}" not in state:
        raise ValueError("these are not the weights of a DanceUNet")
    if state["representation.level"] != 1:
        raise ValueError("the network sees scaled sounds, which Dance Diffusion files cannot say")
    ours = {name.removeprefix(NETWORK): value for name, value in state.items() if name.startswith(NETWORK)}
    levels = 1 + max(int(name.split(".")[1]) for name in ours if name != TIME)
    return packed(ours, layout(levels))


def _sets(file: Path, weights: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """The different sets of weights, averaged ones first."""
    sets: dict[str, dict[str, Tensor]] = {prefix: {} for prefix in PREFIXES}
    for name, value in weights.items():
        prefix = next(prefix for prefix in PREFIXES if name.startswith(prefix))
        sets[prefix][name.removeprefix(prefix)] = value
    if sets[""] and len(sets[""]) < len(weights):
        some = ", ".join(list(sets[""])[:3])
        raise ValueError(f"{file} holds {len(sets[''])} tensors that are no part of a Dance Diffusion model: {some}")
    return [each for each in sets.values() if each]


def _first(level: int) -> str:
    return f"levels.{level}.descent.0.block.conv1.weight"


def _arguments(theirs: Mapping[str, Tensor], layout: type[Layout]) -> dict[str, Any]:
    """Arguments of our network, from names and shapes."""
    levels = next(level for level in count() if layout(level + 2).names(_first(level))[0] not in theirs)
    levels += layout(levels + 1).names(_first(levels))[0] in theirs  # the innermost, where it stands apart
    known = layout(levels)
    attention = "levels.{}.descent.0.attention.norm.weight"
    time_features = 2 * theirs[known.names(TIME)[0]].shape[0]
    return {
        "in_channels": theirs[known.names(_first(0))[0]].shape[1] - time_features,
        "channels": [theirs[known.names(_first(level))[0]].shape[0] for level in range(levels)],
        "attentions": [int(known.names(attention.format(level))[0] in theirs) for level in range(levels)],
        "time_features": time_features,
    }


def _fitted(file: Path, theirs: dict[str, Tensor], network: DanceUNet, layout: Layout) -> dict[str, Tensor]:
    """One set of weights by our names, if it is complete and nothing else is in it."""
    ours, kernels = network.state_dict(), layout.kernels()
    expected = {name: value for name, value in packed(ours, layout).items() if name in theirs or name not in kernels}
    if difference := explain_mismatch(expected, theirs):
        raise ValueError(f"the weights in {file} are not those of a Dance Diffusion model: {difference}")
    for name, kernel in kernels.items():
        if name in theirs and not torch.equal(theirs[name].float(), kernel):
            raise ValueError(f"{file} resamples with another filter than Dance Diffusion: {name}")
    return unpacked(theirs, ours, layout)


def _sounds(file: Path, config_file: Path | None, notes: list[str]) -> tuple[int, int]:
    """Sampling rate and length, from the given file, the one beside the weights, or a published model's name."""
    path = config_file or file.with_name("config.json")
    said = settings(path) if path.is_file() else DictConfig({})
    if chosen(said, "flip_sin_to_cos") is False:
        raise ValueError(f"{path}: sines stand before cosines, which is not so in Dance Diffusion models")
    rate, length = next(sounds for name, sounds in PUBLISHED.items() if name in file.name.lower())
    if chosen(said, "sample_rate") is None or chosen(said, "sample_size") is None:
        notes.append(f"{rate} Hz and {length} samples are assumed where sample_rate and sample_size are not given")
    return chosen(said, "sample_rate") or rate, chosen(said, "sample_size") or length
