"""What every embedder is: a map from sounds to vectors, at the sampling rate at which it listens."""

from abc import ABC, abstractmethod

from torch import Tensor


class Embedder(ABC):
    """Callers resample to `sampling_rate`, and standardise what comes out on real sounds (`metrics.Standardise`)."""

    sampling_rate: int
    smallest_deviation: float = 0.0  # for `Standardise`, in the units of the vectors

    @abstractmethod
    def embed(self, audio: Tensor) -> Tensor:
        """Sounds [N, C, L] to vectors [N, frames, D]; each sound's own vectors do not depend on the others."""

    def check(self, audio: Tensor) -> None:
        """Refuse what is not a batch of sounds."""
        if audio.ndim != 3 or not audio.numel():
            raise ValueError(f"sounds are [sounds, channels, samples], not {list(audio.shape)}")
