"""Distances with known values, and what ears do not hear must not count."""

import math

import pytest
import torch
from torch import Tensor

from tiny_audio_diffusion import metrics

RATE, LENGTH = 44_100, 32_768


def hits(count: int, *, seed: int, channels: int = 1) -> Tensor:
    """Decaying sines under bursts of noise with a peak of 1; they die away into digital silence."""
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(4, count, 1, 1, generator=generator)
    seconds = torch.arange(LENGTH) / RATE
    decay = 0.02 + 0.06 * draw[0]
    tone = torch.sin(2 * math.pi * (60 + 400 * draw[1]) * seconds + 2 * math.pi * draw[2])
    noise = torch.randn(count, channels, LENGTH, generator=generator)
    audio = (tone + 0.5 * draw[3] * noise) * torch.exp(-seconds / decay) * (seconds < 0.6)
    return audio / audio.abs().amax(dim=(1, 2), keepdim=True)


def white_noise(like: Tensor, decibels: float, *, seed: int = 9) -> Tensor:
    return 10 ** (decibels / 20) * torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))


def gaussian(count: int, *, seed: int, shift: float = 0.0, dimensions: int = 8) -> Tensor:
    return torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed)) + shift


def test_peak_and_silence_in_decibels_of_full_scale():
    audio = torch.zeros(4, 2, 1000)
    audio[0, 1, 3] = -0.5
    audio[1, 0, 7] = 10 ** (-59 / 20)
    audio[2, 0, 7] = 10 ** (-61 / 20)
    peaks = metrics.peak_decibels(audio)
    torch.testing.assert_close(peaks, torch.tensor([20 * math.log10(0.5), -59.0, -61.0, -120.0]))
    assert metrics.is_silent(audio).tolist() == [False, False, True, True]


def test_tail_of_an_exponential_has_the_level_of_its_integral():
    rate, decay = 44_100, 0.1
    seconds = torch.arange(rate) / rate  # one second
    audio = (0.3 * torch.exp(-seconds / decay)).expand(2, 1, 2, -1).reshape(2, 2, -1)
    # mean square over the last 50 ms = 1/0.05 ∫ exp(−2t/decay) dt, and the peak cancels 0.3
    mean_square = decay / 2 * (math.exp(-2 * 0.95 / decay) - math.exp(-2 / decay)) / 0.05
    torch.testing.assert_close(
        metrics.tail_noise(audio, rate), torch.full((2,), 10 * math.log10(mean_square)), atol=0.1, rtol=0
    )


def test_tail_noise_is_relative_to_the_peak_and_floored():
    audio = white_noise(torch.zeros(3, 2, LENGTH), -40.0)
    audio[:, :, 0] = 1.0
    audio[1] *= 0.01  # quieter as a whole: the same sound
    audio[2] = 0.0
    # over 0.7 seconds, where chance moves the level of noise by 0.02 dB
    tail = metrics.tail_noise(audio, RATE, seconds=0.7)
    torch.testing.assert_close(tail, torch.tensor([-40.0, -40.0, -120.0]), atol=0.1, rtol=0)
    # the last two samples alone
    click = torch.tensor([[[1.0, 0.0, 0.1, 0.1]]])
    assert metrics.tail_noise(click, 1000, seconds=0.002).item() == pytest.approx(-20.0, abs=1e-3)


def bands_and_frames(features: Tensor, channels: int = 1) -> Tensor:
    return features.reshape(len(features), channels, metrics.BANDS, -1)


@pytest.mark.parametrize("frequency", [1000.0, 200.0, 9000.0])
def test_a_sine_peaks_in_its_mel_band_and_bands_add_up_to_its_power(frequency):
    sine = torch.sin(2 * math.pi * frequency * torch.arange(LENGTH) / RATE).reshape(1, 1, -1)
    power = bands_and_frames(metrics.log_mel(sine, RATE))[0, 0, :, 5:-5]  # away from the ends

    def mel(hertz: float) -> float:  # Slaney's: 3 mel per 200 Hz up to 1 kHz, then 27 per factor 6.4
        return 3 * hertz / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000, 6.4)

    # the centres of 64 bands stand evenly between 0 and 22.05 kHz, ends excluded
    position = mel(frequency) / mel(RATE / 2) * 65 - 1
    assert (power.argmax(dim=0) - position).abs().max() <= 0.51
    total = 10 * torch.log10((10 ** (power / 10)).sum(dim=0))
    torch.testing.assert_close(total, torch.full_like(total, 10 * math.log10(0.5)), atol=0.1, rtol=0)


def test_log_mel_has_33_frames_and_sees_mid_and_side():
    left = hits(2, seed=0)
    same = bands_and_frames(metrics.log_mel(left.repeat(1, 2, 1), RATE), 2)
    opposite = bands_and_frames(metrics.log_mel(torch.cat([left, -left], dim=1), RATE), 2)
    assert same.shape == (2, 2, 64, 33)
    assert (same[:, 1] == -60).all()
    torch.testing.assert_close(same.flip(1), opposite)
    torch.testing.assert_close(same[:, :1], bands_and_frames(metrics.log_mel(left, RATE)))


def test_log_mel_ignores_loudness_and_holds_for_silence_and_short_sounds():
    audio = hits(70, seed=1)  # more than are transformed at once
    torch.testing.assert_close(metrics.log_mel(0.01 * audio, RATE), metrics.log_mel(audio, RATE), atol=1e-3, rtol=0)
    torch.testing.assert_close(metrics.log_mel(audio[66:], RATE), metrics.log_mel(audio, RATE)[66:])
    assert (metrics.log_mel(torch.zeros(1, 2, LENGTH), RATE) == -60).all()
    assert metrics.log_mel(audio[:1, :, :200], RATE).isfinite().all()
    assert metrics.log_mel(audio, RATE, floor=-40.0).min() == -40


@pytest.mark.parametrize("channels", [1, 2])
def test_noise_at_minus_60_is_free_and_at_minus_40_is_punished(channels):
    train, reference, fresh = (hits(count, seed=seed, channels=channels) for seed, count in enumerate((80, 50, 50)))
    scale = metrics.Standardise(metrics.log_mel(train, RATE))

    def distance(audio: Tensor) -> float:
        return metrics.kernel_distance(scale(metrics.log_mel(reference, RATE)), scale(metrics.log_mel(audio, RATE)))

    clean = distance(fresh)
    assert abs(clean) < 2
    assert distance(fresh + white_noise(fresh, -60.0)) == pytest.approx(clean, abs=0.05)
    assert distance(fresh + white_noise(fresh, -40.0)) > clean + 10


def test_standardised_features_keep_distances_and_see_what_lies_outside_the_components():
    features = 10 * gaussian(40, seed=0, dimensions=5)
    features = torch.cat([features, torch.zeros(40, 1)], dim=1)  # one that never moves
    scale = metrics.Standardise(features)
    assert scale(features).shape == (40, 7)
    torch.testing.assert_close(scale(features).mean(dim=0), torch.zeros(7).double(), atol=1e-9, rtol=0)
    expected = ((features[0] - features[1]) / features.std(dim=0).clamp(min=metrics.SMALLEST_DEVIATION)).norm()
    assert (scale(features)[0] - scale(features)[1]).norm().item() == pytest.approx(expected.item(), rel=1e-5)
    # A new direction: 6 dB in units of the smallest deviation that counts.
    moved = metrics.Standardise(features, dimensions=5)(features[:1] + torch.tensor([0, 0, 0, 0, 0, 6.0]))
    assert moved[0, -1].item() == pytest.approx(6 / metrics.SMALLEST_DEVIATION)
    with pytest.raises(ValueError, match="at least 2 sounds"):
        metrics.Standardise(features[:1])


def test_vectors_without_units_are_standardised_by_their_usual_deviation():
    features = 0.01 * torch.cat([gaussian(40, seed=0, dimensions=3), torch.zeros(40, 1)], dim=1)
    scale = metrics.Standardise(features, smallest_deviation=0.0)
    usual = features.std(dim=0).square().mean().sqrt()
    torch.testing.assert_close(scale.deviation[:3], features.std(dim=0)[:3].double())
    assert scale.deviation[3].item() == pytest.approx(0.1 * usual.item())
    assert metrics.Standardise(torch.ones(5, 2), smallest_deviation=0.0)(torch.ones(5, 2)).abs().max() == 0


def test_kernel_distance_of_three_points_by_hand():
    reference, generated = torch.tensor([[0.0], [2.0]]), torch.tensor([[0.0], [1.0]])
    # bandwidth 2: k(r, r′) = e^(−1/2), k(g, g′) = e^(−1/8), across: 1, e^(−1/8), e^(−1/2), e^(−1/8)
    half, eighth = math.exp(-1 / 2), math.exp(-1 / 8)
    expected = 100 * (half + eighth - 2 * (1 + eighth + half + eighth) / 4)
    assert metrics.kernel_distance(reference, generated) == pytest.approx(expected)
    with pytest.raises(ValueError, match="at least 2 sounds a side are needed, not 2 and 1"):
        metrics.kernel_distance(reference, generated[:1])


def test_kernel_distance_is_unbiased_and_grows_with_a_shift():
    null = torch.tensor([metrics.kernel_distance(gaussian(20, seed=i), gaussian(30, seed=i + 999)) for i in range(200)])
    assert null.mean().abs() < 4 * null.std() / 200**0.5
    assert 0.2 < (null < 0).float().mean() < 0.8  # chance falls on both sides of zero
    shifted = [metrics.kernel_distance(gaussian(200, seed=1), gaussian(200, seed=2, shift=s)) for s in (0, 0.2, 0.5, 1)]
    assert abs(shifted[0]) < 0.5
    assert shifted[0] + 0.5 < shifted[1] < shifted[2] < shifted[3]


def test_bootstrap_interval_surrounds_the_estimate_and_tells_sets_apart():
    reference, alike, shifted = gaussian(60, seed=1), gaussian(40, seed=2), gaussian(40, seed=3, shift=0.7)
    for generated in (alike, shifted):
        low, high = metrics.bootstrap_interval(reference, generated)
        assert low < metrics.kernel_distance(reference, generated) < high
        assert (low, high) == metrics.bootstrap_interval(reference, generated)
        wide = metrics.bootstrap_interval(reference, generated, confidence=0.99)
        assert wide[0] < low
        assert high < wide[1]
    assert metrics.bootstrap_interval(reference, alike)[0] < 0 < metrics.bootstrap_interval(reference, shifted)[0]


def test_sets_of_copies_and_pairs_have_a_distance():
    copies, others = torch.zeros(3, 4), torch.ones(2, 4)
    assert metrics.kernel_distance(copies, copies) == pytest.approx(0)
    assert metrics.kernel_distance(copies, others) == pytest.approx(200)
    assert metrics.bootstrap_interval(copies, others) == pytest.approx((200, 200))


def test_nearest_distance_is_zero_for_a_copy_and_in_decibels_for_a_change():
    reference = metrics.log_mel(hits(5, seed=4), RATE)
    changed = reference[[3, 1]].clone()
    changed[1] += 2.0
    torch.testing.assert_close(metrics.nearest_distance(changed, reference), torch.tensor([0.0, 2.0]).double())
