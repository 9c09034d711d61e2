"""Ranges to keep, seams, and noise that seeds stand for."""

import math

import pytest
import torch

from tiny_audio_diffusion.edit import keep_ranges, match
from tiny_audio_diffusion.noise import MixedNoise, SeededNoise, slerp


def test_ranges_are_kept_from_their_beginning_up_to_their_end() -> None:
    keep = keep_ranges([(0.0, 0.2), (0.5, 0.6), (0.9, math.inf)], length=10, sampling_rate=10)
    assert keep.tolist() == [True, True, False, False, False, True, False, False, False, True]


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ([(0.3, 0.3)], "from one second to a later one"),
        ([(0.5, 0.2)], "not from 0.5 to 0.2"),
        ([(0.0, 1.1)], "the range 0-1.1 lies outside the sound, which lasts 1.000 seconds"),
        ([(1.0, math.inf)], "lies outside the sound"),
    ],
)
def test_a_range_outside_the_sound_is_refused(ranges: list[tuple[float, float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        keep_ranges(ranges, length=10, sampling_rate=10)


@pytest.mark.parametrize("decibels", [-5.0, -1.0, 3.0])
def test_a_seam_has_one_level_on_both_sides(decibels: float) -> None:
    rate = 8000
    tone = torch.sin(2 * torch.pi * 440 * torch.arange(8000) / rate).expand(1, 1, -1) * torch.tensor([[[0.4]], [[0.1]]])
    after = tone[..., 4000:] * 10 ** (decibels / 20)
    matched = match(tone[..., :4000], after, sampling_rate=rate)
    near = matched[..., :80].square().mean(-1) / tone[..., 3920:4000].square().mean(-1)
    assert (10 * near.log10()).abs().max() < 0.5  # dB
    assert torch.equal(matched[..., 800:], after[..., 800:])  # a tenth of a second later nothing is left of it


def test_a_hit_after_a_pause_stays_as_it_is() -> None:
    hit = torch.rand(1, 1, 4000) - 0.5
    assert torch.equal(match(torch.zeros(1, 1, 100), hit, sampling_rate=8000), hit)
    quiet = match(torch.full((1, 1, 100), 0.01), hit, sampling_rate=8000)
    assert quiet[..., :10].abs().max() > 0.45 * hit[..., :10].abs().max()  # never more than 6 dB


def test_noise_belongs_to_the_seed() -> None:
    like = torch.empty(3, 2, 50)
    several, one = SeededNoise([4, 5, 6]), SeededNoise([5])
    for _ in range(2):
        assert torch.equal(several(like)[1:2], one(like[:1]))
    given = torch.full((1, 2, 50), 0.5)
    stream, plain = SeededNoise([5], first=given), SeededNoise([5])
    plain(like[:1])
    assert torch.equal(stream(like[:1]), given)
    assert torch.equal(stream(like[:1]), plain(like[:1]))


def test_along_the_arc() -> None:
    middle = slerp(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), 0.5)
    torch.testing.assert_close(middle, torch.tensor([0.5**0.5, 0.5**0.5]))
    a, b = torch.randn(2, 500)
    assert torch.equal(slerp(a, b, 0.0), a)
    assert torch.equal(slerp(a, b, 1.0), b)
    torch.testing.assert_close(slerp(a, a, 0.3), a)
    assert torch.equal(slerp(torch.zeros(3), torch.zeros(3), 0.5), torch.zeros(3))


def test_mixed_noise_has_the_two_streams_at_its_ends() -> None:
    like = torch.empty(3, 1, 2000)
    mixed = MixedNoise(SeededNoise([1]), SeededNoise([2]), [0.0, 0.5, 1.0])
    one, other = SeededNoise([1]), SeededNoise([2])
    for _ in range(2):
        drawn = mixed(like)
        assert torch.equal(drawn[:1], one(like[:1]))
        assert torch.equal(drawn[2:], other(like[:1]))
        assert abs(drawn[1].std() - 1) < 0.05
