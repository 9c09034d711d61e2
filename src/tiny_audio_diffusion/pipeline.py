"""What people do with a trained model: a diffusion, a representation, a sampler and a ladder, and no trainer."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from tqdm import tqdm

from tiny_audio_diffusion.diffusion import Diffusion, thresholded
from tiny_audio_diffusion.representation import Raw
from tiny_audio_diffusion.sampler import Denoise, Sampler
from tiny_audio_diffusion.schedule import Schedule


class SeededNoise:
    """Normal noise, one random stream per sound, drawn on the CPU: sound 7 is sound 7 in any batch, on any device."""

    def __init__(self, seeds: Sequence[int]):
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, like: Tensor) -> Tensor:
        """Noise shaped like `like` [B, ...], for as many sounds as there are seeds."""
        assert len(like) == len(self.generators)
        noise = [torch.randn(like.shape[1:], generator=generator) for generator in self.generators]
        return torch.stack(noise).to(like)


class Pipeline(nn.Module):
    """Makes sounds [count, channels, length]."""

    def __init__(
        self,
        *,
        diffusion: Diffusion,
        representation: Raw,
        sampler: Sampler,
        ladder: Schedule,
        steps: int,
        sampling_rate: int,
        channels: int,
        length: int,
        threshold: float | None = None,
    ):
        super().__init__()
        self.diffusion, self.representation, self.sampler, self.ladder = diffusion, representation, sampler, ladder
        self.steps, self.sampling_rate, self.channels, self.length = steps, sampling_rate, channels, length
        self.threshold = threshold

    @property
    def evaluations(self) -> int:
        """How often the network runs for one sound: at most `steps`, less where a method takes two at a time."""
        return self.sampler.evaluations(self.sampler.intervals(self.steps))

    def generate(
        self, count: int, *, seed: int = 0, length: int | None = None, batch_size: int = 1, progress: bool = False
    ) -> Tensor:
        """`count` new sounds on the CPU; sound n comes from seed + n alone."""
        length = self.length if length is None else length
        multiple = self.diffusion.network.multiple
        padded = -(-length // multiple) * multiple
        seeds = list(range(seed, seed + count))
        chunks = [seeds[start : start + batch_size] for start in range(0, count, batch_size)]
        sounds = [self._sample(chunk, padded) for chunk in tqdm(chunks, desc="generate", disable=not progress)]
        return torch.cat(sounds)[..., :length]

    def _sample(self, seeds: Sequence[int], length: int) -> Tensor:
        noise = SeededNoise(seeds)
        level = self.representation.level
        start = noise(level.new_empty(len(seeds), self.channels, length))
        sigmas = self.ladder.ladder(self.sampler.intervals(self.steps))
        denoise: Denoise = self.diffusion.denoise
        if self.threshold is not None:
            full_scale = self.representation.encode(torch.ones_like(level)).item()
            denoise = thresholded(denoise, self.threshold, full_scale=full_scale)
        x = self.sampler(denoise, start * sigmas[0].to(start), sigmas, noise=noise)
        sounds = self.representation.decode(x).float().cpu()
        if not sounds.isfinite().all():
            raise FloatingPointError("the model made sounds that are not finite: its weights are damaged")
        return sounds
