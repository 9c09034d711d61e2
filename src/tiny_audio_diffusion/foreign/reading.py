"""Tell whose file it is, and read it."""

from collections.abc import Set
from pathlib import Path

from torch import Tensor

from tiny_audio_diffusion.foreign import dance, files, unet
from tiny_audio_diffusion.foreign.model import Foreign

OLD_UNET = "audio-diffusion-pytorch 0.0"


def recognise(path: Path) -> str | None:
    """Whose model a file or folder holds, from the names in it; None for our own and for anything unknown."""
    try:
        return _kind(files.texts(files.find(path)))
    except FileNotFoundError:
        return None


def read(path: Path, *, config_file: Path | None = None, allow_pickle: bool = False) -> Foreign:
    """The model in a file or folder of another project; `config_file` stands in for the one beside it."""
    file = files.find(path)
    if config_file is not None and not config_file.is_file():
        raise FileNotFoundError(f"there is no file {config_file}")
    content = files.load(file, allow_pickle=allow_pickle)
    state = content.get("state_dict", content)
    if not isinstance(state, dict):
        raise ValueError(f"{file} holds no weights by name: its state_dict is a {type(state).__name__}")
    weights = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    step = content["global_step"] if isinstance(content.get("global_step"), int) else None
    kind = _kind(weights.keys())
    if kind == OLD_UNET:
        raise ValueError(
            f"{file} holds a UNet1d of audio-diffusion-pytorch 0.0, another network than that of 0.1 (UNetV0)"
        )
    if kind in (dance.HARMONAI, dance.DIFFUSERS):
        return dance.read(file, weights, kind=kind, step=step, config_file=config_file)
    if kind is not None:
        return unet.read(file, weights, kind=kind, step=step, config_file=config_file)
    names = ", ".join(list(weights)[:3]) or "no tensors"
    raise ValueError(
        f"{file} holds no network that can be read: tiny-audio-diffusion, audio-diffusion-pytorch 0.1 (UNetV0) "
        f"and Dance Diffusion can. It has {len(weights)} tensors: {names}, …"
    )


def _kind(names: Set[str]) -> str | None:
    if any(name.endswith("to_time.0.0.weights") for name in names):
        return OLD_UNET
    return unet.kind(names) or dance.kind(names)
