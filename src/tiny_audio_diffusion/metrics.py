"""How close generated sounds are to real ones: a log-mel embedding, distances between sets, and checks of a signal."""

import torch
from torch import Tensor
from torchaudio.transforms import MelSpectrogram

BANDS, WINDOW_LENGTH, HOP_LENGTH = 64, 2048, 1024  # 0.75 s at 44.1 kHz gives 33 frames
SILENCE = -120.0  # dB: below the last bit of a 16-bit file, reported for digital silence too
SMALLEST_DEVIATION = 3.0  # dB: a feature that hardly moves in real sounds must not be blown up by its tiny deviation


def decibels(amplitude: Tensor) -> Tensor:
    """Amplitude to dB, never below SILENCE."""
    return 20 * torch.log10(amplitude.clamp(min=10 ** (SILENCE / 20)))


def peak_decibels(audio: Tensor) -> Tensor:
    """Highest absolute sample of each sound [N, C, L] in dB of full scale, as [N]."""
    return decibels(audio.abs().amax(dim=(1, 2)))


def is_silent(audio: Tensor, *, threshold: float = -60.0) -> Tensor:
    """Whether the peak of each sound [N, C, L] stays below the threshold in dB of full scale, as bool [N]."""
    return peak_decibels(audio) < threshold


def tail_noise(audio: Tensor, sampling_rate: int, *, seconds: float = 0.05) -> Tensor:
    """Root mean square of the end of each sound [N, C, L] in dB of its own peak, as [N]; hiss shows here first."""
    tail = audio[..., -max(1, round(seconds * sampling_rate)) :]
    peak = audio.abs().amax(dim=(1, 2))
    return decibels(tail.square().mean(dim=(1, 2)).sqrt() / peak.clamp(min=torch.finfo(audio.dtype).tiny))


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
        power = mel(_mid_and_side(sounds / peak)) * (2 / WINDOW_LENGTH)  # [n, C, bands, frames]
        features.append(10 * torch.log10(power.clamp(min=10 ** (floor / 10))).flatten(1))
    return torch.cat(features)


def _mid_and_side(audio: Tensor) -> Tensor:
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

    def __init__(self, features: Tensor, *, dimensions: int = 64) -> None:
        if len(features) < 2:
            raise ValueError(f"at least 2 sounds are needed to standardise features, not {len(features)}")
        features = features.double()
        self.mean = features.mean(dim=0)
        self.deviation = features.std(dim=0).clamp(min=SMALLEST_DEVIATION)
        scaled = (features - self.mean) / self.deviation
        # Centred data of N sounds span N − 1 directions at most.
        self.components = torch.linalg.svd(scaled, full_matrices=False).Vh[: min(dimensions, len(features) - 1)]

    def __call__(self, features: Tensor) -> Tensor:
        scaled = (features.double() - self.mean) / self.deviation
        projected = scaled @ self.components.T
        outside = torch.linalg.vector_norm(scaled - projected @ self.components, dim=1, keepdim=True)
        return torch.cat([projected, outside], dim=1)


def kernel_distance(reference: Tensor, generated: Tensor) -> float:
    """Unbiased squared maximum mean discrepancy × 100 between two sets of features; below zero is chance, not an error.

    k(a, b) = exp(−|a − b|² / 2h²), h the median distance within the reference, as in the kernel audio distance.
    """
    kernels = _kernels(reference, generated)
    once = [kernel.new_ones(1, len(kernel)) for kernel in kernels[:2]]
    return _discrepancy(kernels, *once).item()


def bootstrap_interval(
    reference: Tensor, generated: Tensor, *, confidence: float = 0.95, repeats: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Interval of the kernel distance when both sets are drawn anew, with replacement, from themselves."""
    kernels = _kernels(reference, generated)
    generator = torch.Generator().manual_seed(seed)
    weights = []  # how often each sound was drawn, [repeats, N]
    for kernel in kernels[:2]:
        drawn = torch.randint(len(kernel), (repeats, len(kernel)), generator=generator).to(kernel.device)
        weights.append(kernel.new_zeros(drawn.shape).scatter_add_(1, drawn, kernel.new_ones(drawn.shape)))
    distances = _discrepancy(kernels, *weights).cpu()
    tail = (1 - confidence) / 2
    # Of a handful of sounds a draw may hold one alone, which has no pair and so no distance.
    low, high = distances.nanquantile(torch.tensor([tail, 1 - tail], dtype=torch.double))
    return low.item(), high.item()


def nearest_distance(features: Tensor, reference: Tensor) -> Tensor:
    """Root mean square difference (in dB for log-mel features) of each sound to its nearest reference sound, as [N]."""
    return _distances(features, reference).amin(dim=1) / features.shape[1] ** 0.5


def _kernels(reference: Tensor, generated: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if min(len(reference), len(generated)) < 2:
        raise ValueError(f"at least 2 sounds a side are needed, not {len(reference)} and {len(generated)}")
    within = _distances(reference, reference)
    rows, columns = torch.triu_indices(len(reference), len(reference), offset=1)
    scale = 2 * within[rows, columns].median().clamp(min=1e-12) ** 2  # copies of one sound have no spread
    return (
        torch.exp(-within.square() / scale),
        torch.exp(-_distances(generated, generated).square() / scale),
        torch.exp(-_distances(reference, generated).square() / scale),
    )


def _discrepancy(kernels: tuple[Tensor, Tensor, Tensor], reference: Tensor, generated: Tensor) -> Tensor:
    """100 × (mean k(r, r′) + mean k(g, g′) − 2 mean k(r, g)) of sets weighted [repeats, N], as [repeats].

    No sound is paired with itself or, in a bootstrap, with its copies: that would add 1/N for nothing.
    """
    within_reference, within_generated, across = kernels

    def pairs(kernel: Tensor, weights: Tensor) -> Tensor:
        kernel = kernel - kernel.diag().diag()
        count = weights.sum(dim=1) ** 2 - weights.square().sum(dim=1)
        return ((weights @ kernel) * weights).sum(dim=1) / count

    mean_across = ((reference @ across) * generated).sum(dim=1) / (reference.sum(dim=1) * generated.sum(dim=1))
    return 100 * (pairs(within_reference, reference) + pairs(within_generated, generated) - 2 * mean_across)


def _distances(features: Tensor, others: Tensor) -> Tensor:
    # Differences, not the product formula, whose rounding hides small distances.
    return torch.cdist(features.double(), others.double(), compute_mode="donot_use_mm_for_euclid_dist")
