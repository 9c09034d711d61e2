"""What the network sees and predicts at noise level sigma: V, K and flow, each as four scalars.

A noisy sound is x = clean + sigma * noise. Whatever the objective, the clean sound is estimated as
D(x, sigma) = skip * x + out * network(input * x, time), and the loss is the mean squared error of the network's output.
"""

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Scalings(NamedTuple):
    """The four scalars of a denoiser, as float64 tensors of sigma's shape."""

    skip: Tensor
    out: Tensor
    input: Tensor
    time: Tensor


class Objective(Protocol):
    """Scalings for the denoiser and, in closed form, what the network is asked to predict."""

    def scalings(self, sigma: Tensor) -> Scalings: ...

    def target(self, clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor: ...


class V:
    """Velocity on the quarter circle: sigma = tan(angle), time = angle / 90 degrees (Salimans and Ho, 2022)."""

    def scalings(self, sigma: Tensor) -> Scalings:
        sigma = sigma.double()
        radius = (1 + sigma**2).sqrt()
        return Scalings(skip=1 / radius**2, out=-sigma / radius, input=1 / radius, time=sigma.atan() * 2 / math.pi)

    def target(self, clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """cos(angle) * noise - sin(angle) * clean."""
        sigma = sigma.double()
        radius = (1 + sigma**2).sqrt()
        return per_item(1 / radius, clean) * noise - per_item(sigma / radius, clean) * clean


class K:
    """The preconditioning of Karras et al. (2022) around data of standard deviation sigma_data."""

    def __init__(self, *, sigma_data: float = 1.0):
        self.sigma_data = sigma_data

    def scalings(self, sigma: Tensor) -> Scalings:
        sigma, data = sigma.double(), self.sigma_data
        radius = (data**2 + sigma**2).sqrt()
        time = sigma.clamp_min(torch.finfo(torch.float64).tiny).log() / 4
        return Scalings(skip=data**2 / radius**2, out=sigma * data / radius, input=1 / radius, time=time)

    def target(self, clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """(clean - skip * x) / out, without the cancellation: (sigma / data * clean - data * noise) / radius.

        The paper's weight (sigma² + data²) / (sigma * data)² is 1 / out²: the output's plain error is its loss.
        """
        sigma, data = sigma.double(), self.sigma_data
        radius = (data**2 + sigma**2).sqrt()
        return per_item(sigma / data / radius, clean) * clean - per_item(data / radius, clean) * noise


class Flow:
    """Rectified flow: the straight line from clean (time 0) to noise (time 1), sigma = time / (1 - time)."""

    def scalings(self, sigma: Tensor) -> Scalings:
        sigma = sigma.double()
        whole = 1 + sigma
        return Scalings(skip=1 / whole, out=-sigma / whole, input=1 / whole, time=sigma / whole)

    def target(self, clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """noise - clean, at every level."""
        return noise - clean


def per_item(value: Tensor, like: Tensor) -> Tensor:
    """One value per item [B], shaped and typed to multiply a batch [B, ...]."""
    return value.to(like).reshape(-1, *[1] * (like.ndim - 1))
