"""From noise to a clean sound: one loop over a falling ladder of noise levels, one step per method.

A sampler knows nothing but `denoise(x, sigma) -> clean`: each works with every objective, network, representation.
Steps are written as blends of the noisy x and the clean estimate, x' = clean + (after / now) * (x - clean):
the textbook slope form (x - clean) / sigma loses all digits where a ladder starts near infinity.
"""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Denoise = Callable[[Tensor, Tensor], Tensor]  # (x [B, ...], sigma float64 scalar on the CPU) -> clean [B, ...]
Noise = Callable[[Tensor], Tensor]  # standard normal noise shaped like its argument
Constrain = Callable[[Tensor, float], Tensor]  # (x, its level) -> x with what is known put in its place, as noisy as x


class Past(NamedTuple):
    """The previous step, for methods that remember it."""

    clean: Tensor
    sigma: float


class Sampler:
    """Walks a ladder of noise levels; a method says how to go from one level to the next."""

    evaluations_per_interval = 1

    @property
    def is_random(self) -> bool:
        """Whether it adds fresh noise on the way, and so ends elsewhere each time."""
        return False

    def intervals(self, steps: int) -> int:
        """How many ladder intervals `steps` network evaluations pay for; the last interval always costs one."""
        if steps < 1:
            raise ValueError(f"steps must be at least 1, not {steps}")
        return (steps - 1) // self.evaluations_per_interval + 1

    def evaluations(self, intervals: int) -> int:
        """How often the network is called for a ladder of this many intervals."""
        return (intervals - 1) * self.evaluations_per_interval + 1

    @torch.no_grad()
    def __call__(
        self,
        denoise: Denoise,
        x: Tensor,
        sigmas: Tensor,
        *,
        noise: Noise = torch.randn_like,
        constrain: Constrain | None = None,
        repeats: int = 1,
    ) -> Tensor:
        """`x` [B, ...] is noise at level sigmas[0]; the result is the clean estimate at sigmas[-1] = 0.

        `constrain` is asked before each step. What it puts in does not fit what stands around it yet; so each interval
        is walked `repeats` times, with fresh noise up to its beginning in between (Lugmayr et al., 2022). Methods that
        remember go without: the estimate before knew another x, and what they add to it would grow with every walk.
        """
        past: Past | None = None
        for start, after in zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True):
            for left in reversed(range(repeats)):
                x = x if constrain is None else constrain(x, start)
                x, now = self.stir(x, start, len(sigmas) - 1, noise=noise)
                clean = denoise(x, _level(now))
                x = clean if after == 0 else self.step(denoise, x, clean, now, after, past=past, noise=noise)
                if left:
                    x = x + math.sqrt(start**2 - after**2) * noise(x)
            past = Past(clean, now) if constrain is None else None
        return x

    def stir(self, x: Tensor, now: float, intervals: int, *, noise: Noise) -> tuple[Tensor, float]:
        """What a method does to x and its level before it looks; most do nothing."""
        return x, now

    def step(
        self, denoise: Denoise, x: Tensor, clean: Tensor, now: float, after: float, *, past: Past | None, noise: Noise
    ) -> Tensor:
        """x at level `after` > 0, from x and its clean estimate at level `now`."""
        raise NotImplementedError


class Euler(Sampler):
    """First order. In angle time it is DDIM; eta = 1 is the ancestral sampler, in between a share of its noise."""

    def __init__(self, *, eta: float = 0.0):
        if not 0 <= eta <= 1:
            raise ValueError(f"eta must lie in [0, 1], not {eta}")
        self.eta = eta

    @property
    def is_random(self) -> bool:
        return self.eta > 0

    def step(
        self, denoise: Denoise, x: Tensor, clean: Tensor, now: float, after: float, *, past: Past | None, noise: Noise
    ) -> Tensor:
        down, up = ancestral_split(now, after, eta=self.eta)
        x = _blend(x, clean, down / now)
        return x + up * noise(x) if up > 0 else x


class Heun(Sampler):
    """Second order, two evaluations an interval, with optional churn (Karras et al., 2022, algorithm 2).

    Above `correct_below` times the data's level nothing but noise is to be seen and the estimate stands still,
    so an Euler step is exact there; the correction would multiply rounding errors by now / after instead.
    """

    evaluations_per_interval = 2

    def __init__(
        self,
        *,
        churn: float = 0.0,
        churn_from: float = 0.0,
        churn_to: float = math.inf,
        churn_noise: float = 1.0,
        correct_below: float = 100.0,
    ):
        self.churn, self.churn_from, self.churn_to, self.churn_noise = churn, churn_from, churn_to, churn_noise
        self.correct_below = correct_below

    @property
    def is_random(self) -> bool:
        return self.churn > 0

    def stir(self, x: Tensor, now: float, intervals: int, *, noise: Noise) -> tuple[Tensor, float]:
        gain = min(self.churn / intervals, math.sqrt(2) - 1)
        if gain == 0 or not self.churn_from <= now <= self.churn_to:
            return x, now
        raised = now * (1 + gain)
        return x + math.sqrt(raised**2 - now**2) * self.churn_noise * noise(x), raised

    def step(
        self, denoise: Denoise, x: Tensor, clean: Tensor, now: float, after: float, *, past: Past | None, noise: Noise
    ) -> Tensor:
        euler = _blend(x, clean, after / now)
        clean_after = denoise(euler, _level(after))
        if now > self.correct_below:
            return euler
        return euler + 0.5 * (1 - now / after) * (clean - clean_after)


class ADPM2(Sampler):
    """Ancestral second order: the slope is taken halfway between the two levels, in sigma^(1 / rho)."""

    evaluations_per_interval = 2

    def __init__(self, *, rho: float = 1.0):
        self.rho = rho

    @property
    def is_random(self) -> bool:
        return True

    def step(
        self, denoise: Denoise, x: Tensor, clean: Tensor, now: float, after: float, *, past: Past | None, noise: Noise
    ) -> Tensor:
        down, up = ancestral_split(now, after)
        middle = ((now ** (1 / self.rho) + down ** (1 / self.rho)) / 2) ** self.rho
        clean_middle = denoise(_blend(x, clean, middle / now), _level(middle))
        # x + (down - now) * (x_middle - clean_middle) / middle, as a blend
        x = _blend(x, clean, down / now) + (down - now) / middle * (clean - clean_middle)
        return x + up * noise(x)


class DPM2M(Sampler):
    """DPM-Solver++(2M): second order at one evaluation a step, by remembering the previous estimate."""

    def step(
        self, denoise: Denoise, x: Tensor, clean: Tensor, now: float, after: float, *, past: Past | None, noise: Noise
    ) -> Tensor:
        if past is not None:
            ratio = math.log(now / after) / math.log(past.sigma / now)
            clean = clean + ratio / 2 * (clean - past.clean)
        return _blend(x, clean, after / now)


class DPM2MSDE(Sampler):
    """DPM-Solver++(2M) SDE, midpoint form: as DPM2M, with fresh noise (eta = 1) that washes old errors out."""

    def __init__(self, *, eta: float = 1.0):
        if eta < 0:
            raise ValueError(f"eta must not be negative, not {eta}")
        self.eta = eta

    @property
    def is_random(self) -> bool:
        return self.eta > 0

    def step(
        self, denoise: Denoise, x: Tensor, clean: Tensor, now: float, after: float, *, past: Past | None, noise: Noise
    ) -> Tensor:
        height = math.log(now / after)  # of the step, in -ln(sigma)
        keep = math.exp(-height * (1 + self.eta))
        if past is not None:
            ratio = height / math.log(past.sigma / now)
            clean = clean + ratio / 2 * (clean - past.clean)
        x = _blend(x, clean, keep)
        return x + after * math.sqrt(-math.expm1(-2 * self.eta * height)) * noise(x) if self.eta > 0 else x


@torch.no_grad()
def invert(denoise: Denoise, clean: Tensor, sigmas: Tensor) -> Tensor:
    """The way back: the noise at level sigmas[0] that walks down to `clean` [B, ...], in units of that level.

    Heun's method up the ladder, from its lowest level above zero, where the sound itself stands for the noisy one.
    """
    x, levels = clean, sigmas[sigmas > 0].flip(0).tolist()
    estimate = denoise(x, _level(levels[0]))
    for now, after in itertools.pairwise(levels):
        slope = (x - estimate) / now
        euler = x + (after - now) * slope
        estimate = denoise(euler, _level(after))
        x = euler + (after - now) / 2 * ((euler - estimate) / after - slope)
    return x / levels[-1]


def ancestral_split(now: float, after: float, *, eta: float = 1.0) -> tuple[float, float]:
    """(down, up): the level to step down to and the fresh noise that brings it back up to `after`."""
    up = eta * after * math.sqrt(max(now**2 - after**2, 0.0)) / now
    return math.sqrt(after**2 - up**2), up


def _blend(x: Tensor, clean: Tensor, share: float) -> Tensor:
    """`share` of the noise that is in x left over the clean estimate."""
    return clean + share * (x - clean)


def _level(sigma: float) -> Tensor:
    return torch.tensor(sigma, dtype=torch.float64)
