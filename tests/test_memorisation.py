"""Copies are found whatever was done to hide them, and what is not a copy is not."""

import math

import pytest
import torch
from torch import Tensor

from tiny_audio_diffusion import metrics
from tiny_audio_diffusion.data.synthesis import VOICES, render
from tiny_audio_diffusion.data.transforms import crop_or_pad

RATE = 44_100


def drums(first: int, last: int, *, length: int = 16_384) -> Tensor:
    """Each voice with the indices from `first` on, as mono [N, 1, length]."""
    made = [torch.from_numpy(render(name, index, seed=0)) for index in range(first, last) for name in sorted(VOICES)]
    return torch.stack([crop_or_pad(sound[None].float(), length, fade_length=200) for sound in made])


def later(sounds: Tensor, samples: int) -> Tensor:
    """Sounds moved in time; what is moved out is lost."""
    length = sounds.shape[-1]
    if samples < 0:
        return torch.nn.functional.pad(sounds, (0, -samples))[..., -samples:]
    return torch.nn.functional.pad(sounds, (samples, 0))[..., :length]


def correlation(one: Tensor, two: Tensor, *, reach: int) -> float:
    """The best normalised correlation over shifts, straight from its definition."""
    one, two = one.double() / one.double().norm(), two.double() / two.double().norm()
    return max(abs((one * later(two, shift)).sum().item()) for shift in range(-reach, reach + 1))


def test_similarity_is_the_best_correlation_over_the_shifts():
    rate, reach = 1000, 30
    generator = torch.Generator().manual_seed(0)
    # smooth, so that nothing better lies between two samples; between silences, so that nothing is lost in moving
    noise = torch.nn.functional.pad(torch.randn(7, 1, 400, generator=generator), (60, 60))
    smooth = torch.nn.functional.avg_pool1d(noise, 25, stride=1)
    found = metrics.nearest_sounds(smooth[:2], smooth[2:], rate)
    for index in range(2):
        expected = [correlation(smooth[index], other, reach=reach) for other in smooth[2:]]
        assert found.similarity[index].item() == pytest.approx(max(expected), abs=2e-3)
        assert found.index[index].item() == expected.index(max(expected))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("gain", [1.0, -0.013])
@pytest.mark.parametrize("seconds", [0.0, 0.005, -0.005, 0.029])
def test_a_copy_is_found_at_any_gain_polarity_and_shift(channels: int, gain: float, seconds: float):
    training = drums(0, 2)
    if channels == 2:
        training = torch.cat([training, 0.5 * training + 0.5 * training.roll(1, 0)], dim=1)
    # the sound begins with silence, so that nothing is lost when it is moved
    training = later(training, 1400)
    training[..., -1400:] = 0
    found = metrics.nearest_sounds(gain * later(training, round(seconds * RATE)), training, RATE)
    torch.testing.assert_close(found.similarity, torch.ones(len(training)), atol=1e-4, rtol=0)
    assert found.index.tolist() == list(range(len(training)))
    torch.testing.assert_close(
        found.shift_seconds, torch.full((len(training),), round(seconds * RATE) / RATE), atol=1e-6, rtol=0
    )


def test_a_copy_without_its_first_samples_is_one_and_a_common_end_is_not():
    sounds = drums(0, 1)
    found = metrics.nearest_sounds(later(sounds, -220), sounds, RATE)
    assert found.similarity.min() > 0.99
    ending = drums(1, 2)
    ending[..., 1000:] = sounds[..., 1000:]  # little of either's energy
    assert metrics.nearest_sounds(ending, sounds, RATE).similarity.min() < 0.9


def test_a_copy_between_two_samples_is_one_too():
    """A high tone half a sample away correlates by cos(π · 15/44.1) = 0.48 at whole samples."""
    time = torch.arange(8192) / RATE
    burst = torch.exp(-(((time - 0.05) / 0.01) ** 2))
    tones = [torch.sin(2 * math.pi * 15_000 * (time + delay)) * burst for delay in (0, 0.5 / RATE)]
    found = metrics.nearest_sounds(tones[0].reshape(1, 1, -1), tones[1].reshape(1, 1, -1), RATE)
    assert found.similarity.item() > 0.999


def test_stereo_hears_the_side_and_swapped_channels():
    middle, side = drums(0, 1), drums(1, 2)
    training = torch.cat([middle + side, middle - side], dim=1)
    swapped = metrics.nearest_sounds(training.flip(1), training, RATE)
    torch.testing.assert_close(swapped.similarity, torch.ones(5), atol=1e-4, rtol=0)
    only_side = torch.cat([side, -side], dim=1)  # its mono mix is silence
    assert metrics.nearest_sounds(only_side, only_side, RATE).similarity.min() > 0.999
    energy = [part.square().sum(dim=(1, 2)) for part in (middle, side)]
    found = metrics.nearest_sounds(middle.repeat(1, 2, 1), training, RATE)
    assert (found.similarity + 1e-4 >= (energy[0] / (energy[0] + energy[1])).sqrt()).all()
    assert found.similarity.max() < 0.95


def test_many_sounds_in_chunks_are_the_same_as_few(monkeypatch: pytest.MonkeyPatch):
    sounds, training = drums(0, 1, length=4096), drums(1, 3, length=4096)
    expected = metrics.nearest_sounds(sounds, training, RATE)
    monkeypatch.setattr("tiny_audio_diffusion.metrics.memorisation.CHUNK", 3)
    monkeypatch.setattr("tiny_audio_diffusion.metrics.memorisation.MEMORY", 1)
    found = metrics.nearest_sounds(sounds, training, RATE)
    torch.testing.assert_close(found.similarity, expected.similarity)
    assert torch.equal(found.index, expected.index)


def test_silence_is_similar_to_nothing_and_other_shapes_are_refused():
    found = metrics.nearest_sounds(torch.zeros(2, 1, 1000), drums(0, 1, length=1000), RATE)
    assert found.similarity.tolist() == [0, 0]
    assert found.shift_seconds.isfinite().all()
    for wrong in (torch.zeros(2, 2, 1000), torch.zeros(2, 1, 999), torch.zeros(1, 1000), torch.zeros(0, 1, 1000)):
        with pytest.raises(ValueError, match="same channels and length"):
            metrics.nearest_sounds(wrong, torch.zeros(2, 1, 1000), RATE)


def test_exactly_the_ten_planted_copies_are_flagged():
    training, baseline, honest = drums(0, 12), drums(12, 18), drums(18, 26)
    planted = training[3:53:5].clone()
    for place, sound in enumerate(planted):
        planted[place] = later(sound, 220 * (place % 3 - 1)) * (0.1 + 0.2 * place) * (-1) ** place
    base = metrics.nearest_sounds(baseline, training, RATE).similarity
    found = metrics.nearest_sounds(torch.cat([honest, planted]), training, RATE)
    flagged = metrics.is_copy(found.similarity, base).nonzero()[:, 0].tolist()
    assert flagged == list(range(len(honest), len(honest) + 10))
    assert found.index[-10:].tolist() == list(range(3, 53, 5))


def test_the_threshold_asks_for_more_of_few_sounds_and_is_not_moved_by_duplicates():
    spread = torch.linspace(0.2, 0.9, 1000)
    assert metrics.threshold(spread) == pytest.approx((1 - 0.19 * 10**-0.3) ** 0.5)  # 3 dB less unexplained than 0.9
    few = [metrics.threshold(spread[-count:]) for count in (1000, 100, 10, 1)]
    assert few == sorted(few)
    assert few[0] < few[-1] <= 0.99
    assert metrics.threshold(torch.cat([spread, torch.ones(20)])) == metrics.threshold(spread)
    assert metrics.threshold(torch.ones(5)) == metrics.threshold(torch.ones(0)) == 0.99
    assert metrics.threshold(torch.full((1000,), 0.1)) == 0.9
    assert metrics.is_copy(torch.tensor([0.89, 1.0]), spread).tolist() == [False, True]
