"""A folder of sounds that fills while they are made, with a picture and a manifest that is true at every moment."""

import hashlib
import io
import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tiny_audio_diffusion import audio, metrics, plot
from tiny_audio_diffusion.watch import Bar

SHEET, MANIFEST, ALL = "sheet.png", "manifest.json", "all"
OWN = re.compile(r"sound_\d{3,}\.(wav|flac)|all\.(wav|flac)|sheet\.png|manifest\.json")
PEAK = 10 ** (-1 / 20)  # of sounds that are asked to be equally high
INAUDIBLE = -50.0  # dB: a peak below this is told, and never brought up
ON_SHEET = 64  # sounds at most

logger = logging.getLogger(__name__)


class Kit(Bar):
    """Writes sound_000.wav, sound_001.wav, … as they are done; `manifest` is what the manifest says besides them."""

    def __init__(
        self,
        folder: str | Path,
        manifest: dict[str, Any],
        *,
        sampling_rate: int,
        seeds: Sequence[int | None],
        suffix: str = "wav",
        subtype: str = "PCM_24",
        level: str = "own",
        joined: bool = False,
        overwrite: bool = False,
    ):
        super().__init__(Path(folder).name)
        self.folder, self.manifest, self.seeds = Path(folder), manifest, list(seeds)
        self.sampling_rate, self.suffix, self.subtype, self.level = sampling_rate, suffix, subtype, level
        self.joined, self.overwrite = joined, overwrite
        self.sounds: list[Tensor] = []
        self.entries: list[dict[str, Any]] = []
        self.is_new = not self.folder.exists()
        if self.earlier() and not overwrite:
            raise ValueError(f"{self.folder.resolve()} already holds sounds: choose another out=, or overwrite=true")

    def earlier(self) -> list[Path]:
        """What another kit has left in the folder."""
        return [path for path in self.folder.glob("*") if OWN.fullmatch(path.name)]

    def open(self) -> None:
        """Make the folder before the work, so that a place that cannot be written is told at once."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"out={self.folder} cannot be made: {error.strerror}") from error
        audio.write_whole(self.folder / ".writable", b"")
        (self.folder / ".writable").unlink()

    def made(self, sounds: Tensor) -> None:
        if not self.sounds:
            for path in self.earlier():
                path.unlink()
        for sound in sounds:
            self._write(sound)
            self._write_manifest(finished=False)

    def _write(self, sound: Tensor) -> None:
        decibels = metrics.peak_decibels(sound[None]).item()
        if decibels < INAUDIBLE:
            logger.warning("sound_%03d is all but silent: its peak is %.0f dB", len(self.sounds), decibels)
        elif self.level == "peak":
            sound = sound * (PEAK / sound.abs().max())
        name = f"sound_{len(self.sounds):03d}.{self.suffix}"
        peak = audio.write(self.folder / name, sound, self.sampling_rate, subtype=self.subtype)
        level = metrics.decibels(sound.square().mean().sqrt()).item()
        self.entries.append(
            {"file": name, "seed": self.seeds[len(self.sounds)], "level": round(level, 2), "peak": round(peak, 4)}
        )
        self.sounds.append(sound)

    def close(self, **facts: Any) -> None:
        """The picture, all sounds in one file where asked for, and the last word of the manifest."""
        finished = len(self.sounds) == len(self.seeds)
        if self.sounds:
            self._write_manifest(finished=finished, **facts)
            sheet = io.BytesIO()
            shown = torch.stack(self.sounds[:ON_SHEET])
            titles = [entry["file"] for entry in self.entries[:ON_SHEET]]
            plot.contact_sheet(shown, self.sampling_rate, sheet, titles=titles)
            audio.write_whole(self.folder / SHEET, sheet.getvalue())
            if self.joined:
                joined = torch.cat(self.sounds, dim=-1)
                audio.write(self.folder / f"{ALL}.{self.suffix}", joined, self.sampling_rate, subtype=self.subtype)
        elif self.is_new and self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _write_manifest(self, *, finished: bool, **facts: Any) -> None:
        content = self.manifest | {"finished": finished, "sounds": self.entries} | facts
        audio.write_whole(self.folder / MANIFEST, (json.dumps(content, indent=2) + "\n").encode())


def digest(path: Path) -> str:
    """What tells one file from another: its SHA-256."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()
