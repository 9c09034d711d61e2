"""Weights that others have published as a file, by the names that their parameters have there."""

import pickle
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tiny_audio_diffusion.embedder.base import Embedder

Weights = dict[str, Tensor]


class Published(Embedder):
    """An embedder of such weights."""

    origin: str  # of the file
    parameters: Sequence[str]  # their names in it

    def __init__(self, *, path: str | None) -> None:
        self.weights = read(path, self.parameters, origin=self.origin)

    @torch.no_grad()
    def embed(self, audio: Tensor) -> Tensor:
        self.check(audio)
        self.weights = {name: value.to(audio.device) for name, value in self.weights.items()}
        return self.vectors(audio.float())

    @abstractmethod
    def vectors(self, audio: Tensor) -> Tensor:
        """Sounds [N, C, L] to vectors [N, frames, D], with the weights on their device."""


def read(path: str | Path | None, names: Iterable[str], *, origin: str) -> Weights:
    """The parameters called `names` from a .pth or .safetensors file; nothing in the file is run."""
    if path is None:
        raise ValueError(f"this embedder needs embedder.path=<file>: {origin}")
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file: download {origin}")
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
            content = content.get("model", content) if isinstance(content, dict) else {}
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "it ends too early"
        raise ValueError(f"{path} is cut off, damaged, or holds more than weights ({reason})") from error
    names = list(names)
    missing = [name for name in names if not isinstance(content.get(name), Tensor)]
    if missing:
        raise ValueError(f"{path} holds other weights: {missing[0]} is missing; wanted is {origin}")
    return {name: content[name].float() for name in names}
