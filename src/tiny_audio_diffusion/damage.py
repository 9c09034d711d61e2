"""What is wrong with a file of weights, found before anything in it is believed, and what to take instead."""

import pickle
import zipfile
from pathlib import Path

import torch

from tiny_audio_diffusion import storage

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best-step_*.ckpt"  # what a run keeps
# How files of torch before 1.6 begin: they are no archives and have no checksums.
OLD = pickle.dumps(torch.serialization.MAGIC_NUMBER, protocol=2)
# What reading a file raises that was made to break its reader, besides ValueError.
READING = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
)


def found_in(file: Path) -> str:
    """What is wrong with a file; nothing where every byte is as it was written, as far as its kind can tell."""
    if not file.is_file():
        return "it is missing"
    if file.suffix == ".safetensors":
        return ""  # told when it is read: only exports have a checksum
    with file.open("rb") as stream:
        if stream.read(len(OLD)) == OLD:
            return ""
    try:
        return _swelling(file) or storage.damage(file)
    except OSError as error:  # of the disk, and where a damaged archive points to before its beginning
        return f"it cannot be read ({error.strerror})"


def neighbour(file: Path) -> str:
    """A line that names the newest whole checkpoint that a run has left beside a damaged one, if any."""
    found = {other for name in (LAST, PREVIOUS, BEST) for other in file.parent.glob(name)} - {file}
    newest_first = sorted(found, key=lambda other: other.stat().st_mtime, reverse=True)
    sound = next((other for other in newest_first if not found_in(other)), None)
    return f"\n{sound} is whole: use it instead" if sound else ""


def _swelling(file: Path) -> str:
    """A small archive can hold endless zeros; torch compresses nothing, so its files hold as much as they weigh."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return ""  # told better by the next check
    compressed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
    if compressed or sum(member.file_size for member in members) > file.stat().st_size:
        return "it is compressed, which no checkpoint is"
    return ""
