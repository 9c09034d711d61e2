"""Fidelity and diversity apart: whether each generated sound has real neighbours, and each real one generated ones."""

from typing import NamedTuple

import torch
from torch import Tensor

from tiny_audio_diffusion.metrics.distances import distances

LARGEST_MARGIN = 3.0  # octaves: a copy lies at distance 0, which must not outweigh all others


class Neighbourhood(NamedTuple):
    """Shares of sounds that lie where they should, and by how much; more is better throughout.

    A sound's ball reaches to its k-th neighbour among its own. `precision`: generated sounds inside some real sound's
    ball; `recall`: real sounds inside some generated sound's ball; `density`: in how many real balls a generated sound
    lies, over k (1 for real sounds, and above it where all crowd); `coverage`: real sounds whose own ball holds a
    generated one. The margins say the same where a share is stuck at 0 or 1: the mean of log₂(radius / distance), 0 on
    the edge of a ball, −1 twice too far out.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    precision_margin: float
    recall_margin: float
    coverage_margin: float


def neighbourhood(reference: Tensor, generated: Tensor, *, k: int = 5) -> Neighbourhood:
    """Precision, recall, density and coverage of generated vectors [M, D] against real ones [N, D].

    The shares move in steps of one sound, and a k-th neighbour of few sounds lies far away: from about 100 sounds a
    side on a difference of 0.1 means something. Recall and coverage grow with the number of generated sounds: compare
    sets of one size.
    """
    if min(len(reference), len(generated)) <= k:
        raise ValueError(
            f"{k} neighbours need at least {k + 1} sounds a side, not {len(reference)} and {len(generated)}"
        )
    real_radius, made_radius = _radii(reference, k)[:, None], _radii(generated, k)[None]
    across = distances(reference, generated)  # [N, M]
    inside_real, inside_made = across <= real_radius, across <= made_radius
    return Neighbourhood(
        precision=_mean(inside_real.any(dim=0)),
        recall=_mean(inside_made.any(dim=1)),
        density=_mean(inside_real.sum(dim=0) / k),
        coverage=_mean(inside_real.any(dim=1)),
        precision_margin=_mean(_margin(real_radius, across).amax(dim=0)),
        recall_margin=_mean(_margin(made_radius, across).amax(dim=1)),
        coverage_margin=_mean(_margin(real_radius, across).amax(dim=1)),
    )


def diversity(features: Tensor) -> float:
    """Mean distance between two different sounds of a set [N, D]; from about 30 sounds on it is steady."""
    if len(features) < 2:
        raise ValueError(f"diversity takes at least 2 sounds, not {len(features)}")
    return (distances(features, features).sum() / (len(features) * (len(features) - 1))).item()


def _radii(features: Tensor, k: int) -> Tensor:
    """Distance of each to its k-th neighbour, as [N]."""
    return distances(features, features).kthvalue(k + 1, dim=1).values  # the nearest of all is the sound itself


def _margin(radius: Tensor, distance: Tensor) -> Tensor:
    tiny = 1e-12  # copies within a set have no radius
    return torch.log2(radius.clamp(min=tiny) / distance.clamp(min=tiny)).clamp(max=LARGEST_MARGIN)


def _mean(values: Tensor) -> float:
    return values.double().mean().item()
