"""Fidelity and diversity apart: whether each generated sound has real neighbours, and each real one generated ones."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from tiny_audio_diffusion.metrics.distances import distances

LARGEST_BALL = 0.75  # quantile: the ball of a lone stray would hold half the space, and all that hisses with it
LARGEST_MARGIN = 3.0  # octaves: a copy lies at distance 0, which must not outweigh all others


class Neighbourhood(NamedTuple):
    """Shares of sounds that lie where they should, and by how much; more is better throughout.

    A sound's ball reaches to its k-th neighbour among its own, but no further than three quarters of their balls do.
    `precision`: generated sounds inside some real sound's ball; `recall`: real sounds inside some generated sound's
    ball; `density`: in how many real balls a generated sound lies, over k; `coverage`: real sounds whose own ball holds
    a generated one. Held-out real sounds come to about 0.8, 0.8, 0.8 and 0.95.

    The margins go on where a share is stuck at 0 or 1. They are means of log₂(usual / found): 0 where a sound lies as
    real sounds do, −1 where it is twice as far away. `precision_margin`: from a generated sound to its k-th real
    neighbour, against the median of that among real sounds; `recall_margin`: from a real sound to its k-th generated
    one, against the same; `coverage_margin`: from a real sound to the nearest generated one, against its own k-th real
    neighbour (so above 0 for real sounds).
    """

    precision: float
    recall: float
    density: float
    coverage: float
    precision_margin: float
    recall_margin: float
    coverage_margin: float


def neighbourhood(reference: Tensor, generated: Tensor, *, k: int = 5) -> Neighbourhood:
    """Precision, recall, density and coverage of generated vectors [M, D] against real ones [N, D], and margins.

    The shares move in steps of one sound, and the k-th neighbour of few lies far away: from about 100 sounds a side on
    a difference of 0.1 means something; the margins from about 30. Recall and coverage grow with the number of
    generated sounds: compare sets of one size.
    """
    if min(len(reference), len(generated)) <= k:
        raise ValueError(
            f"{k} neighbours need at least {k + 1} sounds a side, not {len(reference)} and {len(generated)}"
        )
    real_radius, made_radius = _radii(reference, k), _radii(generated, k)
    across = distances(reference, generated)  # [N, M]
    inside_real, inside_made = across <= _trimmed(real_radius)[:, None], across <= _trimmed(made_radius)
    return Neighbourhood(
        precision=_mean(inside_real.any(dim=0)),
        recall=_mean(inside_made.any(dim=1)),
        density=_mean(inside_real.sum(dim=0) / k),
        coverage=_mean(inside_real.any(dim=1)),
        precision_margin=_margin(real_radius.median(), across.kthvalue(k, dim=0).values),
        recall_margin=_margin(real_radius.median(), across.kthvalue(k, dim=1).values),
        coverage_margin=_margin(real_radius, across.amin(dim=1)),
    )


def diversity(features: Tensor) -> float:
    """Mean distance between two different sounds of a set [N, D]; from about 30 sounds on it is steady."""
    if len(features) < 2:
        raise ValueError(f"diversity takes at least 2 sounds, not {len(features)}")
    return (distances(features, features).sum() / (len(features) * (len(features) - 1))).item()


def _radii(features: Tensor, k: int) -> Tensor:
    """Distance of each to its k-th neighbour, as [N]."""
    return distances(features, features).kthvalue(k + 1, dim=1).values  # the nearest of all is the sound itself


def _trimmed(radius: Tensor) -> Tensor:
    return radius.clamp(max=radius.kthvalue(math.ceil(LARGEST_BALL * len(radius))).values.item())


def _margin(usual: Tensor, found: Tensor) -> float:
    tiny = 1e-12  # copies within a set have no radius
    return _mean(torch.log2(usual.clamp(min=tiny) / found.clamp(min=tiny)).clamp(max=LARGEST_MARGIN))


def _mean(values: Tensor) -> float:
    return values.double().mean().item()
