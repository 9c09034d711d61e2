"""Log-mel features of sounds, with a floor at what is audible, and the space in which sets of features are compared."""

import torch
from torch import Tensor
from torchaudio.transforms import MelSpectrogram

BANDS, WINDOW_LENGTH, HOP_LENGTH = 64, 2048, 1024  # 0.75 s at 44.1 kHz gives 33 frames
SMALLEST_DEVIATION = 3.0  # dB: a feature that hardly moves in real sounds must not be blown up by its tiny deviation
SMALLEST_SHARE = 0.1  # of the usual deviation, for vectors whose units mean nothing


@torch.no_grad()
def log_mel(audio: Tensor, sampling_rate: int, *, floor: float = -60.0) -> Tensor:
    """Band powers over time of sounds [N, C, L], in dB of each sound's own squared peak, as [N, features].

    The bands of a frame add up to its mean square, and each is floored at `floor`. Noise of −60 dB in all stays
    below −60 dB in every band and costs nothing, at −40 dB it rises out of the floor in the upper half of the bands,
    and digital silence equals anything inaudible. Loudness as such does not count: `peak_decibels` tells it.
    """
    # Without slaney normalisation the triangles add up to one; by Parseval, mean square = 2/N Σ|X|² / Σw².
    mel = MelSpectrogram(
        sampling_rate,
        WINDOW_LENGTH,
        hop_length=HOP_LENGTH,
        n_mels=BANDS,
        mel_scale="slaney",
        normalized="window",
        pad_mode="constant",
    ).to(audio.device)
    features = []
    for sounds in audio.float().split(64):  # bounds the memory that the spectra take
        peak = sounds.abs().amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)
        power = mel(mid_and_side(sounds / peak)) * (2 / WINDOW_LENGTH)  # [n, C, bands, frames]
        features.append(10 * torch.log10(power.clamp(min=10 ** (floor / 10))).flatten(1))
    return torch.cat(features)


def mid_and_side(audio: Tensor) -> Tensor:
    """Stereo [N, 2, L] as (left + right)/2 and (left − right)/2; anything else as it is."""
    if audio.shape[1] != 2:
        return audio
    left, right = audio.unbind(1)
    return torch.stack([(left + right) / 2, (left - right) / 2], dim=1)


class Standardise:
    """Mean, deviation and principal components of real sounds' features; applied, [N, features] → [N, dimensions + 1].

    The last column is how far a sound lies outside the components: hiss where no real sound has energy is orthogonal
    to all of them and would go unseen. Fit on the training set and measure against other sounds: those that were
    fitted lie closer to the components than any fresh sound can.
    """

    def __init__(
        self, features: Tensor, *, dimensions: int = 64, smallest_deviation: float = SMALLEST_DEVIATION
    ) -> None:
        if len(features) < 2:
            raise ValueError(f"at least 2 sounds are needed to standardise features, not {len(features)}")
        features = features.double()
        self.mean = features.mean(dim=0)
        deviation = features.std(dim=0)
        usual = deviation.square().mean().sqrt().item()
        # Features that never move in real sounds must not turn a breath of change into infinitely many deviations.
        self.deviation = deviation.clamp(min=max(smallest_deviation, SMALLEST_SHARE * usual, 1e-9))
        scaled = (features - self.mean) / self.deviation
        # Centred data of N sounds span N − 1 directions at most.
        self.components = torch.linalg.svd(scaled, full_matrices=False).Vh[: min(dimensions, len(features) - 1)]

    def __call__(self, features: Tensor) -> Tensor:
        scaled = (features.double() - self.mean) / self.deviation
        projected = scaled @ self.components.T
        outside = torch.linalg.vector_norm(scaled - projected @ self.components, dim=1, keepdim=True)
        return torch.cat([projected, outside], dim=1)
