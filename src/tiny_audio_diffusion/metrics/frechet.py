"""The Fréchet distance between two sets of vectors, and what it would be with sounds without end.

It compares means and covariances and nothing else: two sets of the same mean and covariance are 0 apart, whatever their
shapes. Pool the frames of all sounds first: a covariance for each short sound would be made of a frame or two.
"""

from typing import NamedTuple

import torch
from torch import Tensor

SIZES = 12  # of the subsets that the extrapolation draws
SMALLEST_PART = 4  # the smallest subset is a quarter of all


class Extrapolation(NamedTuple):
    """The line distance + slope / n through Fréchet distances of subsets, and how well it fits (R², at most 1)."""

    distance: float
    slope: float
    fit: float


def frechet_distance(reference: Tensor, generated: Tensor) -> float:
    """|μ₁ − μ₂|² + tr(C₁ + C₂ − 2 (C₁C₂)^½) of two sets [N, D] and [M, D], in double precision.

    It is biased upwards, by about D/N for whitened vectors: compare sets of one size, or use `frechet_infinity`.
    """
    _check(reference, generated)
    reference, generated = reference.double(), generated.double()
    difference = reference.mean(dim=0) - generated.mean(dim=0)
    first, second = _root(reference), _root(generated)
    # C₁C₂ = FᵀF GᵀG has the eigenvalues of (F Gᵀ)(F Gᵀ)ᵀ, so the trace of its root is the sum of F Gᵀ's singular
    # values. So nothing is squared and rooted again: exact for identical sets, and for fewer vectors than dimensions.
    shared = torch.linalg.svdvals(first @ second.T).sum()
    distance = difference.square().sum() + first.square().sum() + second.square().sum() - 2 * shared
    return max(distance.item(), 0.0)


def frechet_infinity(
    reference: Tensor, generated: Tensor, *, sizes: tuple[int, ...] | None = None, seed: int = 0
) -> Extrapolation:
    """The Fréchet distance at 1/n → 0, from subsets of n generated vectors and of the same part of the reference.

    Both sets shrink together, so the bias of both goes. The bias is a line in 1/n only where n is above the number of
    dimensions: with 6 D Gaussian vectors a side a few percent of it are left, so from there on the answer means
    something. Below 2 D it is refused; `fit` well under 0.9 says that chance, not bias, moved the distances.
    """
    _check(reference, generated)
    fewest, dimensions = min(len(reference), len(generated)), reference.shape[1]
    if fewest < 2 * dimensions:
        raise ValueError(
            f"{fewest} vectors of {dimensions} dimensions are too few to extrapolate: {2 * dimensions} or more "
            "are needed"
        )
    if sizes is None:
        inverse = torch.linspace(1, SMALLEST_PART, SIZES, dtype=torch.double)
        sizes = tuple(round(len(generated) / value) for value in inverse.tolist())
    if len(set(sizes)) < 2 or min(sizes) < 2 or max(sizes) > len(generated):
        raise ValueError(f"sizes are at least two different numbers from 2 to {len(generated)}, not {sizes}")
    generator = torch.Generator().manual_seed(seed)
    distances = []
    for size in sizes:
        part = max(2, round(size / len(generated) * len(reference)))
        pair = [
            vectors[torch.randperm(len(vectors), generator=generator)[:count].to(vectors.device)]
            for vectors, count in ((reference, part), (generated, size))
        ]
        distances.append(frechet_distance(*pair))
    return _line(1 / torch.tensor(sizes, dtype=torch.double), torch.tensor(distances, dtype=torch.double))


def _check(reference: Tensor, generated: Tensor) -> None:
    if reference.ndim != 2 or generated.ndim != 2 or reference.shape[1] != generated.shape[1]:
        raise ValueError(
            f"sets are [vectors, dimensions] of the same dimensions, not {list(reference.shape)} and "
            f"{list(generated.shape)}: pool the frames of all sounds first"
        )
    if min(len(reference), len(generated)) < 2:
        raise ValueError(f"at least 2 vectors a side are needed, not {len(reference)} and {len(generated)}")


def _root(vectors: Tensor) -> Tensor:
    """F [min(N, D), D] with FᵀF the unbiased covariance."""
    centred = vectors - vectors.mean(dim=0)
    return torch.linalg.qr(centred, mode="r").R / (len(vectors) - 1) ** 0.5


def _line(inverse: Tensor, distances: Tensor) -> Extrapolation:
    columns = torch.stack([torch.ones_like(inverse), inverse], dim=1)
    intercept, slope = torch.linalg.lstsq(columns, distances[:, None]).solution[:, 0]
    rest = (distances - intercept - slope * inverse).square().sum()
    spread = (distances - distances.mean()).square().sum()
    fit = 1 - rest / spread.clamp(min=1e-300)  # a line without slope through points without spread fits
    return Extrapolation(intercept.item(), slope.item(), fit.item() if spread > 0 else 1.0)
