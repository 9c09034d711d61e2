"""A network, an objective and a noise schedule: the loss that trains them and the denoiser that samplers walk with."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from tiny_audio_diffusion.network import Network
from tiny_audio_diffusion.objective import Objective, per_item
from tiny_audio_diffusion.schedule import Schedule


class Diffusion(nn.Module):
    """Sees tensors of unit variance [B, C, L]; knows nothing of sounds, files or trainers."""

    def __init__(self, *, network: Network, objective: Objective, schedule: Schedule):
        super().__init__()
        self.network: Network = network
        self.objective, self.schedule = objective, schedule

    def loss(
        self,
        clean: Tensor,
        *,
        conditions: Mapping[str, Tensor] | None = None,
        sigma: Tensor | None = None,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Mean squared error of the network's output, at one drawn noise level per item [B] unless given."""
        if sigma is None:
            sigma = self.schedule.draw(len(clean), generator=generator)
        if noise is None:
            noise = torch.randn(clean.shape, generator=generator, device=clean.device, dtype=clean.dtype)
        scale = self.objective.scalings(sigma)
        # input * (clean + sigma * noise), factor by factor: sigma may be huge, the products are not
        seen = per_item(scale.input, clean) * clean + per_item(scale.input * sigma.double(), clean) * noise
        output = self.network(seen, scale.time.to(clean), **(conditions or {}))
        return functional.mse_loss(output, self.objective.target(clean, noise, sigma))

    def denoise(self, x: Tensor, sigma: Tensor, *, conditions: Mapping[str, Tensor] | None = None) -> Tensor:
        """The clean estimate D(x, sigma) for one level, or one per item [B]."""
        sigma = sigma.expand(len(x))
        scale = self.objective.scalings(sigma)
        output = self.network(per_item(scale.input, x) * x, scale.time.to(x), **(conditions or {}))
        return per_item(scale.skip, x) * x + per_item(scale.out, x) * output.to(x.dtype)


def dynamic_threshold(clean: Tensor, quantile: float) -> Tensor:
    """Limit each item to its `quantile` of |clean| and divide by that where it exceeds 1; 0 clamps to [-1, 1]."""
    if not 0 <= quantile <= 1:
        raise ValueError(f"the threshold's quantile must lie in [0, 1], not {quantile}")
    if quantile == 0:
        return clean.clamp(-1, 1)
    limit = torch.quantile(clean.abs().flatten(1), quantile, dim=1).clamp_min(1)
    limit = limit.reshape(-1, *[1] * (clean.ndim - 1))
    return clean.clamp(-limit, limit) / limit


def thresholded(
    denoise: Callable[[Tensor, Tensor], Tensor], quantile: float, *, full_scale: float
) -> Callable[[Tensor, Tensor], Tensor]:
    """A denoiser whose estimates are limited by `dynamic_threshold` around what a full-scale sound is in x's units."""
    return lambda x, sigma: dynamic_threshold(denoise(x, sigma) / full_scale, quantile) * full_scale
