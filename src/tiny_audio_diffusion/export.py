"""A model to hand on: averaged weights in a safetensors file that says what it is, and its settings to read."""

import json
import os
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from tiny_audio_diffusion import __version__
from tiny_audio_diffusion.settings import KEPT

WEIGHTS, SETTINGS = "model.safetensors", "config.yaml"
FORMAT = "tiny-audio-diffusion"  # the key by which we know our own; its value counts versions of the format
CHECKSUM = "checksum"
HEADER = f"# What {WEIGHTS} says of itself, to read. It has to stay as it is: commands take other values.\n"


def write(
    folder: Path,
    weights: Mapping[str, Tensor],
    *,
    config: DictConfig,
    step: int | None,
    half: bool,
    overwrite: bool,
) -> None:
    """Write a model's averaged weights, by a Pipeline's names, and its settings; `half` halves the file."""
    _check_folder(folder, overwrite=overwrite)
    kept = OmegaConf.create({name: config[name] for name in KEPT if name in config})
    text = OmegaConf.to_yaml(kept, resolve=True)
    tensors = {name: _stored(name, value, half=half) for name, value in weights.items()}
    about = {
        FORMAT: "1",
        "format": "pt",
        "version": __version__,
        "weights": "averaged",
        "precision": "float16" if half else "float32",
        "config": text,
    } | ({} if step is None else {"step": str(step)})
    about[CHECKSUM] = _checksum(about, tensors)
    folder.mkdir(parents=True, exist_ok=True)
    parts = {name: folder / f"{name}.part" for name in (WEIGHTS, SETTINGS)}
    save_file(tensors, parts[WEIGHTS], metadata=about)
    parts[SETTINGS].write_text(HEADER + text, encoding="utf-8")
    shutil.copymode(parts[SETTINGS], parts[WEIGHTS])  # readable for whoever may read other files
    for name, part in parts.items():
        _to_disk(part)
        part.replace(folder / name)


def is_export(file: Path) -> bool:
    """Whether this is a file that `write` has written, as far as its header tells."""
    if file.suffix != ".safetensors" or not file.is_file():
        return False
    try:
        with safe_open(file, framework="pt") as opened:
            return FORMAT in (opened.metadata() or {})
    except SafetensorError:
        return False


def read(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The weights, which stay on disk until they are looked at, and what the file says of them."""
    try:
        with safe_open(file, framework="pt") as opened:
            about: dict[str, str] = opened.metadata()
        tensors = load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file} is cut off or damaged ({error})") from error
    if about[FORMAT] != "1":
        raise ValueError(f"{file} was written by a newer version: this one reads format 1, not {about[FORMAT]}")
    if about.pop(CHECKSUM, None) != _checksum(about, tensors):
        raise ValueError(f"{file} is damaged: its checksum is another")
    return tensors, about


def _check_folder(folder: Path, *, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: give a folder")
    if (folder / SETTINGS).exists() and not (folder / WEIGHTS).exists():
        raise ValueError(f"{folder} holds a {SETTINGS} of something else: choose another folder")
    if not overwrite and (folder / WEIGHTS).exists():
        raise ValueError(f"{folder} already holds a model: choose another folder, or overwrite it (--overwrite)")


def _stored(name: str, value: Tensor, *, half: bool) -> Tensor:
    """One tensor as it is written; what is small (the level, frequencies, biases) keeps all of its digits."""
    value = value.detach().to("cpu", torch.float32).contiguous()
    if not half or value.ndim < 2:
        return value
    halved = value.half()
    if not halved.isfinite().all():
        raise ValueError(f"{name} is too large for float16, or not finite: export it without --half")
    return halved


def _checksum(about: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """CRC-32 of everything that is said and of every weight."""
    total = zlib.crc32(json.dumps(about, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        total = zlib.crc32(f"{name} {value.dtype} {list(value.shape)}".encode(), total)
        total = zlib.crc32(value.reshape(-1).view(torch.uint8).numpy().data, total)
    return f"{total:08x}"


def _to_disk(file: Path) -> None:
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())
