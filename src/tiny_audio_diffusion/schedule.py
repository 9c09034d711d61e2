"""Noise levels as a map from [0, 1] to sigma: drawn at random for training, walked downwards for sampling.

Levels are in units of the data's own: what the network sees has unit variance, so sigma = 1 means as loud as the sound.
"""

import math

import torch
from torch import Tensor


class Schedule:
    """A rising map u -> sigma(u) on [0, 1]; `reaches_zero` says whether sigma(0) is 0."""

    reaches_zero = True

    def sigma(self, u: Tensor) -> Tensor:
        raise NotImplementedError

    def draw(self, count: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`count` levels, stratified: one from each of `count` equal slices of [0, 1], so a batch covers them all."""
        device = generator.device if generator else None
        jitter = torch.rand(count, generator=generator, device=device, dtype=torch.float64)
        order = torch.randperm(count, generator=generator, device=device)
        return self.sigma(((order + jitter) / count).clamp(1e-6, 1 - 1e-6))

    def ladder(self, intervals: int, *, start: float = 1.0) -> Tensor:
        """`intervals` + 1 falling levels from sigma(start) to exactly 0."""
        if intervals < 1:
            raise ValueError(f"a ladder needs at least one interval, not {intervals}")
        if not 0 < start <= 1:
            raise ValueError(f"a ladder starts in (0, 1], not at {start}")
        if self.reaches_zero:
            return self.sigma(torch.linspace(start, 0, intervals + 1, dtype=torch.float64))
        levels = self.sigma(torch.linspace(start, 0, intervals, dtype=torch.float64))
        return torch.cat([levels, levels.new_zeros(1)])


class Angle(Schedule):
    """Uniform in the angle of the V objective: sigma = tan(u * 90 degrees), cut where only noise is left."""

    def __init__(self, *, sigma_max: float = 1e5):
        self.sigma_max = sigma_max

    def sigma(self, u: Tensor) -> Tensor:
        return (u * math.pi / 2).clamp_max(math.atan(self.sigma_max)).tan()


class Crash(Schedule):
    """The angle's sine is sin²(u * 90 degrees), not sin(u * 90 degrees): as the Dance Diffusion models were trained."""

    def __init__(self, *, sigma_max: float = 1e5):
        self.sigma_max = sigma_max

    def sigma(self, u: Tensor) -> Tensor:
        half = u * math.pi / 2
        sine = half.sin() ** 2
        # tan = sine / sqrt(1 - sine²), and 1 - sine² = cos²(half) * (1 + sine) without the cancellation
        return (sine / (half.cos() * (1 + sine).sqrt())).clamp_max(self.sigma_max)


class Straight(Schedule):
    """Uniform in the time of the flow objective: sigma = u / (1 - u), cut where only noise is left."""

    def __init__(self, *, sigma_max: float = 1e5):
        self.sigma_max = sigma_max

    def sigma(self, u: Tensor) -> Tensor:
        time = u.clamp_max(self.sigma_max / (1 + self.sigma_max))
        return time / (1 - time)


class LogNormal(Schedule):
    """ln(sigma) is normal: most draws at levels where there is something to learn (Karras et al., 2022)."""

    reaches_zero = False

    def __init__(self, *, mean: float, std: float, sigma_min: float = 1e-4, sigma_max: float = 1e4):
        self.mean, self.std, self.sigma_min, self.sigma_max = mean, std, sigma_min, sigma_max

    def sigma(self, u: Tensor) -> Tensor:
        return (self.mean + self.std * torch.special.ndtri(u)).exp().clamp(self.sigma_min, self.sigma_max)


class LogitNormal(Schedule):
    """The flow's time is a squashed normal: logit(time) = ln(sigma) is normal, without LogNormal's cuts at the ends."""

    def __init__(self, *, mean: float = 0.0, std: float = 1.0, sigma_max: float = 1e5):
        self.mean, self.std, self.sigma_max = mean, std, sigma_max

    def sigma(self, u: Tensor) -> Tensor:
        time = torch.sigmoid(self.mean + self.std * torch.special.ndtri(u))
        time = time.clamp_max(self.sigma_max / (1 + self.sigma_max))
        return time / (1 - time)


class Karras(Schedule):
    """Evenly spaced in sigma^(1 / rho), from sigma_max down to sigma_min, then 0."""

    reaches_zero = False

    def __init__(self, *, sigma_min: float, sigma_max: float, rho: float = 7.0):
        if not 0 < sigma_min < sigma_max:
            raise ValueError(f"needs 0 < sigma_min < sigma_max, not {sigma_min} and {sigma_max}")
        self.sigma_min, self.sigma_max, self.rho = sigma_min, sigma_max, rho

    def sigma(self, u: Tensor) -> Tensor:
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return (low + u * (high - low)) ** self.rho
