"""Loss, sampling and averages of audio-diffusion-pytorch and ema-pytorch, from equal weights and equal noise."""

import pytest
import torch

pytest.importorskip("audio_diffusion_pytorch")
pytest.importorskip("ema_pytorch")

from audio_diffusion_pytorch import VDiffusion, VSampler
from ema_pytorch import EMA
from upstream import build_pair

from tiny_audio_diffusion.callbacks import ExponentialAverage
from tiny_audio_diffusion.diffusion import Diffusion
from tiny_audio_diffusion.objective import V
from tiny_audio_diffusion.sampler import Euler
from tiny_audio_diffusion.schedule import Angle

CONFIG = {
    "in_channels": 2,
    "channels": [8, 16, 24],
    "factors": [1, 2, 2],
    "items": [1, 1, 2],
    "attentions": [0, 0, 1],
    "attention_heads": 2,
    "attention_features": 8,
    "modulation_features": 32,
}


def diffusion_of(network: torch.nn.Module) -> Diffusion:
    return Diffusion(network=network, objective=V(), schedule=Angle())


def test_v_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, ours = build_pair(CONFIG)
    clean, noise, time = torch.randn(3, 2, 64), torch.randn(3, 2, 64), torch.tensor([0.03, 0.5, 0.97])
    monkeypatch.setattr(torch, "randn_like", lambda _: noise)
    upstream = VDiffusion(net=theirs)
    upstream.sigma_distribution = lambda num_samples, device: time
    expected = upstream(clean)
    # time t is the level tan(90 degrees * t); our loss sees the same noisy sound up to that factor
    sigma = (time.double() * torch.pi / 2).tan()
    actual = diffusion_of(ours).loss(clean, sigma=sigma, noise=noise)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)
    theirs_gradient = torch.autograd.grad(expected, theirs.parameters(), retain_graph=False)[0]
    ours_gradient = torch.autograd.grad(actual, ours.time.frequencies)[0]
    torch.testing.assert_close(ours_gradient, theirs_gradient, rtol=1e-4, atol=1e-6)


def test_fifty_step_sample() -> None:
    theirs, ours = build_pair(CONFIG, seed=1)
    noise = torch.randn(2, 2, 256)
    expected = VSampler(net=theirs)(noise, num_steps=50)
    sigmas = Angle().ladder(50)
    actual = Euler()(diffusion_of(ours).denoise, noise * sigmas[0], sigmas)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)


def test_decay_table() -> None:
    average = ExponentialAverage(beta=0.995, power=0.7, device=None)
    upstream = EMA(torch.nn.Linear(1, 1), beta=0.995, power=0.7)
    table = {101: 0, 102: 0.384428, 112: 0.824380, 200: 0.960189, 1000: 0.991449, 2000: 0.994932, 10000: 0.995}
    for step, decay in table.items():
        upstream.step.fill_(step)
        assert average.decay(step) == pytest.approx(decay, abs=1e-6)
        assert average.decay(step) == pytest.approx(float(upstream.get_current_decay()), abs=1e-6)
