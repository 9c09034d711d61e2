"""Sounds as training wants them: kept in memory where they fit, else on disk, else made anew each time."""

import contextlib
import hashlib
import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tiny_audio_diffusion.audio import printable, read
from tiny_audio_diffusion.data.catalogue import Catalogue
from tiny_audio_diffusion.data.index import stamp
from tiny_audio_diffusion.data.scan import progress
from tiny_audio_diffusion.data.transforms import PEAK_CEILING, Transforms

logger = logging.getLogger(__name__)


class Store:
    """Prepared sounds on disk, named after the settings and the samples they were made from, so never out of date."""

    def __init__(self, root: Path, settings: str, shape: tuple[int, int]) -> None:
        self.root, self.shape = root, shape
        self.bytes_each = 4 * shape[0] * shape[1]
        self.folder = root / hashlib.sha256(f"{settings} {shape}".encode()).hexdigest()[:16]
        self.usable = True

    def load(self, digest: str) -> Tensor | None:
        """One sound [channels, length], or nothing where it is not there, or not whole."""
        try:
            mapped = np.memmap(self._file(digest), dtype=np.float32, mode="r", shape=self.shape)
        except (OSError, ValueError):  # not there, or shorter than it should be: it is made again
            return None
        audio = torch.from_numpy(np.array(mapped))
        # after a power failure a file may be whole and hold zeros, or anything
        return audio if 0 < audio.abs().max() <= PEAK_CEILING else None

    def save(self, digest: str, audio: Tensor) -> None:
        """Keep one sound; on a disk that takes no more nothing is kept from then on, aloud."""
        if not self.usable:
            return
        target = self._file(digest)
        part = target.with_name(f"{target.name}.{uuid.uuid4().hex}.part")  # several processes may save the same sound
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            audio.numpy().tofile(part)
            part.replace(target)
        except OSError as error:
            self.usable = False
            logger.warning("prepared sounds are not kept in %s: %s", self.root, error.strerror or error)
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)

    def make_room(self, count: int, budget: float) -> None:
        """Remove what was prepared with other settings, the longest unused first, until `count` sounds fit."""
        try:
            self._make_room(count * self.bytes_each, budget)
        except OSError as error:  # another run is making room as well, or the folder is not ours
            logger.warning("no room was made in %s: %s", self.root, error.strerror or error)

    def _make_room(self, needed: int, budget: float) -> None:
        if not self.root.is_dir():
            return
        others = [path for path in self.root.iterdir() if path != self.folder]
        others.sort(key=lambda path: path.stat().st_mtime)
        sizes = {folder: sum(file.stat().st_size for file in folder.rglob("*.f32*")) for folder in others}
        excess = needed + sum(sizes.values()) - budget
        for folder in others:
            if excess <= 0:
                break
            shutil.rmtree(folder, ignore_errors=True)
            excess -= sizes[folder]

    def mark_use(self) -> None:
        """So that what was used last is removed last."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            os.utime(self.folder)
        except OSError as error:
            self.usable = False
            logger.warning("prepared sounds are not kept in %s: %s", self.root, error.strerror or error)

    def _file(self, digest: str) -> Path:
        return self.folder / digest[:2] / f"{digest}.f32"


class Prepared:
    """The sounds of a catalogue, prepared; where they are kept depends on how much room they may take."""

    def __init__(
        self,
        catalogue: Catalogue,
        transforms: Transforms,
        *,
        memory_gigabytes: float,
        disk_gigabytes: float,
        folder: str | os.PathLike[str] | None,
    ) -> None:
        self.catalogue, self.transforms = catalogue, transforms
        shape = (transforms.channels, transforms.length)
        gigabytes = len(catalogue) * shape[0] * shape[1] * 4 / 1e9
        self.store: Store | None = None
        if folder is not None and gigabytes <= disk_gigabytes:
            self.store = Store(Path(folder) / "prepared", transforms.settings(), shape)
            self.store.make_room(len(catalogue), disk_gigabytes * 1e9)
            self.store.mark_use()
        self.memory = self._all() if gigabytes <= memory_gigabytes else None

    def __len__(self) -> int:
        return len(self.catalogue)

    @property
    def place(self) -> str:
        """Where the sounds are kept, in words."""
        if self.memory is not None:
            return "in memory"
        return f"on disk in {self.store.folder}" if self.store else "nowhere: each is prepared when it is drawn"

    def varies(self, index: int) -> bool:
        """Whether a sound is cut at another place each time."""
        return self.transforms.varies(int(self.catalogue.frames[index]), int(self.catalogue.sampling_rates[index]))

    def get(self, index: int) -> Tensor:
        """One sound [channels, length], a long one from its start."""
        return self._fetch(index) if self.memory is None else self.memory[index]

    def make(self, index: int, *, place: float = 0.0) -> Tensor:
        """Read one sound, no further than needed, and prepare it; a long one from a `place` in [0, 1)."""
        sounds = self.catalogue
        path, rate = sounds.paths[index], int(sounds.sampling_rates[index])
        seen = stamp(path)
        if seen is None or seen[:2] != (sounds.sizes[index], sounds.modified[index]):
            change = "is gone" if seen is None else "has changed"
            raise ValueError(f"{printable(path)} {change} since training began: start again to examine it anew")
        onset, end, frames = int(sounds.onsets[index]), int(sounds.ends[index]), int(sounds.frames[index])
        start = self.transforms.start(onset, end, frames, rate, place=place)
        try:
            return self.transforms(*read(path, start=start, frames=self.transforms.frames_needed(rate)))
        except (ValueError, OSError) as error:
            raise ValueError(f"{printable(path)} can no longer be used: {error}") from error

    def _fetch(self, index: int) -> Tensor:
        if self.store is None:
            return self.make(index)
        digest = self.catalogue.digests[index].decode()
        audio = self.store.load(digest)
        if audio is None:
            audio = self.make(index)
            sounds = self.catalogue
            examined = (sounds.sizes[index], sounds.modified[index], sounds.changed[index])
            if stamp(sounds.paths[index]) == examined:  # else this may be another sound than the digest says
                self.store.save(digest, audio)
        return audio

    def _all(self) -> Tensor:
        memory = torch.empty(len(self), self.transforms.channels, self.transforms.length)
        with ThreadPoolExecutor() as pool, progress("preparing sounds", len(self)) as bar:
            for index, audio in enumerate(_in_order(pool, self._fetch, len(self))):
                memory[index] = audio
                bar.update()
        return memory


def _in_order(pool: ThreadPoolExecutor, action, count: int, *, ahead: int = 64) -> Iterator[Tensor]:  # type: ignore[no-untyped-def]
    """Results in order, only a few of them ahead of what was taken."""
    for start in range(0, count, ahead):
        yield from pool.map(action, range(start, min(start + ahead, count)))
