"""What every sound goes through, in one order: channels → resample → crop or pad → level.

Where a sound is read from (`Transforms.start`) comes before that: the reader seeks, and hands over what it read.
"""

import json
import math

import numpy as np
import pyloudnorm
import torch
from torch import Tensor

from tiny_audio_diffusion.audio import SILENCE, resample, to_channels

VERSION = 1  # of the chain: any change that a prepared sound can show raises it, so that stored ones are made anew
CEILING_DECIBELS = -1
PEAK_CEILING = 10 ** (CEILING_DECIBELS / 20)  # no prepared sound exceeds it
# What is aimed at: rounding a factor and its product to float32 adds up to 2**-23.
PEAK_LIMIT = PEAK_CEILING * (1 - 2**-22)
FADE_SECONDS = 0.005
LEAD_IN_SECONDS = 0.002  # kept before the onset of a trimmed sound: an attack begins below the threshold
LOUDNESS_BLOCK_SECONDS = 0.4  # the gating block of ITU-R BS.1770-4
RESAMPLING_MARGIN_SECONDS = (
    0.05  # read beyond the crop, so that the filter's edge and the test for a cut see real sound
)


class Transforms:
    """Bring a sound to one rate, length, number of channels and level (`loudness` in LUFS or `peak` in dBFS)."""

    def __init__(
        self,
        *,
        sampling_rate: int,
        length: int,
        channels: int,
        trim_silence: bool,
        random_crop: bool,
        loudness: float | None = None,
        peak: float | None = None,
        fade_seconds: float = FADE_SECONDS,
    ) -> None:
        if channels not in (1, 2):
            raise ValueError(f"channels must be 1 or 2, not {channels}")
        if not isinstance(sampling_rate, int):
            raise ValueError(f"sampling_rate is a whole number of samples a second, such as 44100, not {sampling_rate}")
        if sampling_rate < 1 or length < 1 or fade_seconds < 0:
            raise ValueError("sampling_rate and length must be positive, and fade_seconds not negative")
        if loudness is not None and peak is not None:
            raise ValueError("a sound has one level: give loudness (LUFS) or peak (dBFS), not both")
        if loudness is not None and not -70 <= loudness <= 0:
            raise ValueError(f"loudness must lie between -70 and 0 LUFS, not {loudness}")
        if peak is not None and not -70 <= peak <= CEILING_DECIBELS:
            raise ValueError(
                f"peak must lie between -70 and {CEILING_DECIBELS} dBFS, not {peak}: above that a sound "
                "can clip between its samples once it is played or resampled"
            )
        self.sampling_rate = sampling_rate
        self.length = length
        self.channels = channels
        self.trim_silence = trim_silence
        self.random_crop = random_crop
        self.loudness = loudness
        self.peak = peak
        self.fade_length = min(round(fade_seconds * sampling_rate), length)

    @property
    def seconds(self) -> float:
        """How much of a sound is kept."""
        return self.length / self.sampling_rate

    def settings(self) -> str:
        """All that decides how a sound comes out, random crops apart, as one canonical line: the key of a cache."""
        facts = {
            "version": VERSION,
            "sampling_rate": self.sampling_rate,
            "length": self.length,
            "channels": self.channels,
            "trim_silence": bool(self.trim_silence),
            "loudness": None if self.loudness is None else float(self.loudness),
            "peak": None if self.peak is None else float(self.peak),
            "fade_length": self.fade_length,
        }
        return json.dumps(facts, sort_keys=True)

    def frames_needed(self, sampling_rate: int) -> int:
        """How many frames of a file decide the result."""
        return math.ceil((self.seconds + RESAMPLING_MARGIN_SECONDS) * sampling_rate)

    def varies(self, frames: int, sampling_rate: int) -> bool:
        """Whether a sound is cut somewhere else on every visit."""
        return self.random_crop and frames * self.sampling_rate > self.length * sampling_rate

    def start(self, onset: int, end: int, frames: int, sampling_rate: int, *, place: float = 0.0) -> int:
        """The first frame to read of a sound that is heard in [onset, end); `place` in [0, 1) picks a random crop.

        That is the first frame of the file, or the onset where silence is trimmed or nothing else would be heard.
        """
        assert 0 <= onset <= end
        assert 0 <= place < 1
        crop = -(-self.length * sampling_rate // self.sampling_rate)  # rounded up
        fade = -(-self.fade_length * sampling_rate // self.sampling_rate)
        # An onset inside the fade counts as late: next to nothing of the sound would be left.
        if self.trim_silence or onset >= crop - fade:
            first = max(onset - round(LEAD_IN_SECONDS * sampling_rate), 0)
        else:
            first = 0
        if not self.varies(frames, sampling_rate):
            return first
        last = max(first, min(frames, end) - crop)
        return first + int(place * (last - first + 1))

    def __call__(self, audio: Tensor, sampling_rate: int) -> Tensor:
        """Return float32 [channels, length], nowhere above −1 dBFS."""
        if not audio.shape[-1]:
            raise ValueError("the sound is empty")
        audio = audio.to(torch.float32)
        if not torch.isfinite(audio).all():
            raise ValueError("the sound holds NaN or infinite values")
        audio = resample(to_channels(audio, self.channels), sampling_rate, self.sampling_rate)
        return self.level(crop_or_pad(audio, self.length, fade_length=self.fade_length))

    def level(self, audio: Tensor) -> Tensor:
        """Bring audio to the wanted level; silence stays as it is, and without a level what keeps to the ceiling."""
        peak = audio.abs().max().item()
        if not math.isfinite(peak):
            raise ValueError("the sound is so loud that mixing or resampling it overflows")
        if peak < SILENCE or (self.loudness is None and self.peak is None and peak <= PEAK_CEILING):
            return audio
        # Measured at full scale, so that the gate at −70 LUFS drops the same blocks however quiet the file is.
        audio = audio / peak
        return audio * min(self.factor(audio), PEAK_LIMIT)

    def factor(self, audio: Tensor) -> float:
        """From full scale to the wanted level, the ceiling apart."""
        if self.peak is not None:
            return 10 ** (self.peak / 20)
        if self.loudness is None:
            return 1.0
        measured = measure_loudness(audio, self.sampling_rate)
        return 10 ** ((self.loudness - measured) / 20) if math.isfinite(measured) else math.inf


def crop_or_pad(audio: Tensor, length: int, *, fade_length: int) -> Tensor:
    """Pad with zeros, or cut and fade out; a sound that is not cut keeps its own end."""
    missing = length - audio.shape[-1]
    if missing >= 0:
        return torch.nn.functional.pad(audio, (0, missing))
    audio = audio[:, :length].clone()
    ramp = torch.arange(1, fade_length + 1) / max(fade_length, 1)
    audio[:, length - fade_length :] *= (1 + torch.cos(math.pi * ramp)) / 2  # (1 + cos πu)/2: 1 → 0
    return audio


def measure_loudness(audio: Tensor, sampling_rate: int) -> float:
    """Integrated loudness in LUFS (BS.1770-4); a sound below 0.4 s counts as followed by silence up to there.

    The filters are pyloudnorm's. Its meter is not used: it changes the warnings of the whole process while it measures,
    which threads must not do, and takes twice the time.
    """
    samples = audio.to(torch.float64).numpy()  # [channels, length]
    missing = math.ceil(LOUDNESS_BLOCK_SECONDS * sampling_rate) - samples.shape[-1]
    if missing > 0:
        samples = np.pad(samples, ((0, 0), (0, missing)))
    shelf = pyloudnorm.IIRfilter(4.0, 0.5**0.5, 1500.0, sampling_rate, "high_shelf")
    high_pass = pyloudnorm.IIRfilter(0.0, 0.5, 38.0, sampling_rate, "high_pass")
    # This order: alone, the fast decay of the shelf ends in numbers so small that processors slow down.
    squares = np.square(shelf.apply_filter(high_pass.apply_filter(samples))).sum(axis=0)  # [length]
    powers = block_powers(squares, sampling_rate)
    absolute = 10 ** ((-70 + 0.691) / 10)
    heard = powers[powers > absolute]
    if len(heard):
        heard = heard[heard > heard.mean() / 10]  # −10 LU below the mean
    return -0.691 + 10 * math.log10(heard.mean()) if len(heard) else -math.inf


def block_powers(squares: np.ndarray, sampling_rate: int) -> np.ndarray:
    """The mean square of each gating block; each begins a quarter of a block after the one before."""
    block = LOUDNESS_BLOCK_SECONDS * sampling_rate
    count = round((len(squares) - block) / (block / 4)) + 1
    starts = [int(index * block / 4) for index in range(count)]
    return np.array([squares[start : int(start + block)].sum() for start in starts]) / block
