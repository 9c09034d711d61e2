"""Measured memory, against sums that can be done by hand."""

import pytest
import torch
from torch import Tensor, nn

from tiny_audio_diffusion.memory import measure

MIB = 2**20
WIDE = MIB // 4  # float32 numbers in a MiB


def test_the_highest_and_what_is_kept() -> None:
    held: list[Tensor] = []

    def step() -> None:
        held.append(torch.zeros(3 * WIDE))
        for _ in range(5):
            torch.zeros(4 * WIDE)  # released at once, each time

    usage = measure.peak(step)
    assert usage.added == 7 * MIB
    assert usage.kept == 3 * MIB
    assert usage.peak == usage.before + 7 * MIB


def test_what_was_there_before_counts_with_its_gradient() -> None:
    empty = measure.peak(lambda: None)
    held = nn.Parameter(torch.zeros(2 * WIDE))
    held.sum().backward()
    view = held.detach()[5:]
    assert measure.peak(lambda: None).before - empty.before == 4 * MIB
    assert measure.size([held, view]) == 2 * MIB


def test_the_insides_of_an_operation_count() -> None:
    x = torch.randn(512, 1024)
    apart = measure.peak(lambda: (x.T + 1).sum())
    assert apart.added >= 2 * MIB
    assert apart.kept == 0
    with torch.no_grad():
        rows = torch.randn(1, 4, 512, 512)
        sorted_inside = measure.peak(lambda: rows.msort().sum())
    assert sorted_inside.added >= 3 * 4 * MIB  # values, int64 places


def test_a_training_step_by_hand() -> None:
    layers = nn.Sequential(*(nn.Linear(512, 512, bias=False) for _ in range(3)))  # a MiB each
    x = torch.randn(2048, 512)  # 4 MiB

    def step() -> None:
        layers(x).sum().backward()

    usage = measure.peak(step)
    assert usage.kept == 3 * MIB  # the gradients
    # two inner activations are saved; the way back adds a gradient of the output to them, and weights'
    assert 12 * MIB <= usage.added <= 18 * MIB
    with torch.no_grad():
        assert measure.peak(lambda: layers(x)).added == 8 * MIB


def test_other_devices_are_refused() -> None:
    with pytest.raises(ValueError, match="on cpu and cuda, not on meta"):
        measure.peak(lambda: None, "meta")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda() -> None:
    usage = measure.peak(lambda: torch.zeros(3 * WIDE, device="cuda").add_(1), "cuda")
    assert usage.added == 3 * MIB
    assert usage.kept == 0
