"""One way down the ladder of noise levels, from sounds to sounds: what all tasks of a pipeline are made of."""

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from tiny_audio_diffusion import edit
from tiny_audio_diffusion.diffusion import Diffusion, thresholded
from tiny_audio_diffusion.noise import MixedNoise, SeededNoise
from tiny_audio_diffusion.representation import Raw
from tiny_audio_diffusion.sampler import Denoise, Sampler, invert
from tiny_audio_diffusion.schedule import Schedule
from tiny_audio_diffusion.watch import Watch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Walk:
    """A model, a way to sample and who watches; sounds are [N, C, L] or, one for all, [C, L], on the CPU."""

    diffusion: Diffusion
    representation: Raw
    sampler: Sampler
    ladder: Schedule
    steps: int
    channels: int
    window: int  # the length that the model was trained on
    sampling_rate: int
    threshold: float | None
    half_precision: torch.dtype | None
    watch: Watch

    def down(
        self,
        noise: SeededNoise | MixedNoise,
        length: int,
        *,
        under: Tensor | None = None,
        strength: float = 1.0,
        disguised: bool = False,
        known: Tensor | None = None,
        keep: Tensor | None = None,
        repeats: int = 1,
    ) -> Tensor:
        """Sounds [N, C, length], one for each stream of noise.

        They begin as pure noise, or as `under` beneath the noise of the ladder's level at `strength`; `disguised`, the
        sound plus `strength` times noise passes for pure noise. Where `keep` [length] is true the result is `known`.
        """
        if under is not None and strength == 0 and not disguised:
            return under.expand(len(noise), -1, -1).clone()
        level = self.representation.level
        padded = -(-length // self.diffusion.network.multiple) * self.diffusion.network.multiple
        top = 1.0 if under is None or disguised else strength
        sigmas = self.ladder.ladder(self.sampler.intervals(self.steps), start=top)
        x = noise(level.new_empty(len(noise), self.channels, padded))
        highest = sigmas[0].to(x)
        if under is not None and disguised:
            x = (self._encoded(under, padded) + strength * x) * highest
        elif under is not None and strength < 1:  # at 1 nothing of it is left, whatever the ladder's highest level
            x = self._encoded(under, padded) + x * highest
        else:
            x = x * highest

        constrain = None
        if known is not None and keep is not None:
            fixed, mask = self._encoded(known, padded), pad(keep, (0, padded - length)).to(x.device)

            def constrain(x: Tensor, sigma: float) -> Tensor:
                return torch.where(mask, fixed + sigma * noise(x), x)

        x = self.sampler(self._denoise, x, sigmas, noise=noise, constrain=constrain, repeats=repeats)
        sounds = self.representation.decode(x).float().cpu()[..., :length]
        if not sounds.isfinite().all():
            raise FloatingPointError("the model made sounds that are not finite: its weights are damaged")
        return sounds if known is None or keep is None else torch.where(keep, known, sounds)

    def on(
        self,
        sounds: Tensor,
        noise: SeededNoise,
        *,
        overlap: int,
        repeats: int,
        match: bool,
        backward: bool = False,
        under: Tensor | None = None,
        strength: float = 1.0,
    ) -> Tensor:
        """The sounds [N, C, L] with one more window joined, whose first `overlap` samples are their last ones."""
        if backward:
            near, rest = sounds[..., :overlap], (self.window - overlap, 0)
        else:
            near, rest = sounds[..., sounds.shape[-1] - overlap :], (0, self.window - overlap)
        keep = pad(torch.ones(overlap, dtype=torch.bool), rest)
        made = self.down(
            noise, self.window, under=under, strength=strength, known=pad(near, rest), keep=keep, repeats=repeats
        )
        parts = [sounds, made[..., ~keep]]
        if backward:  # the seam is the same, seen from the other side
            parts = [part.flip(-1) for part in parts]
        if match:
            parts[1] = edit.match(*parts, sampling_rate=self.sampling_rate)
        joined = torch.cat(parts, dim=-1)
        return joined.flip(-1) if backward else joined

    @torch.no_grad()
    def up(self, sound: Tensor) -> Tensor:
        """The noise [1, C, L] that the walk down turns into this sound [C, L]."""
        length = sound.shape[-1]
        padded = -(-length // self.diffusion.network.multiple) * self.diffusion.network.multiple
        sigmas = self.ladder.ladder(self.sampler.intervals(self.steps))
        return invert(self._denoise, self._encoded(sound, padded), sigmas).cpu()

    def begin(self, walks: int) -> None:
        """Tell who watches how much lies ahead."""
        self.watch.begin(walks * self.sampler.evaluations(self.sampler.intervals(self.steps)))

    def chunks(
        self, make: Callable[[range], Tensor], count: int, batch_size: int, *, walks: int = 1, before: int = 0
    ) -> Tensor:
        """All sounds, made a few at a time; where memory does not suffice for so many, fewer at a time.

        `walks` are those that one sound takes, `before` those that come before the first one.
        """
        for name, value in (("count", count), ("batch_size", batch_size)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        self.begin(before + count * walks)
        made: list[Tensor] = []
        first = 0
        while first < count:
            places = range(first, min(first + batch_size, count))
            try:
                sounds = make(places)
            except torch.OutOfMemoryError:
                if len(places) == 1:
                    raise
                batch_size = len(places) // 2
                logger.warning("not enough memory for %d sounds at a time: going on with %d", len(places), batch_size)
                torch.cuda.empty_cache()
                continue
            self.watch.made(sounds)
            made.append(sounds)
            first = places.stop
        return torch.cat(made)

    def check(self, sound: Tensor) -> None:
        """Refuse what is no sound for this model."""
        if sound.ndim != 2 or sound.shape[0] != self.channels or sound.shape[1] < 1:
            raise ValueError(f"a sound for this model is [{self.channels}, length], not {list(sound.shape)}")

    def check_overlap(self, overlap: int, available: int) -> None:
        """Refuse an overlap that is not there, or leaves nothing of a window to be made."""
        most, rate = min(self.window - 1, available), self.sampling_rate
        if not 1 <= overlap <= most:
            raise ValueError(
                f"an overlap of {overlap / rate:.3f} seconds does not fit: above 0, at most {most / rate:.3f} here"
            )

    def _encoded(self, sound: Tensor, padded: int) -> Tensor:
        """What the network sees of a sound: [1 or N, C, padded] on its device."""
        sound = sound if sound.ndim == 3 else sound[None]
        sound = pad(sound, (0, padded - sound.shape[-1])).to(self.representation.level)
        return self.representation.encode(sound)

    def _denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        denoise: Denoise = self.diffusion.denoise
        if self.threshold is not None:
            full_scale = self.representation.encode(torch.ones_like(self.representation.level)).item()
            denoise = thresholded(denoise, self.threshold, full_scale=full_scale)
        with self._precision(x.device.type):
            clean = denoise(x, sigma)
        self.watch.evaluated(len(x))
        return clean

    def _precision(self, device: str) -> contextlib.AbstractContextManager[object]:
        if self.half_precision is None:  # whatever surrounds it, as training does, remains
            return contextlib.nullcontext()
        return torch.autocast(device, self.half_precision)


def check_share(value: float, name: str) -> None:
    """Refuse what is no share of a whole."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie in [0, 1], not {value}")


def check_least(value: int, name: str, least: int) -> None:
    """Refuse a number that is too small to mean anything."""
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {value}")
