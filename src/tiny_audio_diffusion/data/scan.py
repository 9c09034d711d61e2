"""Find sound files and read each of them once: which can be used, and why the others cannot."""

import csv
import logging
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from tiny_audio_diffusion.audio import BLOCK, SILENCE

EXTENSIONS = (".wav", ".flac", ".aiff", ".aif", ".ogg", ".mp3")
SHORTEST_LENGTH = 16
SAMPLING_RATES = (1_000, 768_000)  # beyond these a header is wrong
LOUD_SHARE = 0.05  # warn when more than this share of the files is skipped

logger = logging.getLogger(__name__)
Folders = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


@dataclass(frozen=True)
class SoundFile:
    """The verdict on one file: `status` is "usable" or "skipped", and then `reason` says why."""

    path: Path
    frames: int
    sampling_rate: int
    channels: int
    status: str
    reason: str

    @property
    def usable(self) -> bool:
        return self.status == "usable"

    @property
    def seconds(self) -> float:
        return self.frames / self.sampling_rate if self.sampling_rate else 0.0


def scan(folders: Folders, *, recursive: bool = True, seconds: float | None = None) -> list[SoundFile]:
    """Read every sound file of one or more folders; silence is judged on the first `seconds`, or on all of a sound."""
    roots = as_roots(folders)
    problems: list[SoundFile] = []
    paths = sorted({path for root in roots for path in find(root, recursive=recursive, problems=problems)})
    files = sorted([*problems, *(inspect(path, seconds=seconds) for path in paths)], key=lambda file: file.path)
    skipped = [file for file in files if not file.usable]
    if len(skipped) == len(files):
        raise ValueError(nothing_usable(roots, skipped))
    if len(skipped) > LOUD_SHARE * len(files):
        logger.warning("%d of %d sound files are skipped: %s", len(skipped), len(files), first_reasons(skipped))
    return files


def as_roots(folders: Folders) -> list[Path]:
    """The folders as absolute paths, each of them there and a folder."""
    if not folders:
        raise ValueError("no folder of sounds is given: set datamodule.dataset.path=<folder>")
    given = [folders] if isinstance(folders, str | os.PathLike) else list(folders)
    roots = [Path(folder).expanduser().absolute() for folder in given]
    for root in roots:
        if not root.exists():
            raise FileNotFoundError(f"there is no folder {printable(root)}")
        if not root.is_dir():
            raise ValueError(f"{printable(root)} is a file: give the folder that holds it")
    return roots


def find(root: Path, *, recursive: bool, problems: list[SoundFile]) -> Iterator[Path]:
    """Yield what looks like a sound file, hidden files and macOS litter left out; closed folders go to `problems`."""

    def closed(error: OSError) -> None:
        problems.append(skipped_file(Path(error.filename), f"folder cannot be opened: {error.strerror}"))

    seen: set[tuple[int, int]] = set()
    for folder, subfolders, names in os.walk(root, followlinks=True, onerror=closed):
        status = Path(folder).stat()
        # Links to folders are followed, so a link to a parent must not be entered twice.
        first_visit = (status.st_dev, status.st_ino) not in seen
        seen.add((status.st_dev, status.st_ino))
        visible = [name for name in sorted(subfolders) if not name.startswith(".") and name != "__MACOSX"]
        subfolders[:] = visible if recursive and first_visit else []
        for name in names if first_visit else ():
            if name.lower().endswith(EXTENSIONS) and not name.startswith("."):
                yield Path(folder, name)


def inspect(path: Path, *, seconds: float | None = None) -> SoundFile:
    """Read one file to its end and judge it."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for ever
            return skipped_file(path, "not a regular file")
        os.fspath(path).encode("utf-8")
        with soundfile.SoundFile(os.fspath(path)) as file:
            return judge(path, file, seconds)
    except UnicodeEncodeError:
        return skipped_file(path, "file name is not valid Unicode")
    except OSError as error:
        return skipped_file(path, f"cannot be opened: {error.strerror}")
    except soundfile.LibsndfileError as error:
        empty = path.stat().st_size == 0
        return skipped_file(path, "empty" if empty else f"unreadable: {error.error_string}")


def judge(path: Path, file: soundfile.SoundFile, seconds: float | None) -> SoundFile:
    """Judge an open file by its samples, read block by block so that hours of audio need no memory."""
    sampling_rate, channels = file.samplerate, file.channels
    if not SAMPLING_RATES[0] <= sampling_rate <= SAMPLING_RATES[1]:
        return skipped_file(path, f"sampling rate of {sampling_rate} Hz")
    heard = float("inf") if seconds is None else round(seconds * sampling_rate)
    frames, peak, finite = 0, 0.0, True
    while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):  # [frames, channels]
        finite = finite and bool(np.isfinite(block).all())
        if frames < heard:
            peak = max(peak, float(np.abs(block[: int(min(len(block), heard - frames))]).max()))
        frames += len(block)
    reason = ""
    if not frames:
        reason = "empty"
    elif frames < SHORTEST_LENGTH:
        reason = f"shorter than {SHORTEST_LENGTH} samples"
    elif not finite:
        reason = "holds NaN or infinite values"
    elif peak < SILENCE:
        reason = "silent (below -60 dBFS)"
        if frames > heard:
            reason += f" in its first {seconds:.3g} seconds"
    return SoundFile(path, frames, sampling_rate, channels, "skipped" if reason else "usable", reason)


def skipped_file(path: Path, reason: str) -> SoundFile:
    """The verdict on a file that could not be read at all."""
    return SoundFile(path, 0, 0, 0, "skipped", reason)


def nothing_usable(roots: list[Path], skipped: list[SoundFile]) -> str:
    """What to tell a user whose folders hold nothing to train on."""
    where = ", ".join(printable(root) for root in roots)
    found = f"{len(skipped)} files found, all skipped: {first_reasons(skipped)}" if skipped else "no such file found"
    return f"no usable sound in {where}\nlooked for {' '.join(EXTENSIONS)} in any case; {found}"


def first_reasons(skipped: list[SoundFile]) -> str:
    """The first three reasons, one line."""
    shown = "; ".join(f"{printable(file.path.name)}: {file.reason}" for file in skipped[:3])
    return shown + (f"; and {len(skipped) - 3} more" if len(skipped) > 3 else "")


def printable(path: str | Path) -> str:
    """A path that can be printed and stored even when its bytes are not Unicode."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


def write_report(files: list[SoundFile], path: str | os.PathLike[str]) -> None:
    """Write the verdict on every file as CSV."""
    with Path(path).open("w", newline="", encoding="utf-8") as target:
        rows = csv.writer(target)
        rows.writerow(["path", "status", "reason", "sampling_rate", "channels", "frames", "seconds"])
        for file in files:
            facts = [file.sampling_rate, file.channels, file.frames, f"{file.seconds:.4f}"]
            rows.writerow([printable(file.path), file.status, file.reason, *facts])
