"""Files of checkpoints on disk: written whole or not at all, and checked before they are believed."""

import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch

SUFFIX = ".part"  # of a file that is being written


def write(content: dict[str, Any], path: Path) -> None:
    """Write beside the target, wait for the disk, then rename; `OSError` where the disk does not take it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + SUFFIX)
    try:
        with part.open("wb") as stream:
            torch.save(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
        _sync_folder(path.parent)
    except RuntimeError as error:  # what torch makes of a disk that is full
        part.unlink(missing_ok=True)
        raise OSError(f"{path} could not be written: {str(error).partition(chr(10))[0]}") from error
    except OSError:
        part.unlink(missing_ok=True)
        raise


def rename(old: Path, new: Path) -> None:
    """Give a file another name, for good."""
    old.replace(new)
    _sync_folder(new.parent)


def damage(path: Path) -> str:
    """What is wrong with a file that torch wrote; nothing where every byte is as it was written."""
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()  # compares the checksum of every member
            if not any(name.endswith("/data.pkl") for name in archive.namelist()):
                return "it is no checkpoint"
        return f"{bad} in it has changed" if bad else ""
    except (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError, ValueError, OSError) as error:
        return f"it is cut off or damaged ({error})"


def _sync_folder(folder: Path) -> None:
    """Make a new name last; Windows has no such call."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
