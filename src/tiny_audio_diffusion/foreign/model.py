"""What a file of another project becomes, and what is said where it does not fit."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from omegaconf import DictConfig
from torch import Tensor

NETWORK = "diffusion.network."  # where a Pipeline and a Module keep the network


@dataclass
class Foreign:
    """A model as our own checkpoints hold it; weights stay on disk until they are looked at."""

    kind: str
    config: DictConfig  # resolved: what a run with this network would have been
    state_dict: dict[str, Tensor]  # the averaged weights, by the names of a Pipeline
    current_model_state: dict[str, Tensor] | None  # the weights in training, if the file has both
    step: int | None
    notes: list[str] = field(default_factory=list)  # what the file does not say and was assumed


def under_our_names(network: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A network's weights as part of a Pipeline that leaves sounds unscaled, in float32."""
    weights = {f"{NETWORK}{name}": value.float() for name, value in network.items()}
    return weights | {"representation.level": torch.tensor(1.0)}


def explain_mismatch(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """What differs by name or shape, in at most 13 lines; nothing where all fits."""
    missing = [f"{name} {list(value.shape)}" for name, value in expected.items() if name not in found]
    unexpected = [f"{name} {list(value.shape)}" for name, value in found.items() if name not in expected]
    reshaped = [
        f"{name} is {list(found[name].shape)}, not {list(value.shape)}"
        for name, value in expected.items()
        if name in found and found[name].shape != value.shape
    ]
    if not (missing or unexpected or reshaped):
        return ""
    fitting = len(expected) - len(missing) - len(reshaped)
    lines = [f"{fitting} of {len(expected)} tensors fit ({100 * fitting // max(1, len(expected))} %)"]
    for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped)):
        if names:
            lines.append(f"{len(names)} {what}" + (":" if len(names) <= 3 else ", such as"))
            lines += [f"  {name}" for name in names[:3]]
    return "\n".join(lines)
