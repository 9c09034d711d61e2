"""Fine-tuning: a run takes over the settings of a trained model, begins with its weights, and may keep some of them."""

import copy
import logging
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import Tensor

from tiny_audio_diffusion import checkpoint
from tiny_audio_diffusion.checkpoint import Model
from tiny_audio_diffusion.module import Loaded, Module
from tiny_audio_diffusion.settings import NUMBERS, PARTS

ADOPTED = (*PARTS, *NUMBERS, "threshold")
# The loaded average counts as one of so many steps: it gives way to that of new weights over about as many.
UPDATES = 1000
# Parameters that a model without conditions lacks, and that may begin anew.
CONDITIONS = ("diffusion.network.vector.*", "*.cross_attention.*")

# Where sound enters a network (its channels among the inputs of a layer) and where it leaves (among the outputs).
ENTRANCES = ("levels.0.downsample", "levels.0.descent.0.block.conv1", "levels.0.descent.0.block.skip")
EXITS = (
    *("levels.0.upsample", "levels.0.skip", "gate.share"),
    *("levels.0.ascent.2.block.conv2", "levels.0.ascent.2.block.skip"),
)
NETWORK = "diffusion.network."

logger = logging.getLogger(__name__)


# Settings.


def adopt(config: DictConfig) -> DictConfig:
    """The configuration with what `config.init` was trained with, apart from what the command line says.

    Before anything is built of it, the datamodule included: rate, length and channels are the model's.
    """
    if config.init is not None and config.ckpt:  # a run that goes on has its own settings, and brings its own weights
        config = OmegaConf.merge(config, {"init": config.ckpt})  # type: ignore[assignment]
    if config.init == "":
        raise ValueError("init= is missing: whose weights to begin with, such as a file, last, kicks or owner/name")
    if not config.loaded_lr_factor > 0:
        raise ValueError("loaded_lr_factor must be above 0; freeze= keeps weights as they are")
    if config.init is None:
        if config.freeze or config.loaded_lr_factor != 1:
            raise ValueError("freeze= and loaded_lr_factor= are about loaded weights: give init= as well")
        return config
    file = checkpoint.find(config.init, logs=config.logs_dir)
    model = checkpoint.read(file, allow_pickle=config.allow_pickle)
    for note in model.notes:
        logger.info("%s: %s", file, note)
    adopted, own = _adopted(config, model, chosen=_chosen(command_line()))
    adopted.init = str(file)  # `last` would soon be another, and the hub need not be asked again
    logger.info("%s: taking over %s", file, ", ".join(name for name in ADOPTED if name not in own))
    if own:
        logger.info("  but as you say: %s", ", ".join(own))
    return adopted


def command_line() -> list[str]:
    """What the user has written, as Hydra knows it."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def _chosen(overrides: Iterable[str]) -> list[str]:
    """The dotted places that overrides set: `schedule@noise=angle` → `noise`, `+network.patch=1` → `network.patch`."""
    keys = [override.partition("=")[0].lstrip("+~") for override in overrides]
    return [key.partition("@")[2] or key for key in keys]


def _adopted(config: DictConfig, model: Model, *, chosen: Sequence[str]) -> tuple[DictConfig, list[str]]:
    """The configuration with the model's settings, and the places that stay the user's."""
    adopted, settings = copy.deepcopy(config), OmegaConf.to_container(model.config)
    assert isinstance(settings, dict)
    with open_dict(adopted):
        for name in (name for name in ADOPTED if name not in chosen):
            OmegaConf.update(adopted, name, settings.get(name), merge=False)
        own = [place for place in chosen if place.partition(".")[0] in ADOPTED]
        for place in (place for place in own if "." in place):
            OmegaConf.update(adopted, place, OmegaConf.select(config, place), merge=False)
        if "network" not in own:
            adopted.network.in_channels = adopted.channels
        if not any(place.startswith("representation") for place in own):
            adopted.representation.level = model.level  # of the sounds that it was trained on
    return adopted, own


# Weights.


def initialise(module: Module, config: DictConfig) -> list[str]:
    """Put the weights of `config.init` into a module, freeze what is to stay, and say so, a line each.

    The module begins with the weights in training where the file has them, and the average with the averaged ones.
    """
    if config.init is None:
        return []
    file = checkpoint.find(config.init, logs=config.logs_dir)
    model = checkpoint.read(file, allow_pickle=config.allow_pickle)
    averaged = _fitting(model.state_dict, model, module, channels=config.channels)
    lines = [f"weights of {file}" + (f", trained for {model.step} steps" if model.step else "")]
    online, averages = averaged, config.callbacks.get("average") is not None
    if model.current_model_state is not None and averages:
        online = _fitting(model.current_model_state, model, module, channels=config.channels)
        lines.append("training begins with the weights in training, the average with the averaged ones")
    if config.channels != model.config.channels:
        lines.append(_told(model.config.channels, config.channels))
    frozen = frozen_names(module, config.freeze)
    for name in frozen:
        module.get_parameter(name).requires_grad_(False)
    if frozen:
        count = sum(module.get_parameter(name).numel() for name in frozen)
        lines.append(f"frozen: {len(frozen)} tensors with {count:,} weights")
    new = [name for name, _ in module.named_parameters() if name not in averaged]
    if new:
        lines.append(f"new: {len(new)} tensors, such as {new[0]}")
    # What is frozen is the same in both: sounds are made with the average, which would drift otherwise.
    module.load_state_dict(online | {name: averaged[name] for name in frozen if name in averaged}, strict=False)
    module.loaded = Loaded(
        names=frozenset(averaged),
        lr_factor=float(config.loaded_lr_factor),
        average={name: value.clone() for name, value in averaged.items()} if averages else {},
        updates=UPDATES,
    )
    return lines


def _fitting(weights: Mapping[str, Tensor], model: Model, module: Module, *, channels: int) -> dict[str, Tensor]:
    """The network's weights out of one of the file's sets, exactly those that the module has."""
    found = {name: value for name, value in weights.items() if name.startswith(NETWORK)}
    if channels != model.config.channels:
        found = _with_channels(found, model, channels)
    own = {name: value for name, value in module.state_dict().items() if name.startswith(NETWORK)}
    anew = {name for name in own if any(fnmatchcase(name, pattern) for pattern in CONDITIONS)} - found.keys()
    checkpoint.check_weights({name: value for name, value in own.items() if name not in anew}, found, model.path)
    return found


def frozen_names(module: Module, patterns: str | Sequence[str]) -> list[str]:
    """The names of the parameters that patterns mean."""
    names = [name for name, _ in module.named_parameters()]
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            parts = dict.fromkeys(_part(name) for name in names)
            raise ValueError(f"freeze={pattern} means no parameter; there are {', '.join(parts)}")
    frozen = [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
    if len(frozen) == len(names):
        raise ValueError(f"freeze={', '.join(patterns)} leaves nothing to train")
    return frozen


def _part(name: str) -> str:
    """`diffusion.network.levels.3.skip.weight` → `diffusion.network.levels.3.*`, the pattern of one part."""
    words = name.split(".")
    parts = 4 if words[2] == "levels" else 3
    return name if len(words) == parts else ".".join([*words[:parts], "*"])


# Mono and stereo.


def _with_channels(weights: Mapping[str, Tensor], model: Model, channels: int) -> dict[str, Tensor]:
    """Weights for another number of channels, which do to equal channels what the model does to one of them."""
    old = model.config.channels
    if {old, channels} != {1, 2}:
        raise ValueError(f"{model.path} makes sounds of {old} channels: from these to {channels} is no way")
    patch = model.config.network.get("patch", 1)
    ways = dict.fromkeys(ENTRANCES, _entering) | dict.fromkeys(EXITS, _leaving)
    changed = dict(weights)
    for name, value in weights.items():
        layer, _, leaf = name.removeprefix(NETWORK).rpartition(".")
        if layer in ways and (layer in EXITS or leaf == "weight"):
            changed[name] = ways[layer](value, old, channels, patch)
    return changed


def _entering(weight: Tensor, old: int, new: int, patch: int) -> Tensor:
    """Inputs, channel by channel, then whatever stands beside the sound: equal channels add up to what one did."""
    sound, others = weight.split([old * patch, weight.shape[1] - old * patch], dim=1)
    total = sound.unflatten(1, (old, patch)).sum(1)
    return torch.cat([*([total / new] * new), others], dim=1)


def _leaving(weight: Tensor, old: int, new: int, patch: int) -> Tensor:
    """Outputs: the left channel's, for each.

    Not the mean of both: they are products of two layers, whose scales and signs the channels need not share.
    """
    return torch.cat([weight[:patch]] * new)


def _told(old: int, new: int) -> str:
    if new > old:
        return "the model was mono: both channels begin with what it did to one"
    return "the model was stereo: the one channel begins with what it did to the left of two equal ones"
