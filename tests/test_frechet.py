"""The Fréchet distance against closed forms and another way to compute it, and what is left of its bias."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from tiny_audio_diffusion import metrics


def gaussian(count: int, dimensions: int, *, seed: int) -> Tensor:
    return torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def white(count: int, dimensions: int, *, seed: int) -> Tensor:
    """Vectors whose mean is 0 and whose covariance is the identity, exactly."""
    draw = gaussian(count, dimensions, seed=seed)
    draw = draw - draw.mean(dim=0)
    root = torch.linalg.cholesky(draw.T @ draw / (count - 1))
    return torch.linalg.solve_triangular(root, draw.T, upper=False).T


def test_gaussians_with_diagonal_covariances_have_a_closed_form():
    first, second = torch.tensor([1.0, 2.0, 0.5, 3.0]).double(), torch.tensor([2.0, 2.0, 1.5, 0.0]).double()
    shift = torch.tensor([1.0, 0.0, -2.0, 0.5]).double()
    reference, generated = first * white(50, 4, seed=0), second * white(70, 4, seed=1) + shift
    expected = (shift.square().sum() + (first - second).square().sum()).item()
    assert metrics.frechet_distance(reference, generated) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("count", "other"), [(300, 200), (12, 9), (12, 200)])
def test_it_agrees_with_the_matrix_root_of_another_library(count: int, other: int):
    mixing = gaussian(20, 20, seed=2)
    reference, generated = gaussian(count, 20, seed=3) @ mixing, 0.7 * gaussian(other, 20, seed=4) @ mixing + 0.3
    one, two = np.cov(reference.numpy().T), np.cov(generated.numpy().T)
    if min(count, other) > 20:
        shared = np.trace(scipy.linalg.sqrtm(one @ two)).real
    else:  # sqrtm of a singular matrix does not converge, but the trace of a root is the sum of the roots
        shared = np.sqrt(np.clip(scipy.linalg.eigvals(one @ two).real, 0, None)).sum()
    expected = ((reference.mean(0) - generated.mean(0)) ** 2).sum().item() + np.trace(one + two) - 2 * shared
    assert metrics.frechet_distance(reference, generated) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("count", [5, 400])
def test_a_set_is_at_no_distance_from_itself_and_both_ways_are_equal(count: int):
    one, two = 30 * gaussian(count, 64, seed=5), 20 * gaussian(count + 3, 64, seed=6)
    assert metrics.frechet_distance(one, one) == pytest.approx(0, abs=1e-6)
    assert metrics.frechet_distance(one, one.flip(0).float()) == pytest.approx(0, abs=1e-2)
    there, back = metrics.frechet_distance(one, two), metrics.frechet_distance(two, one)
    assert there == pytest.approx(back, rel=1e-9)
    assert there > 1


def test_the_limit_removes_the_bias_and_keeps_the_distance():
    """Two draws of one distribution are 0 apart; moved by half a deviation on each axis they are D/4 apart."""
    plain, limit, moved = [], [], []
    for seed in range(8):
        one, two = gaussian(400, 16, seed=2 * seed), gaussian(400, 16, seed=2 * seed + 1)
        plain.append(metrics.frechet_distance(one, two))
        extrapolation = metrics.frechet_infinity(one, two)
        limit.append(extrapolation.distance)
        assert extrapolation.slope > 0
        assert 0.7 < extrapolation.fit <= 1
        moved.append(metrics.frechet_infinity(one, two + 0.5).distance)
    assert abs(np.mean(limit)) < np.mean(plain) / 4
    assert np.mean(moved) == pytest.approx(16 / 4, rel=0.05)


def test_the_limit_is_the_same_for_a_seed_and_refuses_what_is_too_few():
    one, two = gaussian(100, 4, seed=0), gaussian(60, 4, seed=1)
    assert metrics.frechet_infinity(one, two, seed=3) == metrics.frechet_infinity(one, two, seed=3)
    assert metrics.frechet_infinity(one, two, sizes=(20, 40, 60)).distance < metrics.frechet_distance(one, two)
    with pytest.raises(ValueError, match="7 vectors of 4 dimensions are too few to extrapolate: 8 or more"):
        metrics.frechet_infinity(one, two[:7])
    with pytest.raises(ValueError, match="two different numbers from 2 to 60"):
        metrics.frechet_infinity(one, two, sizes=(20, 61))


def test_sets_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="same dimensions"):
        metrics.frechet_distance(torch.zeros(3, 4), torch.zeros(3, 5))
    with pytest.raises(ValueError, match="pool the frames"):
        metrics.frechet_distance(torch.zeros(3, 2, 4), torch.zeros(3, 2, 4))
    with pytest.raises(ValueError, match="at least 2 vectors a side are needed, not 1 and 3"):
        metrics.frechet_distance(torch.zeros(1, 4), torch.zeros(3, 4))
