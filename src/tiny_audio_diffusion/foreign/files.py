"""Files of weights, opened without running any code that they may carry; tensors stay on disk until looked at."""

import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
TEXTS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"}
ZIP = b"PK\x03\x04"  # how they begin
PICKLES = 4  # of a file from before torch 1.6, up to the one with the names


def find(path: Path) -> Path:
    """The file of weights that a path means: itself, the one in a folder, or a diffusers folder's."""
    if not path.is_dir():
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}")
        return path
    for suffix in (".safetensors", ".bin"):
        inside = path / "unet" / f"diffusion_pytorch_model{suffix}"
        if inside.is_file():
            return inside
    found = sorted(file for file in path.iterdir() if file.is_file() and file.suffix in SUFFIXES)
    if len(found) != 1:
        names = ", ".join(file.name for file in found[:10]) or "none"
        raise FileNotFoundError(f"{path} should hold one file of weights, and holds {names}: name the file")
    return found[0]


def load(path: Path, *, allow_pickle: bool) -> dict[str, Any]:
    """The content of a file."""
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        mapped = zipfile.is_zipfile(path)  # as torch writes them since 1.6
        with path.open("rb") as stream:
            if stream.read(4) == ZIP and not mapped:
                raise ValueError("the file is cut off: fetch it again")
        content = torch.load(path, map_location="cpu", mmap=mapped, weights_only=not allow_pickle)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, ValueError) as error:
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        if wanted:
            raise ValueError(
                f"{path} holds more than weights: reading all of it would run {wanted[1]}. If you trust whoever made "
                "the file, allow_pickle=true reads it, and runs whatever else it carries"
            ) from error
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} is damaged, or no file of weights ({reason})") from error
    except (ImportError, AttributeError) as error:  # only with allow_pickle
        raise ValueError(f"{path} needs code that is not installed: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no weights by name but a {type(content).__name__}")
    return content


def texts(path: Path) -> set[str]:
    """Every text in a file, the names of its tensors among them, without loading it; none where it is no such file."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return set(file.keys())
        if not zipfile.is_zipfile(path):
            with path.open("rb") as stream:
                return {text for _ in range(PICKLES) for text in _texts(stream)}
        with zipfile.ZipFile(path) as archive:
            member = next((name for name in archive.namelist() if name.endswith("data.pkl")), None)
            if member is None:
                return set()
            with archive.open(member) as stream:
                return set(_texts(stream))
    except (SafetensorError, ValueError, zipfile.BadZipFile):
        return set()


def _texts(stream: IO[bytes]) -> Iterator[str]:
    for operation, argument, _ in pickletools.genops(stream):
        if operation.name in TEXTS:
            yield str(argument)
