"""Samplers on denoisers with known answers: orders of convergence, statistics, equivalences, honest step counts."""

import itertools
import math

import pytest
import torch

from tiny_audio_diffusion.diffusion import Diffusion
from tiny_audio_diffusion.network import Network
from tiny_audio_diffusion.objective import Flow, K, V
from tiny_audio_diffusion.sampler import ADPM2, DPM2M, DPM2MSDE, Euler, Heun, ancestral_split
from tiny_audio_diffusion.schedule import Angle, Karras

SAMPLERS = {
    "euler": Euler(),
    "eta": Euler(eta=0.5),
    "ancestral": Euler(eta=1.0),
    "heun": Heun(),
    "churn": Heun(churn=20.0),
    "adpm2": ADPM2(),
    "dpm2m": DPM2M(),
    "dpm2m_sde": DPM2MSDE(),
}


def gaussian(x, sigma):
    """The exact denoiser of unit normal data."""
    return x / (1 + sigma.to(x) ** 2)


def error_of(sampler, intervals, high=20.0, low=0.05):
    """Error at level `low` on unit normal data, where x(sigma) is proportional to sqrt(1 + sigma²)."""
    sigmas = torch.logspace(math.log10(high), math.log10(low), intervals + 1, dtype=torch.float64)
    x = torch.full((1, 1, 1), high, dtype=torch.float64)
    exact = high * math.sqrt((1 + low**2) / (1 + high**2))
    return abs(sampler(gaussian, x, sigmas).item() - exact)


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("heun", 2), ("dpm2m", 2)])
def test_order_of_convergence(name, order):
    errors = [error_of(SAMPLERS[name], intervals) for intervals in (64, 128, 256)]
    measured = [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(errors)]
    assert measured == pytest.approx([order, order], abs=0.12)


class Mixture(Network):
    """The exact prediction for data that are -1 or +1 (each half of the time) plus normal noise of std 0.2."""

    spread = 0.2

    def __init__(self, objective):
        super().__init__()
        self.objective = objective

    def forward(self, seen, time):
        level = self.sigma(time.double())[:, None, None]
        scale = self.objective.scalings(level)
        x = seen.double() / scale.input
        variance = self.spread**2 + level**2
        centre = torch.tanh(x / variance)  # posterior mean of the sign
        clean = (self.spread**2 * x + level**2 * centre) / variance
        return ((clean - scale.skip * x) / scale.out).to(seen)

    def sigma(self, time):
        if isinstance(self.objective, V):
            return (time * math.pi / 2).tan()
        return (4 * time).exp() if isinstance(self.objective, K) else time / (1 - time)


@pytest.mark.parametrize("objective", [V(), K(), Flow()], ids=lambda o: type(o).__name__)
@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(
    "schedule", [Angle(sigma_max=1e3), Karras(sigma_min=0.01, sigma_max=80.0)], ids=["angle", "karras"]
)
def test_every_sampler_and_objective_recovers_a_mixture(name, objective, schedule):
    torch.manual_seed(0)
    diffusion = Diffusion(network=Mixture(objective).double(), objective=objective, schedule=schedule)
    sampler = SAMPLERS[name]
    sigmas = schedule.ladder(sampler.intervals(100))
    x = sampler(diffusion.denoise, torch.randn(4000, 1, 1, dtype=torch.float64) * sigmas[0], sigmas).flatten()
    assert (x > 0).double().mean().item() == pytest.approx(0.5, abs=0.03)
    assert x.abs().mean().item() == pytest.approx(1.0, abs=0.03)
    assert (x - x.sign()).std().item() == pytest.approx(Mixture.spread, abs=0.06)


@pytest.mark.parametrize("name", SAMPLERS)
def test_published_ladder_is_safe_in_float32(name):
    """Linear in t starts at sigma = 1e5, where slopes lose all digits: float32 must agree with float64."""
    sampler = SAMPLERS[name]
    sigmas = Angle().ladder(sampler.intervals(50))
    start = torch.randn(256, 1, 4, dtype=torch.float64) * sigmas[0]
    draws = [torch.randn(start.shape, dtype=torch.float64) for _ in range(100)]

    def run(x):
        stream = iter(draws)
        return sampler(gaussian, x, sigmas, noise=lambda like: next(stream).to(like))

    assert (run(start.float()).double() - run(start)).abs().max() < 2e-4
    assert run(start).std().item() == pytest.approx(1.0, abs=0.12)


def test_euler_on_the_angle_ladder_is_ddim():
    """z <- cos' * clean + sin' * noise, the sampler of the published models, to float64 precision."""
    angles = torch.linspace(0.99, 0, 11, dtype=torch.float64) * math.pi / 2
    start = torch.randn(3, 1, 5, dtype=torch.float64)
    z = start
    for now, after in itertools.pairwise(angles):
        clean = gaussian(z / now.cos(), now.tan())
        noise = (z - now.cos() * clean) / now.sin()
        z = after.cos() * clean + after.sin() * noise
    x = Euler()(gaussian, start / angles[0].cos(), angles.tan())
    torch.testing.assert_close(x, z, atol=1e-13, rtol=0)


def test_published_numbers():
    down, up = ancestral_split(1.0, 0.5)
    assert (up, down) == pytest.approx((0.4330127, 0.25), abs=1e-7)
    # a network that always says 0, five DDIM steps from ones: cos(18 degrees)^5
    zero = Diffusion(network=Zero(), objective=V(), schedule=Angle())
    sigmas = Angle().ladder(5)
    result = Euler()(zero.denoise, torch.ones(1, 1, 1, dtype=torch.float64) * sigmas[0], sigmas)
    assert result.item() == pytest.approx(math.cos(math.pi / 10) ** 5, abs=1e-4)


class Zero(Network):
    def forward(self, x, time):
        return torch.zeros_like(x)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_steps_are_network_evaluations(name, steps):
    calls = []

    def counting(x, sigma):
        calls.append(sigma)
        return gaussian(x, sigma)

    sampler = SAMPLERS[name]
    intervals = sampler.intervals(steps)
    sampler(counting, torch.randn(1, 1, 4) * 80, Karras(sigma_min=0.01, sigma_max=80).ladder(intervals))
    assert len(calls) == sampler.evaluations(intervals)
    assert steps - len(calls) == (0 if sampler.evaluations_per_interval == 1 else 1 - steps % 2)
    with pytest.raises(ValueError, match="at least 1"):
        sampler.intervals(0)
