"""A set of sounds in figures: what the examination of its files found, and what has to be measured, on some of them."""

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tiny_audio_diffusion.audio import blocks, move, open_sound, resample, to_channels
from tiny_audio_diffusion.data.catalogue import Catalogue
from tiny_audio_diffusion.data.folder import SoundFolder
from tiny_audio_diffusion.data.index import Index
from tiny_audio_diffusion.data.report import CHANNEL_NAMES
from tiny_audio_diffusion.data.scan import examine_all, progress
from tiny_audio_diffusion.data.transforms import LEAD_IN_SECONDS, Transforms, crop_or_pad, measure_loudness

MOST_MEASURED = 500
MOST_LISTED = 12
LATE_SECONDS = 0.01  # a sound that begins later makes a model learn silence
SEED = 0
WINDOW_LENGTH = 1024
INAUDIBLE = 1e-8  # mean square 80 dB below a sound's peak
SAME_PEAK = 1e-4  # relative: the mean of equal sides peaks where they do


class Measured(NamedTuple):
    """What one sound says when it is listened to."""

    loudness: float  # LUFS of what is kept, with the set's channels and rate, at the file's own level
    lost: float  # share of the energy that comes after the crop
    difference: float  # peak of left minus right over the peak of the sound
    highest: float  # Hz: nothing above it comes within 80 dB of the peak


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Figures of a set, most of them one for each sound; `measured` are some of the sounds, drawn with a seed."""

    durations: NDArray[np.float64]  # seconds
    onsets: NDArray[np.float64]  # seconds of silence at the start
    ends: NDArray[np.float64]  # seconds until nothing more is heard
    peaks: NDArray[np.float64]  # dBFS
    sampling_rates: Counter[int]
    channels: Counter[int]
    encodings: Counter[str]
    classes: Counter[str]  # without a class: ""
    copies: int  # sounds that are the same as another one
    equal_peaks: bool  # of left and right in every file: a sign of equal sides
    measured: list[Measured]

    def __len__(self) -> int:
        return len(self.durations)

    def heard(self, *, crop_seconds: float, trim_silence: bool) -> NDArray[np.float64]:
        """Seconds from where each sound is read to where nothing more is heard."""
        late = trim_silence | (self.onsets >= crop_seconds)
        return self.ends - np.where(late, np.maximum(self.onsets - LEAD_IN_SECONDS, 0), 0)

    def held(self, crop_seconds: float, *, trim_silence: bool) -> float:
        """The share of the sounds that are over before the crop is."""
        return float((self.heard(crop_seconds=crop_seconds, trim_silence=trim_silence) <= crop_seconds).mean())

    @property
    def are_mono(self) -> bool:
        """Whether a second channel says nothing new in any sound, as far as was measured."""
        return self.equal_peaks and all(sound.difference < 1e-3 for sound in self.measured)

    @property
    def loudness(self) -> NDArray[np.float64]:
        """LUFS of the measured sounds, without those below -70 LUFS."""
        values = np.array([sound.loudness for sound in self.measured])
        return values[np.isfinite(values)]

    @property
    def lost(self) -> NDArray[np.float64]:
        """The share of each measured sound's energy that comes after the crop."""
        return np.array([sound.lost for sound in self.measured])


def gather(dataset: SoundFolder, cache_folder: str | os.PathLike[str] | None) -> Statistics:
    """The statistics of a folder that is open; what the index remembers of its files is not read again."""
    sounds, transforms = dataset.catalogue, dataset.transforms
    facts = [known for _, _, known in examine_all(list(sounds.paths), index=Index(cache_folder))]
    return Statistics(
        durations=sounds.frames / sounds.sampling_rates,
        onsets=sounds.onsets / sounds.sampling_rates,
        ends=sounds.ends / sounds.sampling_rates,
        peaks=np.array([known.peak_decibels for known in facts]),
        sampling_rates=Counter(sounds.sampling_rates.tolist()),
        channels=Counter(known.channels for known in facts),
        encodings=Counter(known.encoding for known in facts),
        classes=dataset.report.labels,
        copies=len(sounds) - len(np.unique(sounds.digests)),
        equal_peaks=all(known.peak - known.mono_peak <= SAME_PEAK * known.peak for known in facts),
        measured=_measure_some(sounds, transforms),
    )


def describe(found: Statistics, transforms: Transforms) -> str:
    """The statistics for the screen, one line each."""
    measured, trim = len(found.measured), transforms.trim_silence
    some = f" (measured on {measured} of them)" if measured < len(found) else ""
    over = 1 - found.held(transforms.seconds, trim_silence=trim)
    cut = float((found.durations > transforms.seconds).mean())
    late = float((found.onsets > LATE_SECONDS).mean())
    rows = {
        "sounds": f"{len(found):,}, {clock(found.durations.sum())} in all",
        "length": f"{spread(found.durations, 's')}, 95 % below {short(np.quantile(found.durations, 0.95))}",
        "sampling rate": counted({f"at {rate} Hz": count for rate, count in found.sampling_rates.items()}),
        "channels": counted({channel_name(number): count for number, count in found.channels.items()}),
        "format": counted(found.encodings),
        "peak": spread(found.peaks, "dBFS"),
        "loudness": spread(found.loudness, "LUFS") + some if len(found.loudness) else "all below -70 LUFS" + some,
        "silence at start": f"{spread(1000 * found.onsets, 'ms')}, {late:.1%} above {1000 * LATE_SECONDS:.0f} ms",
        "classes": counted({name or "without a class": count for name, count in found.classes.items()}),
        "copies": f"{found.copies:,} (the same sound as another file)",
        f"crop at {transforms.seconds:.3g} s": (
            f"cuts {cut:.1%} of the sounds, {over:.1%} before they end; {found.lost.mean():.2%} of the energy is lost, "
            f"{np.quantile(found.lost, 0.95):.2%} or more of every twentieth sound{some}"
        ),
    }
    return "\n".join(["statistics", *(f"  {name:<17} {text}" for name, text in rows.items())])


def spread(values: NDArray[np.float64], unit: str) -> str:
    """Lowest, median and highest value."""
    low, median, high = np.quantile(values, [0, 0.5, 1])
    return f"{short(low)} to {short(high)} {unit}, median {short(median)}"


def short(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def clock(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.3g} s"
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"


def channel_name(number: int) -> str:
    return CHANNEL_NAMES.get(number, f"{number}-channel")


def counted(counts: Mapping[str, int]) -> str:
    """Names with their counts, the most frequent first."""
    ordered = Counter(counts).most_common()
    shown = ", ".join(f"{count:,} {name}" for name, count in ordered[:MOST_LISTED])
    return shown + (f", and {len(ordered) - MOST_LISTED} others" if len(ordered) > MOST_LISTED else "")


def mixed(labels: NDArray[np.int32], count: int) -> list[int]:
    """At most `count` sounds, drawn with a seed: one of each class, then another of each, while they last."""
    shuffled = np.random.default_rng(SEED).permutation(len(labels))
    by_class = np.argsort(labels[shuffled], kind="stable")
    _, starts, sizes = np.unique(labels[shuffled][by_class], return_index=True, return_counts=True)
    turns = np.empty(len(labels), dtype=np.int64)  # how many of its class come before each sound
    turns[by_class] = np.arange(len(labels)) - np.repeat(starts, sizes)
    return shuffled[np.argsort(turns, kind="stable")][:count].tolist()


def _measure_some(sounds: Catalogue, transforms: Transforms) -> list[Measured]:
    """At most `MOST_MEASURED` of the sounds, drawn with a seed."""
    chosen = np.random.default_rng(SEED).permutation(len(sounds))[:MOST_MEASURED].tolist()

    def measured(index: int) -> Measured:
        columns: Sequence[NDArray[np.int64]] = (sounds.onsets, sounds.ends, sounds.frames, sounds.sampling_rates)
        start = transforms.start(*(int(column[index]) for column in columns))
        return measure(sounds.paths[index], transforms, start=start)

    found = []
    with ThreadPoolExecutor() as pool, progress("measuring sounds", len(chosen)) as bar:
        for sound in pool.map(measured, chosen):
            found.append(sound)
            bar.update()
    return found


def measure(path: str, transforms: Transforms, *, start: int) -> Measured:
    """Listen to one file from `start` to its end, in bounded memory."""
    with open_sound(path) as file:
        move(file, start)
        rate = file.samplerate
        first = np.concatenate([*blocks(file, transforms.frames_needed(rate))]).T  # [channels, frames]
        rest = sum(_energy(block) for block in blocks(file))
    crop = math.ceil(transforms.seconds * rate)
    kept, total = _energy(first[:, :crop]), _energy(first) + rest
    samples = torch.from_numpy(first.copy())
    left, right = to_channels(samples, 2)
    peak = samples.abs().max().clamp(min=torch.finfo(samples.dtype).tiny)
    return Measured(
        loudness=own_loudness(samples, rate, transforms),
        lost=1 - kept / total if total else 0.0,
        difference=((left - right).abs().max() / peak).item(),
        highest=highest_frequency(samples / peak, rate),
    )


def own_loudness(samples: Tensor, sampling_rate: int, transforms: Transforms) -> float:
    """LUFS of what is kept of a sound [any, frames], before any level is set."""
    audio = resample(to_channels(samples, transforms.channels), sampling_rate, transforms.sampling_rate)
    audio = crop_or_pad(audio, transforms.length, fade_length=transforms.fade_length)
    peak = audio.abs().max().item()
    # Measured at full scale, as for levels: the gate at -70 LUFS then drops the same blocks however quiet the file is.
    return measure_loudness(audio / peak, transforms.sampling_rate) + 20 * math.log10(peak) if peak else -math.inf


def highest_frequency(samples: Tensor, sampling_rate: int) -> float:
    """Up to where a sound [channels, frames] of peak 1 is heard: all bands above stay below -80 dB in every window."""
    window = torch.hann_window(WINDOW_LENGTH)
    # Silence before the sound, none after it: its attack is heard, and where it was cut no click appears.
    missing = max(WINDOW_LENGTH // 2 - samples.shape[-1], 0)
    padded = torch.nn.functional.pad(samples, (WINDOW_LENGTH // 2, missing))
    spectrum = torch.stft(padded, WINDOW_LENGTH, window=window, center=False, return_complex=True)
    power = spectrum.abs().square() * 2 / (WINDOW_LENGTH * window.square().sum())  # of all bands: the mean square
    from_here_up = power.flip(1).cumsum(1).flip(1).amax(dim=(0, 2))  # [bands]
    audible = int((from_here_up >= INAUDIBLE).sum())  # it falls from band to band
    return audible * sampling_rate / WINDOW_LENGTH


def _energy(samples: NDArray[np.float32]) -> float:
    return float(np.square(samples, dtype=np.float64).sum())
