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


def test_four_real_and_three_generated_points_by_hand():
    # With k = 1 real balls reach 1 on {0, 1} and 2 on {5, 7}; generated ones 0.5 on {0.5, 1}, 19 on {20}.
    found = metrics.neighbourhood(line(0, 1, 5, 7), line(0.5, 1, 20), k=1)
    assert found.precision == pytest.approx(2 / 3)
    assert found.density == pytest.approx((2 + 2 + 0) / 3)
    assert found.coverage == pytest.approx(2 / 4)
    assert found.recall == 1  # the stray's ball holds everything: recall is fooled by strays
    # 0.5 lies half a radius from 0 and 1; 1 upon 1, which counts as 8 times nearer; 20 at 13 from 7, radius 2
    assert found.precision_margin == pytest.approx((1 + 3 + math.log2(2 / 13)) / 3)
    # 0: radius 1, nearest 0.5; 1: a copy; 5: radius 2, nearest 4; 7: radius 2, nearest 6
    assert found.coverage_margin == pytest.approx((1 + 3 - 1 + math.log2(2 / 6)) / 4)


def test_real_against_real_is_good_and_each_fault_shows_where_it_should():
    reference, fresh = gaussian(300, seed=0), gaussian(300, seed=1)
    good = metrics.neighbourhood(reference, fresh)
    assert min(good.precision, good.recall, good.coverage) > 0.9
    assert good.density == pytest.approx(1, abs=0.2)
    few = metrics.neighbourhood(reference, fresh[:10].repeat(30, 1) + 0.01 * gaussian(300, seed=2))
    assert few.precision > 0.8
    assert few.recall < 0.05
    assert few.coverage < 0.5
    wide = metrics.neighbourhood(reference, 3 * fresh)
    assert wide.precision < 0.3
    assert wide.recall > 0.9


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
    assert found.precision_margin == 3


def test_diversity_is_the_mean_distance_between_two():
    assert metrics.diversity(line(0, 1, 3)) == pytest.approx((1 + 2 + 3) / 3)
    assert metrics.diversity(torch.ones(4, 2)) == 0
    with pytest.raises(ValueError, match="at least 2 sounds, not 1"):
        metrics.diversity(line(0))
