"""The two sets of sounds: found, examined, and brought to one rate, length and number of channels."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from tiny_audio_diffusion import audio
from tiny_audio_diffusion.audio import SILENCE, printable
from tiny_audio_diffusion.data.facts import Facts
from tiny_audio_diffusion.data.folder import class_name
from tiny_audio_diffusion.data.index import Index
from tiny_audio_diffusion.data.order import place
from tiny_audio_diffusion.data.report import Report, Verdict, reason_to_skip
from tiny_audio_diffusion.data.scan import as_roots, examine_all, find
from tiny_audio_diffusion.data.transforms import Transforms, crop_or_pad

KIT = "manifest.json"  # beside it `all.wav` is not one sound but every sound of the folder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """The usable files below some folders, and why the others are not."""

    roots: list[Path]
    paths: list[str]
    facts: list[Facts]
    skipped: list[tuple[str, str]]  # name and reason
    left_out: int = 0  # usable, but more than were asked for

    def name(self, path: str) -> str:
        """A file as seen from its folder; from beside it where there are several."""
        root = next(root for root in self.roots if Path(path).is_relative_to(root))
        return printable(Path(path).relative_to(root if len(self.roots) == 1 else root.parent))


@dataclass(frozen=True)
class Sounds:
    """Sounds that can be compared."""

    audio: Tensor  # [N, C, L]
    sampling_rate: int
    names: list[str]
    labels: list[str]  # the first folder below the root, or nothing
    digests: list[str]  # of the samples in the file: copies have the same one

    def __len__(self) -> int:
        return len(self.names)

    def take(self, places: Sequence[int]) -> "Sounds":
        """Some of them."""
        chosen = list(places)
        parts = [[some[place] for place in chosen] for some in (self.names, self.labels, self.digests)]
        return Sounds(self.audio[chosen], self.sampling_rate, *parts)

    @property
    def classes(self) -> list[str]:
        """The names of the class folders."""
        return sorted(set(self.labels) - {""})


def look(folders: str | Sequence[str], *, name: str, most: int, silent_too: bool) -> Found:
    """Examine every file; what cannot be used is told. `name` is what the command line calls these folders."""
    try:
        roots = as_roots(folders)
    except (ValueError, OSError) as error:
        raise type(error)(f"{name}=: {error}") from error
    listed, report = find(roots, recursive=True), Report()
    paths, facts = [], []
    for path, seen, each in examine_all(listed.sounds, index=Index(None)):
        reason = _reason(path, each, silent_too=silent_too)
        if reason or seen is None:
            report.add(Verdict(path, "skipped", ((reason, ""),), each))
            listed.closed.append((path, reason))
        else:
            paths.append(path)
            facts.append(each)
    if not paths:
        raise ValueError(f"{name}=: {report.nothing_usable(roots)}")
    chosen = sorted(sorted(range(len(paths)), key=lambda index: (place(paths[index]), index))[:most])
    skipped = [(printable(path), reason) for path, reason in listed.closed]
    found = Found(
        roots, [paths[index] for index in chosen], [facts[index] for index in chosen], skipped, len(paths) - len(chosen)
    )
    for path, reason in skipped:
        logger.warning("%s=: left out %s: %s", name, path, reason)
    if found.left_out:
        logger.warning("%s=: %d of %d sounds, chosen by their names (most=%d)", name, most, len(paths), most)
    return found


def _reason(path: str, facts: Facts, *, silent_too: bool) -> str:
    """Why a file is not compared; a model that makes silence has to be judged by it."""
    if Path(path).stem == "all" and (Path(path).parent / KIT).is_file():
        return "all sounds of a kit in one file"
    audible = max(facts.peak, SILENCE if silent_too else 0)
    facts = replace(facts, peak=audible, mono_peak=max(facts.mono_peak, SILENCE if silent_too else 0))
    return reason_to_skip(facts, ONLY_CHANNELS)


ONLY_CHANNELS = Transforms(sampling_rate=44100, length=1, channels=2, trim_silence=False, random_crop=False)


def usual_rate(found: Found) -> int:
    """The rate that most of the files have, the highest of these."""
    counts = Counter(facts.sampling_rate for facts in found.facts)
    return max(counts, key=lambda rate: (counts[rate], rate))


def most_channels(found: Found) -> int:
    """Stereo where a file has more than one channel."""
    return min(2, max(facts.channels for facts in found.facts))


def longest_seconds(found: Found) -> float:
    """The length of the longest file."""
    return max(facts.seconds for facts in found.facts)


def read(found: Found, transforms: Transforms, *, as_trained: bool) -> Sounds:
    """Read the files: what was made as it is, what a model learns from as training prepares it (begin and level)."""
    sounds = []
    for path, facts in zip(found.paths, found.facts, strict=True):
        rate = facts.sampling_rate
        start = transforms.start(facts.onset, facts.end, facts.frames, rate) if as_trained else 0
        sound, _ = audio.read(path, start=start, frames=transforms.frames_needed(rate))
        has_level = transforms.loudness is not None or transforms.peak is not None
        sounds.append(transforms(sound, rate) if as_trained and has_level else _fit(sound, rate, transforms))
    return Sounds(
        torch.stack(sounds),
        transforms.sampling_rate,
        [found.name(path) for path in found.paths],
        [class_name(path, found.roots) for path in found.paths],
        [facts.digest for facts in found.facts],
    )


def _fit(sound: Tensor, rate: int, transforms: Transforms) -> Tensor:
    """Rate, channels and length; a level beyond full scale stays."""
    sound = audio.resample(audio.to_channels(sound, transforms.channels), rate, transforms.sampling_rate)
    return crop_or_pad(sound, transforms.length, fade_length=transforms.fade_length)
