"""Where sets of sounds are compared: an embedder's vectors, standardised on real sounds that are not compared."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tiny_audio_diffusion.audio import resample
from tiny_audio_diffusion.embedder import Embedder
from tiny_audio_diffusion.metrics import Standardise

AT_ONCE = 64  # sounds
FRAME_DIMENSIONS = 32  # of the Fréchet distance, whose bias grows with their square


@dataclass(frozen=True)
class Features:
    """Where sounds lie: one point for each, and one for each of its moments."""

    sounds: Tensor  # [N, dimensions]
    frames: Tensor  # [N, frames, dimensions]

    def __len__(self) -> int:
        return len(self.sounds)

    def take(self, places: Sequence[int]) -> "Features":
        chosen = list(places)
        return Features(self.sounds[chosen], self.frames[chosen])

    @property
    def pooled(self) -> Tensor:
        """All moments of all sounds [N · frames, dimensions]."""
        return self.frames.flatten(0, 1)


class Space:
    """Spanned by some real sounds [N, C, L], applied to others of the same length."""

    def __init__(self, embedder: Embedder, sounds: Tensor, sampling_rate: int) -> None:
        self.embedder = embedder
        vectors = self.embed(sounds, sampling_rate)  # [N, frames, D]
        smallest = embedder.smallest_deviation
        self.of_sounds = Standardise(vectors.mean(dim=1), smallest_deviation=smallest)
        self.of_frames = Standardise(vectors.flatten(0, 1), dimensions=FRAME_DIMENSIONS, smallest_deviation=smallest)

    def __call__(self, sounds: Tensor, sampling_rate: int) -> Features:
        vectors = self.embed(sounds, sampling_rate)
        frames = self.of_frames(vectors.flatten(0, 1)).unflatten(0, vectors.shape[:2])
        return Features(self.of_sounds(vectors.mean(dim=1)), frames)

    @torch.no_grad()
    def embed(self, sounds: Tensor, sampling_rate: int) -> Tensor:
        """Vectors [N, frames, D], a few sounds at a time."""
        rate = self.embedder.sampling_rate
        return torch.cat([self.embedder.embed(resample(some, sampling_rate, rate)) for some in sounds.split(AT_ONCE)])
