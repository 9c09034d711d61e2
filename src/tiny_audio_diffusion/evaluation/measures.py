"""The numbers: each of generated sounds, and of as many real ones, so that a reader knows what perfect would give."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tiny_audio_diffusion import metrics
from tiny_audio_diffusion.evaluation.space import Features
from tiny_audio_diffusion.metrics.frechet import frechet_distance, frechet_infinity
from tiny_audio_diffusion.metrics.neighbours import diversity, neighbourhood

NEIGHBOURS = 5
OF_NEIGHBOURS = ("precision", "precision_margin", "recall", "recall_margin", "density", "coverage")
ENOUGH_TO_EXTRAPOLATE = 4  # points a side for each dimension


@dataclass(frozen=True)
class Value:
    """A number, with its 95 % interval where there is one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Measure:
    """One number of the generated sounds, beside that of real ones measured in the same way."""

    name: str
    generated: Value
    real: Value
    sounds: int  # of the smaller side


@dataclass(frozen=True)
class Sets:
    """Features of what is compared: the real sounds in two halves, and the generated ones."""

    first: Features
    second: Features
    generated: Features
    seed: int

    @property
    def held_out(self) -> Features:
        """Both halves of the real sounds."""
        return Features(
            torch.cat([self.first.sounds, self.second.sounds]), torch.cat([self.first.frames, self.second.frames])
        )

    def equal(self) -> tuple[Features, Features]:
        """As many real and generated sounds, for measures that depend on how many there are."""
        count = min(len(self.second), len(self.generated))
        generator = torch.Generator().manual_seed(self.seed)
        drawn = torch.randperm(len(self.generated), generator=generator)[:count].sort().values
        return self.second.take(range(count)), self.generated.take(drawn.tolist())


def measure(sets: Sets) -> list[Measure]:
    """All of them, in the order of the table."""
    measures = [kernel(sets), _frechet(sets)]
    points = [each.pooled for each in (sets.first, sets.second, sets.generated)]
    if min(map(len, points)) >= ENOUGH_TO_EXTRAPOLATE * points[0].shape[1]:
        measures.append(_frechet_infinity(sets))
    real, generated = sets.equal()
    if min(len(sets.first), len(real)) > NEIGHBOURS:
        measures += _neighbours(sets.first, real, generated)
    made, kept = (Value(diversity(some.sounds)) for some in (sets.generated, sets.held_out))
    return [*measures, Measure("diversity", made, kept, min(len(sets.generated), len(sets.held_out)))]


def kernel_value(reference: Tensor, others: Tensor, *, seed: int) -> Value:
    """The kernel distance with its interval."""
    low, high = metrics.bootstrap_interval(reference, others, seed=seed)
    return Value(metrics.kernel_distance(reference, others), low, high)


def kernel(sets: Sets) -> Measure:
    """Of all sounds: it does not depend on how many there are."""
    generated = kernel_value(sets.held_out.sounds, sets.generated.sounds, seed=sets.seed)
    real = kernel_value(sets.first.sounds, sets.second.sounds, seed=sets.seed)
    return Measure("kernel_distance", generated, real, min(len(sets.held_out), len(sets.generated)))


def _frechet(sets: Sets) -> Measure:
    """Of equal numbers, because it grows when there are fewer."""
    real, generated = sets.equal()
    made, kept = (Value(frechet_distance(sets.first.pooled, some.pooled)) for some in (generated, real))
    return Measure("frechet_distance", made, kept, min(len(sets.first), len(real)))


def _frechet_infinity(sets: Sets) -> Measure:
    """Of all sounds: what it extrapolates to does not depend on how many there are."""
    generated = frechet_infinity(sets.held_out.pooled, sets.generated.pooled, seed=sets.seed)
    real = frechet_infinity(sets.first.pooled, sets.second.pooled, seed=sets.seed)
    count = min(len(sets.first), len(sets.generated))
    return Measure("frechet_infinity", Value(generated.distance), Value(real.distance), count)


def _neighbours(first: Features, real: Features, generated: Features) -> list[Measure]:
    """Of equal numbers, because the neighbours of many sounds are nearer than those of few."""
    made, kept = (neighbourhood(first.sounds, some.sounds, k=NEIGHBOURS) for some in (generated, real))
    count = min(len(first), len(real))
    return [Measure(name, Value(getattr(made, name)), Value(getattr(kept, name)), count) for name in OF_NEIGHBOURS]
