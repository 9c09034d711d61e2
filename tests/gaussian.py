"""A model whose every answer is known: sounds are normal, and neighbouring samples are alike."""

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor

from tiny_audio_diffusion.diffusion import Diffusion
from tiny_audio_diffusion.network import Network
from tiny_audio_diffusion.objective import Flow, K, Objective, V
from tiny_audio_diffusion.pipeline import Pipeline
from tiny_audio_diffusion.representation import Raw
from tiny_audio_diffusion.sampler import ADPM2, DPM2M, DPM2MSDE, Euler, Heun, Sampler
from tiny_audio_diffusion.schedule import Angle

LENGTH, CORRELATION = 32, 0.9
OBJECTIVES = {"V": V(), "K": K(), "Flow": Flow()}
SAMPLERS = {
    "euler": Euler(),
    "ancestral": Euler(eta=1.0),
    "heun": Heun(),
    "churn": Heun(churn=10.0),
    "adpm2": ADPM2(),
    "dpm2m": DPM2M(),
    "dpm2m_sde": DPM2MSDE(),
}


def covariance(length: int = LENGTH) -> Tensor:
    """Of unit variance, with CORRELATION between neighbours."""
    places = torch.arange(length, dtype=torch.float64)
    return CORRELATION ** (places[:, None] - places).abs()


@cache
def directions(length: int) -> tuple[Tensor, Tensor]:
    """Variances of the sounds, and the directions that have them."""
    values, vectors = torch.linalg.eigh(covariance(length))
    return values, vectors


class Gaussian(Network):
    """The exact prediction for such sounds: the clean estimate is C (C + sigma²)⁻¹ x."""

    multiple = 4

    def __init__(self, objective: Objective):
        super().__init__()
        self.objective = objective

    def forward(self, seen: Tensor, time: Tensor) -> Tensor:
        values, vectors = directions(seen.shape[-1])
        level = self._sigma(time[:1].double())
        scale = self.objective.scalings(level)
        x = seen.double() / scale.input
        clean = x @ (vectors * (values / (values + level**2))) @ vectors.T
        return ((clean - scale.skip * x) / scale.out).to(seen.dtype)

    def _sigma(self, time: Tensor) -> Tensor:
        if isinstance(self.objective, V):
            return (time * math.pi / 2).tan()
        return (4 * time).exp() if isinstance(self.objective, K) else time / (1 - time)


def make_pipeline(objective: str = "V", sampler: str | Sampler = "euler", **options: Any) -> Pipeline:
    """The model behind a pipeline, one sample a millisecond."""
    schedule = Angle(sigma_max=1e3)
    usual: dict[str, Any] = {"steps": 20, "ladder": schedule, "sampling_rate": 1000, "channels": 1, "length": LENGTH}
    return Pipeline(
        diffusion=Diffusion(
            network=Gaussian(OBJECTIVES[objective]), objective=OBJECTIVES[objective], schedule=schedule
        ),
        representation=Raw(level=1.0),
        sampler=SAMPLERS[sampler] if isinstance(sampler, str) else sampler,
        **usual | options,
    )


def draw(count: int, *, length: int = LENGTH, seed: int = 0) -> Tensor:
    """Sounds [count, 1, length] as the model knows them."""
    root = torch.linalg.cholesky(covariance(length))
    noise = torch.randn(count, length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (noise @ root.T).float()[:, None]
