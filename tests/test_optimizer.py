"""AdamW in bytes, against torch's."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tiny_audio_diffusion.optimizer import LEAST, AdamW8bit, decode, encode

OPTIONS = {"lr": 1e-2, "betas": (0.9, 0.99), "eps": 1e-6, "weight_decay": 1e-2}


def problem() -> tuple[nn.Module, Callable[[int], Tensor]]:
    """A small network and its loss at each step, on data that its steps draw."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(40, 128), nn.Tanh(), nn.Linear(128, 40))  # 5120 weights each
    target = torch.randn(40, 40) / 6

    def loss(step: int) -> Tensor:
        x = torch.randn(64, 40, generator=torch.Generator().manual_seed(step))
        return (network(x) - x @ target).square().mean()

    return network, loss


def train(optimizer: torch.optim.Optimizer, loss: Callable[[int], Tensor], steps: range) -> float:
    for step in steps:
        optimizer.zero_grad()
        value = loss(step)
        value.backward()
        optimizer.step()
    return value.item()


@pytest.mark.parametrize(("roots", "signed"), [(1, True), (2, False)])
def test_codes(roots: int, signed: bool) -> None:
    values = torch.randn(1000).exp() ** 2 * (torch.randn(1000).sign() if signed else 1)
    values[256:512] = 0
    codes, scale = encode(values, roots, signed=signed)
    assert codes.element_size() == 1
    back = decode(codes, scale, roots)[:1000]
    # half a code away at most, where the root of the share is 1 / most wide
    largest = scale.repeat_interleave(256)[:1000].clamp_min(1e-30)
    stored = [(each.abs() / largest) ** (1 / 2**roots) for each in (values, back)]
    assert (stored[0] - stored[1]).abs().max() <= 0.501 / (127 if signed else 255)
    assert (back * values >= 0).all()
    assert not back[256:512].any()


def test_it_converges_like_torch() -> None:
    reached = {}
    for kind in (torch.optim.AdamW, AdamW8bit):
        network, loss = problem()
        reached[kind] = train(kind(network.parameters(), **OPTIONS), loss, range(400))
    assert reached[AdamW8bit] < 1.1 * reached[torch.optim.AdamW]
    assert reached[torch.optim.AdamW] < 0.1


def test_small_tensors_are_exact() -> None:
    torch.manual_seed(0)
    one = nn.Parameter(torch.randn(50))
    other = nn.Parameter(one.detach().clone())
    assert one.numel() < LEAST
    for parameter, kind in ((one, torch.optim.AdamW), (other, AdamW8bit)):
        train(kind([parameter], **OPTIONS), lambda step, value=parameter: (value - step).square().sum(), range(20))  # type: ignore[misc]
    torch.testing.assert_close(one, other)


def test_it_goes_on_exactly() -> None:
    network, loss = problem()
    optimizer = AdamW8bit(network.parameters(), **OPTIONS)
    train(optimizer, loss, range(5))
    saved = copy.deepcopy((network.state_dict(), optimizer.state_dict()))
    train(optimizer, loss, range(5, 9))
    expected = [value.clone() for value in network.parameters()]

    again, loss = problem()
    again.load_state_dict(saved[0])
    optimizer = AdamW8bit(again.parameters(), **OPTIONS)
    optimizer.load_state_dict(saved[1])
    state = optimizer.state[next(iter(again.parameters()))]
    assert sum(value.nbytes for value in state.values() if isinstance(value, Tensor)) < 0.27 * 2 * 4 * 5120
    train(optimizer, loss, range(5, 9))
    assert all(torch.equal(*pair) for pair in zip(expected, again.parameters(), strict=True))
