"""Noise levels: published numbers, distributions, ladders that end at 0."""

import math

import pytest
import torch

from tiny_audio_diffusion.schedule import Angle, Crash, Karras, LogitNormal, LogNormal, Straight

SCHEDULES = [
    Angle(),
    Crash(),
    Straight(),
    LogNormal(mean=-0.8, std=1.8),
    LogitNormal(),
    Karras(sigma_min=0.01, sigma_max=80.0),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("intervals", [1, 2, 10])
def test_ladder_falls_to_exactly_zero(schedule, intervals):
    ladder = schedule.ladder(intervals)
    assert len(ladder) == intervals + 1
    assert ladder[-1] == 0
    assert (ladder.diff() < 0).all()
    assert ladder.isfinite().all()


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_draws_are_stratified_finite_and_seeded(schedule):
    levels = schedule.draw(1000, generator=torch.Generator().manual_seed(3))
    assert levels.isfinite().all()
    assert (levels > 0).all()
    # exactly one draw in each of a thousand slices: every slice's edge has as many draws below it as it should
    edges = schedule.sigma(torch.linspace(0.05, 0.95, 19, dtype=torch.float64))
    counts = [(levels < edge).sum().item() for edge in edges]
    assert counts == pytest.approx([50 * (i + 1) for i in range(19)], abs=1)
    assert torch.equal(levels, schedule.draw(1000, generator=torch.Generator().manual_seed(3)))
    assert levels.diff().lt(0).any()  # shuffled: a slice is not tied to a place in the batch


def test_karras_numbers():
    ladder = Karras(sigma_min=1e-4, sigma_max=3.0, rho=9.0).ladder(5)
    assert ladder.tolist() == pytest.approx([3.0, 0.557915, 0.070362, 0.004758, 0.0001, 0.0], abs=1e-6)
    assert Karras(sigma_min=1e-4, sigma_max=3.0).ladder(1).tolist() == pytest.approx([3.0, 0.0])


def test_angle_draws_time_uniformly():
    times = Angle().draw(100_000).atan() * 2 / math.pi
    assert times.mean().item() == pytest.approx(0.5, abs=1e-3)
    assert times.std().item() == pytest.approx(1 / math.sqrt(12), abs=1e-3)


def test_crash_numbers():
    u = torch.linspace(0, 1, 9, dtype=torch.float64)
    sine = (u * math.pi / 2).sin() ** 2
    published = torch.atan2(sine, (1 - sine**2).sqrt()) * 2 / math.pi  # time
    levels = Crash().sigma(u)
    assert (levels.atan() * 2 / math.pi).tolist() == pytest.approx(published.tolist(), abs=1e-5)
    assert levels[4].item() == pytest.approx(math.tan(math.pi / 6))
    assert levels[-1] == Crash().sigma_max


def test_log_normal_moments():
    logs = LogNormal(mean=-3.0, std=1.0).draw(100_000).log()
    assert logs.mean().item() == pytest.approx(-3, abs=0.01)
    assert logs.std().item() == pytest.approx(1, abs=0.01)


def test_logit_normal_in_time():
    time = LogitNormal(mean=0.5, std=1.0).draw(100_000)
    logits = time.log()  # logit(sigma / (1 + sigma)) = ln(sigma)
    assert logits.mean().item() == pytest.approx(0.5, abs=0.01)
    assert logits.std().item() == pytest.approx(1, abs=0.01)


def test_bad_ladders_are_refused():
    with pytest.raises(ValueError, match="interval"):
        Angle().ladder(0)
    with pytest.raises(ValueError, match="starts in"):
        Angle().ladder(5, start=1.5)
    with pytest.raises(ValueError, match="sigma_min"):
        Karras(sigma_min=3, sigma_max=1)
