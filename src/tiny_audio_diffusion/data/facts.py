"""What a sound file really holds: read to its end once, because headers lie."""

import hashlib
import math
import os
import re
import stat
from dataclasses import dataclass

import numpy as np
import soundfile
from numpy.typing import NDArray

from tiny_audio_diffusion.audio import BLOCK, SILENCE, open_sound

SAMPLING_RATES = (1_000, 768_000)  # beyond these a header is wrong
MOST_CHANNELS = 64
NOT_OPENED = "cannot be opened"
SYSTEM_ERROR = 2  # libsndfile's number for trouble with the disk
FULL_SCALE = 1 - 2**-14  # two steps of 16 bits below 1
# libsndfile's log tells the size in the header and the size it found; a stream's size is unknown and stands as ff ff ff ff
SHORTER = re.compile(r"^data : (?!4294967295)(\d+) \(should be (\d+)\)", re.MULTILINE)
# What else is often found under a sound's name.
DISGUISES = {
    b"version https://git-lfs": "a Git LFS pointer, not the sound: run git lfs pull",
    b"<!doctype html": "a web page, not a sound",
    b"<html": "a web page, not a sound",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """A file's content, whatever it will be used for; `error` says why there is none."""

    error: str = ""
    encoding: str = ""  # such as WAV PCM_16
    sampling_rate: int = 0
    channels: int = 0
    frames: int = 0
    onset: int = 0  # the first frame that is not silent
    end: int = 0  # one past the last frame that is not silent
    peak: float = 0.0
    mono_peak: float = 0.0  # of the mean of the channels
    clipped: int = 0  # samples where the waveform is flat at full scale
    finite: bool = True
    cut_short: bool = False  # the header promises more than there is
    digest: str = ""  # of the samples: two files of the same sound have the same one

    @property
    def is_lasting(self) -> bool:
        """Whether it depends on the file alone, and not on a disk or a permission at one moment."""
        return not self.error.startswith(NOT_OPENED)

    @property
    def seconds(self) -> float:
        return self.frames / self.sampling_rate if self.sampling_rate else 0.0

    @property
    def peak_decibels(self) -> float:
        return 20 * math.log10(self.peak) if self.peak else -math.inf


def examine(path: str) -> Facts:
    """Read one file to its end."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 -- names need not be Unicode
            return Facts(error="not a regular file")
        with open_sound(path) as file:
            return measure(file)
    except soundfile.LibsndfileError as error:
        if error.code == SYSTEM_ERROR:
            return Facts(error=f"{NOT_OPENED}: {error.error_string.strip()}")
        return Facts(error=disguise(path) or f"unreadable: {error.error_string.strip().rstrip('.')}")
    except OSError as error:
        return Facts(error=f"{NOT_OPENED}: {error.strerror or error}")


def measure(file: soundfile.SoundFile) -> Facts:
    """Read an open file block by block, so that hours of sound need no memory."""
    encoding, rate, channels = f"{file.format} {file.subtype}", file.samplerate, file.channels
    if not SAMPLING_RATES[0] <= rate <= SAMPLING_RATES[1]:
        return Facts(error=f"sampling rate of {rate} Hz", encoding=encoding)
    if channels > MOST_CHANNELS:
        return Facts(error=f"{channels} channels", encoding=encoding)
    if "ADPCM" in encoding:
        return Facts(error=f"{file.subtype} knows its length in blocks only: save it as WAV or FLAC", encoding=encoding)
    hasher = hashlib.blake2b(f"{rate} {channels}".encode(), digest_size=16)
    frames, onset, end, peak, mono_peak, clipped, finite = 0, -1, 0, 0.0, 0.0, 0, True
    while len(block := file.read(BLOCK // channels, dtype="float32", always_2d=True)):  # [frames, channels]
        hasher.update(block)
        magnitudes = np.abs(block).max(axis=1)
        highest = float(magnitudes.max())
        finite = finite and math.isfinite(highest)
        if finite:
            peak = max(peak, highest)
            with np.errstate(over="ignore"):  # of levels so high that the file is not used
                mono_peak = max(mono_peak, float(np.abs(block.mean(axis=1)).max()))
            clipped += flat_tops(block) if highest >= FULL_SCALE else 0
            audible = np.flatnonzero(magnitudes >= SILENCE)
            if len(audible):
                onset = frames + int(audible[0]) if onset < 0 else onset
                end = frames + int(audible[-1]) + 1
        frames += len(block)
    return Facts(
        encoding=encoding,
        sampling_rate=rate,
        channels=channels,
        frames=frames,
        onset=max(onset, 0),
        end=end,
        peak=peak,
        mono_peak=mono_peak,
        clipped=clipped,
        finite=finite,
        cut_short=any(int(said) > int(found) for said, found in SHORTER.findall(file.extra_info)),
        digest=hasher.hexdigest(),
    )


def flat_tops(block: NDArray[np.float32]) -> int:
    """How many samples repeat a neighbour's at full scale, three or more in a row."""
    flat = (block[1:] == block[:-1]) & (np.abs(block[1:]) >= FULL_SCALE)
    return int((flat[1:] & flat[:-1]).sum())


def disguise(path: str) -> str:
    """What a file is that calls itself a sound, where that can be told from its first bytes."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 -- names need not be Unicode
            start = file.read(64)
    except OSError as error:
        return f"{NOT_OPENED}: {error.strerror or error}"
    if not start:
        return "empty"
    return next((text for mark, text in DISGUISES.items() if start.lower().startswith(mark)), "")
