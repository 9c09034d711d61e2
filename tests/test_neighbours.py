"""Precision, recall, density and coverage on layouts that can be drawn by hand, and their margins."""

import math

import pytest
import torch
from torch import Tensor

from tiny_audio_diffusion import metrics


def line(*places: float) -> Tensor:
    return torch.tensor(places)[:, None]


def gaussian(count: int, *, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)) + shift


def test_four_real_and_four_generated_points_by_hand():
    # With k = 1 real balls reach 1 from {0, 1} and 2 from {5, 7}; generated ones 0.5 from {0.5, 1} and 3 from {4};
    # the stray's would reach 16 and is cut to 3.
    found = metrics.neighbourhood(line(0, 1, 5, 7), line(0.5, 1, 4, 20), k=1)
    assert found.precision == pytest.approx(3 / 4)
    assert found.density == pytest.approx((2 + 2 + 1 + 0) / 4)
    assert found.coverage == pytest.approx(3 / 4)  # 7 is alone
    assert found.recall == pytest.approx(4 / 4)  # 7 lies on the edge of the ball around 4
    # the nearest real ones of 0.5, 1, 4, 20 lie at 0.5, 0 (counts as 8 times nearer), 1, 13; real radii: median 1
    assert found.precision_margin == pytest.approx((1 + 3 + 0 + math.log2(1 / 13)) / 4)
    # the nearest generated ones of 0, 1, 5, 7 lie at 0.5, 0, 1, 3
    assert found.recall_margin == pytest.approx((1 + 3 + 0 + math.log2(1 / 3)) / 4)
    assert found.coverage_margin == pytest.approx((1 + 3 + 1 + math.log2(2 / 3)) / 4)


def test_a_stray_among_real_sounds_does_not_make_all_precise():
    reference = torch.cat([gaussian(99, seed=0), gaussian(1, seed=1, shift=30)])
    # between the two: inside the stray's ball, and nowhere near any other real sound
    between = gaussian(50, seed=2, shift=8)
    assert metrics.neighbourhood(reference, between)[:4] == (0, 0, 0, 0)


def test_real_against_real_is_good_and_each_fault_shows_where_it_should():
    reference, fresh = gaussian(300, seed=0), gaussian(300, seed=1)
    good = metrics.neighbourhood(reference, fresh)
    assert min(good.precision, good.recall, good.coverage) > 0.7
    assert good.density == pytest.approx(0.8, abs=0.2)
    assert abs(good.precision_margin) < 0.1
    assert abs(good.recall_margin) < 0.1
    few = metrics.neighbourhood(reference, fresh[:10].repeat(30, 1) + 0.01 * gaussian(300, seed=2))
    assert few.precision > 0.7
    assert few.recall < 0.05
    assert few.coverage < 0.5
    wide = metrics.neighbourhood(reference, 3 * fresh)
    assert wide.precision < 0.3
    assert wide.recall > 0.7


def test_margins_go_on_where_shares_are_stuck():
    reference = gaussian(100, seed=0)
    near, far = (metrics.neighbourhood(reference, gaussian(100, seed=1, shift=shift)) for shift in (10, 20))
    for name in ("precision", "recall", "coverage"):
        assert getattr(near, name) == getattr(far, name) == 0
        assert 0 > getattr(near, f"{name}_margin") > getattr(far, f"{name}_margin")


def test_too_few_sounds_are_refused_and_copies_are_not_infinitely_good():
    with pytest.raises(ValueError, match="5 neighbours need at least 6 sounds a side, not 5 and 100"):
        metrics.neighbourhood(gaussian(5, seed=0), gaussian(100, seed=1))
    one = torch.ones(8, 3)
    assert tuple(metrics.neighbourhood(one, one)) == pytest.approx((1, 1, 8 / 5, 1, 0, 0, 0))
    found = metrics.neighbourhood(gaussian(10, seed=0), gaussian(10, seed=0))
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)
    assert found.coverage_margin == 3


def test_diversity_is_the_mean_distance_between_two():
    assert metrics.diversity(line(0, 1, 3)) == pytest.approx((1 + 2 + 3) / 3)
    assert metrics.diversity(torch.ones(4, 2)) == 0
    with pytest.raises(ValueError, match="at least 2 sounds, not 1"):
        metrics.diversity(line(0))
