"""Figures of signals with known values, and how far apart two sets lie in one."""

import math

import pytest
import torch

from tiny_audio_diffusion import metrics

RATE = 44_100
TIME = torch.arange(RATE // 2) / RATE


def sine(frequency: float) -> torch.Tensor:
    return torch.sin(2 * math.pi * frequency * TIME)


def test_figures_of_a_sine_in_stereo():
    left, right = 0.5 * sine(1000), 0.25 * sine(1000)
    figures = metrics.measure(torch.stack([left, right])[None], RATE)
    assert figures["peak"].item() == pytest.approx(20 * math.log10(0.5), abs=0.01)
    assert figures["clipped"].item() == 0
    assert figures["dc"].item() == pytest.approx(0, abs=1e-6)
    assert figures["above_16_khz"].item() < -80
    assert figures["silent"].item() == 0
    # mid 0.375, side 0.125
    assert figures["width"].item() == pytest.approx(0.125**2 / (0.375**2 + 0.125**2), abs=1e-6)
    mean_square = (0.5**2 + 0.25**2) / 4  # of both channels, over the squared peak of 0.5
    assert figures["tail"].item() == pytest.approx(10 * math.log10(mean_square / 0.5**2), abs=0.01)


def test_dc_clipping_and_the_top_octave():
    high = 0.1 * sine(17_000) + 0.2 * sine(3_000)
    assert metrics.measure(high[None, None], RATE)["above_16_khz"].item() == pytest.approx(
        10 * math.log10(0.01 / 0.05), abs=0.01
    )
    assert metrics.measure(high[None, None], 32_000)["above_16_khz"].item() == -120  # nothing can be up there
    moved = 0.5 * sine(100) + 0.25
    assert metrics.measure(moved[None, None], RATE)["dc"].item() == pytest.approx(0.25 / 0.75, abs=1e-4)
    clipped = (2 * sine(100)).clamp(-1, 1)  # beyond full scale for two thirds of the time
    assert metrics.measure(clipped[None, None], RATE)["clipped"].item() == pytest.approx(2 / 3, abs=0.01)


def test_figures_are_finite_for_silence_and_mono_has_no_width():
    sounds = torch.zeros(3, 2, 4000)
    sounds[1] = sine(440)[:4000]
    sounds[2, 0] = sine(440)[:4000]
    figures = metrics.measure(sounds, RATE)
    assert all(values.shape == (3,) and values.isfinite().all() for values in figures.values())
    assert figures["silent"].tolist() == [1, 0, 0]
    torch.testing.assert_close(figures["width"], torch.tensor([0, 0, 0.5]))
    assert metrics.measure(sounds[:, :1], RATE)["width"].tolist() == [0, 0, 0]
    assert list(figures) == ["peak", "clipped", "dc", "above_16_khz", "tail", "silent", "width"]
    with pytest.raises(ValueError, match=r"\[sounds, channels, samples\], not \[2, 4000\]"):
        metrics.measure(sounds[0], RATE)


def test_drift_of_a_shift_is_the_shift_and_of_a_mixture_its_share():
    values = torch.randn(50, generator=torch.Generator().manual_seed(0))
    assert metrics.drift(values, values.flip(0)) == pytest.approx(0, abs=1e-12)
    assert metrics.drift(values, values + 3) == pytest.approx(3, abs=1e-5)
    assert metrics.drift(torch.zeros(4), torch.tensor([0.0, 0, 0, 0, 0, 0, 10, 10])) == pytest.approx(2.5)
    assert metrics.drift(torch.tensor([0.0, 1.0]), torch.tensor([0.5])) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="at least one sound a side"):
        metrics.drift(values, torch.zeros(0))
