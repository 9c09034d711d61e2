"""Models of the `transformers` package by their name on the Hugging Face hub, or from a folder."""

import importlib
from pathlib import Path
from typing import Any

from torch import Tensor


def load(kind: str, name: str, *, weights: bool = True) -> Any:
    """What `transformers` calls `kind`, from a hub name or a folder; weights are safetensors, which run nothing."""
    try:
        transformers = importlib.import_module("transformers")
    except ImportError as error:
        raise ValueError(f"{name} needs the package transformers ({error}): pip install -e '.[embedders]'") from error
    folder = Path(name).expanduser()
    if not folder.is_dir() and (name.count("/") != 1 or name[0] in "~./"):
        raise FileNotFoundError(f"embedder.model={name} is neither a folder nor a name owner/name of the hub")
    source = str(folder) if folder.is_dir() else name
    options = {"use_safetensors": True} if weights else {}
    try:
        return getattr(transformers, kind).from_pretrained(source, **options)
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise FileNotFoundError(
            f"{source} could not be loaded ({reason}): check the name and the network, "
            "or give embedder.model=<folder with its files>"
        ) from error


def mono(audio: Tensor) -> Tensor:
    """Sounds [N, C, L] as [N, 1, L]."""
    return audio.mean(dim=1, keepdim=True)
