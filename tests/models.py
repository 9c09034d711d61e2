"""Small models in files of every kind, as their projects write them."""

import json
from pathlib import Path
from typing import Any

import torch
from runs import tiny_config
from safetensors.torch import save_file
from torch import Tensor

from tiny_audio_diffusion import checkpoint, export, storage
from tiny_audio_diffusion.foreign import to_diffusers, to_harmonai
from tiny_audio_diffusion.foreign.model import under_our_names
from tiny_audio_diffusion.module import Module
from tiny_audio_diffusion.network.dance import DanceUNet
from tiny_audio_diffusion.training import build_module

# What `write` knows: the name of a kind, and what `checkpoint.read` calls it.
KINDS = {
    "ours": "ours",
    "export": "export",
    "half": "export",
    "tiny": "tiny-audio-diffusion",
    "unet": "audio-diffusion-pytorch",
    "harmonai": "dance-diffusion",
    "diffusers": "dance-diffusion-diffusers",
}
OF_OTHERS = [name for name in KINDS if name not in ("ours", "export", "half")]
LEVEL = "representation.level"
DANCE: dict[str, Any] = {"in_channels": 2, "channels": [8, 16, 32], "attentions": [0, 0, 0]}
SMALL: dict[str, Any] = {
    "in_channels": 2,
    "channels": [8, 16, 24],
    "factors": [1, 2, 2],
    "items": [1, 1, 2],
    "attentions": [0, 0, 1],
    "attention_heads": 8,
    "attention_features": 2,
    "modulation_features": 32,
}


def write(kind: str, folder: Path) -> Path:
    """A model of one kind: the file, or the folder where it takes one."""
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "ours":
        write_own(folder / "last.ckpt")
        return folder / "last.ckpt"
    if kind in ("export", "half"):
        return write_export(folder, half=kind == "half")
    if kind in ("tiny", "unet"):
        return _write_upstream(kind, folder)
    state = lively(under_our_names(DanceUNet(**DANCE).state_dict()))
    if kind == "harmonai":
        online = {name: value + 0.01 for name, value in state.items() if name != LEVEL} | {LEVEL: state[LEVEL]}
        weights = to_harmonai(state, current=online)
        torch.save({"global_step": 9, "state_dict": weights}, folder / "dance.ckpt")
        return folder / "dance.ckpt"
    (folder / "unet").mkdir()
    # in one piece each: theirs holds queries, keys and values apart
    weights = {name: value.contiguous().clone() for name, value in to_diffusers(state).items()}
    save_file(weights, folder / "unet" / "diffusion_pytorch_model.safetensors")
    (folder / "unet" / "config.json").write_text(json.dumps({"sample_rate": 16000, "sample_size": 64}))
    return folder


def write_own(path: Path, *overrides: str, seed: int = 0, experiment: str = "one_shots") -> Module:
    """A checkpoint of ours after 7 steps; returns the module with the averaged weights."""
    module = build_module(tiny_config(path.parent, path.parent, *overrides, experiment=experiment))
    averaged = lively(module.state_dict(), seed=seed) | {LEVEL: torch.tensor(0.3)}
    module.load_state_dict(averaged)
    online = {name: value + 0.01 * (name != LEVEL) for name, value in averaged.items()}
    content = {"config": module.config, "state_dict": averaged, "current_model_state": online, "global_step": 7}
    storage.write(content, path)
    return module


def write_export(folder: Path, *, half: bool = False) -> Path:
    """An export of ours."""
    write_own(folder / "whole.ckpt")
    model = checkpoint.read(folder / "whole.ckpt")
    export.write(folder, model.state_dict, config=model.config, step=model.step, half=half, overwrite=False)
    (folder / "whole.ckpt").unlink()
    return folder


def lively(state: dict[str, Tensor], *, seed: int = 0) -> dict[str, Tensor]:
    """Weights that leave no layer at what it begins as."""
    generator = torch.Generator().manual_seed(seed)
    noisy = {name: value + 0.05 * torch.randn(value.shape, generator=generator) for name, value in state.items()}
    return noisy | {name: value for name, value in state.items() if name == LEVEL}


def _write_upstream(kind: str, folder: Path) -> Path:
    from parity.upstream import save, trained, write_config  # loads their packages

    module, content = trained(SMALL)
    if kind == "unet":
        return save(module.model.net.state_dict(), folder / "unet.pt")
    write_config(folder / "config.yaml", SMALL)
    return save(content, folder / "kicks.ckpt")
