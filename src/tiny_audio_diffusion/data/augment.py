"""Small random changes of prepared sounds, so that a small set does not come out of training note by note."""

import hashlib
import unicodedata
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from tiny_audio_diffusion.audio import SILENCE, resample
from tiny_audio_diffusion.data.transforms import FADE_SECONDS, PEAK_CEILING, PEAK_LIMIT, crop_or_pad

LARGEST_PITCH_FACTOR = 100  # ratios of whole numbers up to this are cheap to resample by and at most 9 cents off


class Augment:
    """Pitch, shift in time, channel swap, polarity and gain, in this order, drawn evenly; 0 leaves one out."""

    def __init__(
        self,
        *,
        gain_decibels: float,
        polarity_probability: float,
        swap_probability: float,
        shift_seconds: float,
        pitch_semitones: float,
        sampling_rate: int,
    ) -> None:
        ranges = {
            "gain_decibels": (gain_decibels, 24),
            "polarity_probability": (polarity_probability, 1),
            "swap_probability": (swap_probability, 1),
            "shift_seconds": (shift_seconds, 1),
            "pitch_semitones": (pitch_semitones, 12),
        }
        for name, (value, most) in ranges.items():
            if not 0 <= value <= most:
                raise ValueError(f"{name} must lie between 0 (off) and {most}, not {value}")
        if sampling_rate < 1:
            raise ValueError(f"sampling_rate must be positive, not {sampling_rate}")
        self.gain_decibels = gain_decibels
        self.polarity_probability = polarity_probability
        self.swap_probability = swap_probability
        self.shift_length = round(shift_seconds * sampling_rate)
        self.pitch_semitones = pitch_semitones
        self.fade_length = round(FADE_SECONDS * sampling_rate)
        self.is_identity = not any(value for value, _ in ranges.values())

    def __call__(self, audio: Tensor, random: np.random.Generator) -> Tensor:
        """Return [channels, length] changed, nowhere above −1 dBFS; silence stays as it is."""
        if self.is_identity:
            return audio
        # Always all of them: switching one change on must not move what another one draws.
        pitch, shift, swap, polarity, gain = random.random(5).tolist()
        if peak_of(audio) < SILENCE:
            return audio
        audio = audible(self.pitched(audio, 2 * pitch - 1), audio)
        audio = audible(self.shifted(audio, 2 * shift - 1), audio)
        if swap < self.swap_probability:
            audio = audio.flip(0)
        sign = -1 if polarity < self.polarity_probability else 1
        changed = audio * (sign * 10 ** (self.gain_decibels * (2 * gain - 1) / 20))
        return changed if peak_of(changed) <= PEAK_CEILING else audio / peak_of(audio) * (sign * PEAK_LIMIT)

    def pitched(self, audio: Tensor, amount: float) -> Tensor:
        """Play audio faster or slower; `amount` in [-1, 1] goes from the lowest to the highest."""
        ratio = Fraction(2 ** (self.pitch_semitones * amount / 12)).limit_denominator(LARGEST_PITCH_FACTOR)
        changed = resample(audio, ratio.numerator, ratio.denominator)
        return self.fitted(changed, audio.shape[-1])

    def shifted(self, audio: Tensor, amount: float) -> Tensor:
        """Move audio in time, from the earliest at `amount` -1 to the latest at 1; zeros come in, nothing wraps."""
        length = audio.shape[-1]
        steps = round(self.shift_length * amount)
        if steps >= 0:
            return self.fitted(torch.nn.functional.pad(audio, (steps, 0)), length)
        # The same with time turned round: what is cut is then the beginning.
        return self.fitted(torch.nn.functional.pad(audio, (0, -steps)).flip(-1), length).flip(-1)

    def fitted(self, audio: Tensor, length: int) -> Tensor:
        """Crop or pad as every sound is, without a fade where nothing but silence is cut."""
        heard = peak_of(audio[:, length:]) >= SILENCE
        return crop_or_pad(audio, length, fade_length=min(self.fade_length, length) if heard else 0)


def audible(changed: Tensor, audio: Tensor) -> Tensor:
    """The changed sound; the one before where a short or late sound was moved out of hearing."""
    return changed if peak_of(changed) >= SILENCE else audio


def peak_of(audio: Tensor) -> float:
    """The largest magnitude, 0 of nothing."""
    return audio.abs().max().item() if audio.numel() else 0.0


def random_of(seed: int, name: str, visit: int) -> np.random.Generator:
    """The random numbers of one visit to one sound: the same on every system and in every process."""
    key = f"{seed}/{visit}/{unicodedata.normalize('NFC', name)}"  # macOS may hand out the same name decomposed
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()  # a name need not be Unicode
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
