"""What belongs to one visitor: a folder, the input sounds, the last takes. Nobody is shown what another has."""

import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from tiny_audio_diffusion import audio
from tiny_audio_diffusion.generation import Kit

TAKES = 8  # that a visitor can go back to
VISITORS = 64
IDLE_SECONDS = 2 * 3600.0


@dataclass
class Take:
    """The sounds of one click, as files and as tensors; `manifest` says what they came from."""

    number: int
    title: str
    folder: Path
    manifest: dict[str, Any]
    sampling_rate: int
    seeds: list[int | None]
    inputs: dict[str, Path]  # what they were made from, by the names that it has for people
    sounds: list[Tensor] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    seconds_taken: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, sounds: Tensor) -> None:
        """Write sounds [N, C, L] as generate.py does."""
        for sound in sounds:
            file = self.folder / f"sound_{len(self.files):03d}.wav"
            audio.write(file, sound, self.sampling_rate)
            self.sounds.append(sound)
            self.files.append(file)

    def archive(self) -> Path:
        """A zip of the sounds with picture, manifest and what they were made from, made when first asked for."""
        with self.lock:
            archive = self.folder / "kit.zip"
            if archive.exists():
                return archive
            kit = Kit(
                self.folder / "kit",
                self.manifest,
                sampling_rate=self.sampling_rate,
                seeds=self.seeds,
                overwrite=True,
            )
            kit.open()
            for sound in self.sounds:
                kit.made(sound[None])
            kit.close(seconds_taken=round(self.seconds_taken, 2))
            for name, file in self.inputs.items():
                shutil.copyfile(file, kit.folder / name)
            made = shutil.make_archive(str(self.folder / "packing"), "zip", kit.folder)
            return Path(made).replace(archive)


class Session:
    """One visitor. `token` stands in the addresses of the sounds and is told to nobody else."""

    def __init__(self, folder: Path):
        self.token, self.folder = secrets.token_urlsafe(16), folder
        self.takes: dict[int, Take] = {}
        self.stop, self.closed = threading.Event(), False
        self.count, self.working = 0, 0
        self.seen = time.monotonic()

    def room(self) -> tuple[int, Path]:
        """The number and the folder of the next take."""
        self.count += 1
        folder = self.folder / f"take_{self.count}"
        folder.mkdir(parents=True)
        return self.count, folder

    def keep(self, take: Take) -> None:
        """Remember a take, and forget those of long ago."""
        self.takes[take.number] = take
        for number in sorted(self.takes)[:-TAKES]:
            shutil.rmtree(self.takes.pop(number).folder, ignore_errors=True)

    @property
    def latest(self) -> Take | None:
        return self.takes[max(self.takes)] if self.takes else None

    @contextmanager
    def busy(self) -> Iterator[None]:
        """While there is work for this visitor, it is not forgotten."""
        self.working += 1
        self.stop.clear()
        try:
            yield
        finally:
            self.working -= 1
            self.seen = time.monotonic()

    def close(self) -> None:
        self.closed = True
        self.stop.set()
        shutil.rmtree(self.folder, ignore_errors=True)


class Sessions:
    """All visitors, by the key that their browser has chosen."""

    def __init__(self, root: Path):
        self.root, self.lock = root, threading.Lock()
        self.by_key: dict[str, Session] = {}

    def get(self, key: str | None) -> Session:
        """The session of a key, a new one where there is none."""
        if not key:
            raise ValueError("this request belongs to no page: reload it")
        with self.lock:
            session = self.by_key.get(key)
            if session is None:
                self._forget()
                session = self.by_key[key] = Session(self.root / secrets.token_hex(8))
            session.seen = time.monotonic()
            return session

    def find(self, token: str) -> Session | None:
        """The session of a token; compared in constant time, so that none can be felt out."""
        with self.lock:
            known = list(self.by_key.values())
        return next((each for each in known if secrets.compare_digest(each.token.encode(), token.encode())), None)

    def drop(self, key: str | None) -> None:
        """A page was closed: what it had goes."""
        with self.lock:
            session = self.by_key.pop(key or "", None)
        if session is not None:
            session.close()

    def _forget(self) -> None:
        """Drop who has been away for long, and the longest away where there are too many."""
        away = sorted((each.seen, key) for key, each in self.by_key.items() if not each.working)
        surplus = max(0, len(self.by_key) - VISITORS + 1)
        late = time.monotonic() - IDLE_SECONDS
        for place, (seen, key) in enumerate(away):
            if place < surplus or seen < late:
                self.by_key.pop(key).close()
