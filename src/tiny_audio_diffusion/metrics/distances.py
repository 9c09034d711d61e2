"""How far apart two sets of features lie: the kernel distance with its interval, and the nearest neighbour."""

import torch
from torch import Tensor


def kernel_distance(reference: Tensor, generated: Tensor) -> float:
    """Unbiased squared maximum mean discrepancy × 100 between two sets of features; below zero is chance, not an error.

    k(a, b) = exp(−|a − b|² / 2h²), h the median distance within the reference, as in the kernel audio distance. Beyond
    a few h all sounds are equally far: from about 100 on the value says that the sets are apart, and no longer how far.
    From about 30 sounds a side on the interval is narrow enough to tell sets apart; any number may be compared.
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
    drawn_anew = _discrepancy(kernels, *weights).cpu()
    tail = (1 - confidence) / 2
    # Of a handful of sounds a draw may hold one alone, which has no pair and so no distance.
    low, high = drawn_anew.nanquantile(torch.tensor([tail, 1 - tail], dtype=torch.double))
    return low.item(), high.item()


def nearest_distance(features: Tensor, reference: Tensor) -> Tensor:
    """Root mean square difference (in dB for log-mel features) of each sound to its nearest reference sound, as [N]."""
    return distances(features, reference).amin(dim=1) / features.shape[1] ** 0.5


def _kernels(reference: Tensor, generated: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if min(len(reference), len(generated)) < 2:
        raise ValueError(f"at least 2 sounds a side are needed, not {len(reference)} and {len(generated)}")
    within = distances(reference, reference)
    rows, columns = torch.triu_indices(len(reference), len(reference), offset=1)
    scale = 2 * within[rows, columns].median().clamp(min=1e-12) ** 2  # copies of one sound have no spread
    return (
        torch.exp(-within.square() / scale),
        torch.exp(-distances(generated, generated).square() / scale),
        torch.exp(-distances(reference, generated).square() / scale),
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


def distances(features: Tensor, others: Tensor) -> Tensor:
    """Euclidean distances of each to each, [N, D] and [M, D] to [N, M], in double precision."""
    # Differences, not the product formula, whose rounding hides small distances.
    return torch.cdist(features.double(), others.double(), compute_mode="donot_use_mm_for_euclid_dist")
