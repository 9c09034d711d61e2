"""Find sound files and examine each of them, in parallel and only once."""

import logging
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from tiny_audio_diffusion.arguments import is_first_process
from tiny_audio_diffusion.audio import printable
from tiny_audio_diffusion.data.facts import Facts, examine
from tiny_audio_diffusion.data.index import Index, Stamp, stamp

EXTENSIONS = (
    ".wav",
    ".flac",
    ".aiff",
    ".aif",
    ".ogg",
    ".mp3",
    ".wave",
    ".aifc",
    ".oga",
    ".opus",
    ".caf",
    ".au",
    ".w64",
)
AT_ONCE = 256  # files between two looks at the index and two steps of the progress bar
BAR_DELAY_SECONDS = 0.5  # a bar is shown for what takes longer

logger = logging.getLogger(__name__)
Folders = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


@dataclass
class Found:
    """The files below some folders, in the order of their names."""

    sounds: list[str] = field(default_factory=list)
    ignored: list[tuple[str, str]] = field(default_factory=list)  # path and reason
    closed: list[tuple[str, str]] = field(default_factory=list)  # folders that cannot be opened, and why


def as_roots(folders: Folders) -> list[Path]:
    """The folders as absolute paths, each of them there and a folder."""
    if not folders:
        raise ValueError("no folder of sounds is given: set datamodule.dataset.path=<folder>")
    given = [folders] if isinstance(folders, str | os.PathLike) else list(folders)
    roots = [Path(str(folder)).expanduser().absolute() for folder in given]
    for root in roots:
        if not root.exists():
            raise FileNotFoundError(f"there is no folder {printable(root)}")
        if not root.is_dir():
            raise ValueError(f"{printable(root)} is a file: give the folder that holds it")
    return roots


def find(roots: Iterable[Path], *, recursive: bool) -> Found:
    """List what looks like a sound file; hidden files, litter and what is no sound by its name are ignored."""
    found = Found()
    seen: set[tuple[int, int]] = set()

    def closed(error: OSError) -> None:
        found.closed.append((os.fspath(error.filename), f"folder cannot be opened: {error.strerror}"))

    for root in roots:
        for folder, subfolders, names in os.walk(root, followlinks=True, onerror=closed):
            status = Path(folder).stat()
            # Links to folders are followed, so a link to a parent must not be entered twice.
            if (status.st_dev, status.st_ino) in seen:
                subfolders.clear()
                found.ignored.append((folder, "a folder that was read before"))
                continue
            seen.add((status.st_dev, status.st_ino))
            subfolders[:] = _to_enter(folder, sorted(subfolders), found) if recursive else []
            for name in sorted(names):
                path, reason = os.path.join(folder, name), why_ignored(name)  # noqa: PTH118 -- a million of them
                if reason:
                    found.ignored.append((path, reason))
                else:
                    found.sounds.append(path)
    return found


def _to_enter(folder: str, subfolders: list[str], found: Found) -> list[str]:
    """The folders to look into, links last so that files are known by where they really lie."""
    hidden = [name for name in subfolders if name.startswith(".") or name == "__MACOSX"]
    found.ignored += [(os.path.join(folder, name), "hidden folder") for name in hidden]  # noqa: PTH118
    return sorted(set(subfolders) - set(hidden), key=lambda name: (Path(folder, name).is_symlink(), name))


def why_ignored(name: str) -> str:
    """Why a file is not looked at, by its name."""
    if name.startswith("."):
        return "macOS resource fork" if name.startswith("._") else "hidden file"
    return "" if name.lower().endswith(EXTENSIONS) else "no sound by its name"


def examine_all(paths: list[str], *, index: Index) -> Iterator[tuple[str, Stamp | None, Facts]]:
    """Each path with its stamp and what the file holds: as remembered, or read now if it is new or has changed."""
    with (
        ThreadPoolExecutor() as pool,  # decoding and waiting for disks both leave Python free
        progress("reading sounds", len(paths)) as bar,
    ):
        for start in range(0, len(paths), AT_ONCE):
            some = paths[start : start + AT_ONCE]
            stamps = list(pool.map(stamp, some))  # before it is read: what is written meanwhile is read again next time
            known = index.look_up(some, stamps)
            new = [path for path, facts in zip(some, known, strict=True) if facts is None]
            read = dict(zip(new, pool.map(examine, new), strict=True))
            items = [(path, seen, facts or read[path]) for path, seen, facts in zip(some, stamps, known, strict=True)]
            index.store(
                (path, seen, facts) for path, seen, facts in items if path in read and seen and facts.is_lasting
            )
            yield from items
            bar.update(len(some))


def progress(what: str, total: int) -> tqdm:
    """A bar for what may take a while."""
    return tqdm(
        total=total, desc=what, unit="file", delay=BAR_DELAY_SECONDS, leave=False, disable=not is_first_process()
    )
