"""What every sound goes through, in one order: channels → resample → crop or pad → level."""

import math

import numpy as np
import pyloudnorm
import torch
from torch import Tensor

from tiny_audio_diffusion.audio import SILENCE, resample, to_channels

PEAK_CEILING = 10 ** (-1 / 20)  # loudness never lifts a peak above −1 dBFS
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
        loudness: float | None = None,
        peak: float | None = None,
        fade_seconds: float = 0.005,
    ) -> None:
        if channels not in (1, 2):
            raise ValueError(f"channels must be 1 or 2, not {channels}")
        if not isinstance(sampling_rate, int):
            raise ValueError(f"sampling_rate is a whole number of samples a second, such as 44100, not {sampling_rate}")
        if sampling_rate < 1 or length < 1 or fade_seconds < 0:
            raise ValueError("sampling_rate and length must be positive, and fade_seconds not negative")
        if loudness is not None and peak is not None:
            raise ValueError("a sound has one level: give loudness (LUFS) or peak (dBFS), not both")
        for name, level in (("loudness", loudness), ("peak", peak)):
            if level is not None and not -70 <= level <= 0:
                raise ValueError(f"{name} must lie between -70 and 0, not {level}")
        self.sampling_rate = sampling_rate
        self.length = length
        self.channels = channels
        self.loudness = loudness
        self.peak = peak
        self.fade_length = min(round(fade_seconds * sampling_rate), length)

    @property
    def seconds(self) -> float:
        """How much of a sound is kept."""
        return self.length / self.sampling_rate

    def frames_needed(self, sampling_rate: int) -> int:
        """How many frames of a file decide the result."""
        return math.ceil((self.seconds + RESAMPLING_MARGIN_SECONDS) * sampling_rate)

    def __call__(self, audio: Tensor, sampling_rate: int) -> Tensor:
        """Return float32 [channels, length] within ±1."""
        audio = to_channels(audio, self.channels)
        audio = self.crop_or_pad(resample(audio, sampling_rate, self.sampling_rate))
        return (audio * self.gain(audio)).to(torch.float32)

    def crop_or_pad(self, audio: Tensor) -> Tensor:
        """Pad with zeros, or cut and fade out; a sound that is not cut keeps its own end."""
        missing = self.length - audio.shape[-1]
        if missing >= 0:
            return torch.nn.functional.pad(audio, (0, missing))
        audio = audio[:, : self.length].clone()
        ramp = torch.arange(1, self.fade_length + 1) / max(self.fade_length, 1)
        audio[:, self.length - self.fade_length :] *= (1 + torch.cos(math.pi * ramp)) / 2  # (1 + cos πu)/2: 1 → 0
        return audio

    def gain(self, audio: Tensor) -> float:
        """The factor to the wanted level; silence stays as it is, and without a level only what exceeds ±1 changes."""
        peak = audio.abs().max().item()
        if peak < SILENCE:
            return 1.0
        if self.peak is not None:
            return 10 ** (self.peak / 20) / peak
        if self.loudness is None:
            return min(1.0, 1 / peak)
        # Measured at full scale, so that the gate at −70 LUFS drops the same blocks however quiet the file is.
        measured = measure_loudness(audio / peak, self.sampling_rate)
        wanted = 10 ** ((self.loudness - measured) / 20) if math.isfinite(measured) else math.inf
        return min(wanted, PEAK_CEILING) / peak


def measure_loudness(audio: Tensor, sampling_rate: int) -> float:
    """Integrated loudness in LUFS (BS.1770-4); a sound below 0.4 s counts as followed by silence up to there."""
    samples = audio.to(torch.float64).numpy().T  # [length, channels]
    missing = math.ceil(LOUDNESS_BLOCK_SECONDS * sampling_rate) - len(samples)
    if missing > 0:
        samples = np.pad(samples, ((0, missing), (0, 0)))
    meter = pyloudnorm.Meter(sampling_rate, block_size=LOUDNESS_BLOCK_SECONDS)
    return float(meter.integrated_loudness(samples))
