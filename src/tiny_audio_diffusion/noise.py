"""Noise that a seed stands for: one random stream per sound, whatever the batch and the device, and blends of two."""

from collections.abc import Sequence

import torch
from torch import Tensor


class SeededNoise:
    """Standard normal noise, drawn on the CPU from one stream for each sound: sound 7 is sound 7 in any batch.

    Where `first` [N, ...] is given, it stands in for the first draw of every stream.
    """

    def __init__(self, seeds: Sequence[int], *, first: Tensor | None = None):
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.first = first

    def __len__(self) -> int:
        return len(self.generators)

    def __call__(self, like: Tensor) -> Tensor:
        """Noise shaped like `like` [N, ...], for as many sounds as there are seeds."""
        assert len(like) == len(self)
        noise = torch.stack([torch.randn(like.shape[1:], generator=generator) for generator in self.generators])
        if self.first is not None:
            noise, self.first = self.first, None
        return noise.to(like)


class MixedNoise:
    """Between two streams of noise: each draw is `weights` [N] of the way from the first to the second."""

    def __init__(self, first: SeededNoise, second: SeededNoise, weights: Sequence[float]):
        self.first, self.second, self.weights = first, second, weights

    def __len__(self) -> int:
        return len(self.weights)

    def __call__(self, like: Tensor) -> Tensor:
        first, second = self.first(like[:1])[0], self.second(like[:1])[0]
        return torch.stack([slerp(first, second, weight) for weight in self.weights])


def slerp(first: Tensor, second: Tensor, weight: float) -> Tensor:
    """Along the arc between two tensors, `weight` of the way: noise on the way is as loud as at the ends."""
    a, b = first.double().flatten(), second.double().flatten()
    angle = torch.acos((torch.dot(a, b) / (a.norm() * b.norm())).clamp(-1, 1))
    if not angle.sin() > 1e-6:  # one direction, or silence: there is no arc
        return (1 - weight) * first + weight * second
    shares = [((share * angle).sin() / angle.sin()).item() for share in (1 - weight, weight)]
    return shares[0] * first + shares[1] * second
