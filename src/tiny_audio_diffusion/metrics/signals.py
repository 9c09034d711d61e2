"""Figures of one sound's signal: level, clipping, noise in the tail, width; and how far two sets differ in one."""

import torch
from torch import Tensor

from tiny_audio_diffusion.metrics.features import mid_and_side

SILENCE = -120.0  # dB: below the last bit of a 16-bit file, reported for digital silence too
FULL_SCALE = 1 - 2**-15  # of a 16-bit file


def decibels(amplitude: Tensor) -> Tensor:
    """Amplitude to dB, never below SILENCE."""
    return 20 * torch.log10(amplitude.clamp(min=10 ** (SILENCE / 20)))


def peak_decibels(audio: Tensor) -> Tensor:
    """Highest absolute sample of each sound [N, C, L] in dB of full scale, as [N]."""
    return decibels(audio.abs().amax(dim=(1, 2)))


def is_silent(audio: Tensor, *, threshold: float = -60.0) -> Tensor:
    """Whether the peak of each sound [N, C, L] stays below the threshold in dB of full scale, as bool [N]."""
    return peak_decibels(audio) < threshold


def tail_noise(audio: Tensor, sampling_rate: int, *, seconds: float = 0.05) -> Tensor:
    """Root mean square of the end of each sound [N, C, L] in dB of its own peak, as [N]; hiss shows here first."""
    tail = audio[..., -max(1, round(seconds * sampling_rate)) :]
    peak = audio.abs().amax(dim=(1, 2))
    return decibels(tail.square().mean(dim=(1, 2)).sqrt() / peak.clamp(min=torch.finfo(audio.dtype).tiny))


def measure(audio: Tensor, sampling_rate: int) -> dict[str, Tensor]:
    """Figures of each sound [N, C, L] as [N], all finite, for digital silence too.

    `peak` in dB of full scale; `clipped`, the share of samples at full scale; `dc`, the mean as a share of the peak;
    `above_16_khz` in dB of the sound's whole energy; `tail`, the end in dB of the peak; `silent`, 1 for a sound whose
    peak stays below −60 dB; `width`, the share of the energy that is in the side, 0 for mono.
    """
    if audio.ndim != 3 or not audio.numel():
        raise ValueError(f"sounds are [sounds, channels, samples], not {list(audio.shape)}")
    audio = audio.double()
    tiny = torch.finfo(audio.dtype).tiny
    sides = mid_and_side(audio)
    energy = sides.square().sum(dim=(1, 2)).clamp(min=tiny)
    side = sides[:, 1:].square().sum(dim=(1, 2)) if audio.shape[1] == 2 else torch.zeros_like(energy)
    figures = {
        "peak": peak_decibels(audio),
        "clipped": (audio.abs() >= FULL_SCALE).double().mean(dim=(1, 2)),
        "dc": audio.mean(dim=2).abs().amax(dim=1) / audio.abs().amax(dim=(1, 2)).clamp(min=tiny),
        "above_16_khz": _share_above(audio, 16_000 / sampling_rate),
        "tail": tail_noise(audio, sampling_rate),
        "silent": is_silent(audio).double(),
        "width": side / energy,
    }
    return {name: values.float() for name, values in figures.items()}


def drift(reference: Tensor, generated: Tensor) -> float:
    """How far apart one figure is distributed in two sets [N] and [M]: Wasserstein-1, in the figure's own units.

    The area between the two cumulative distributions: a shift of all values by 3 dB is 3 dB.
    """
    if not reference.numel() or not generated.numel():
        raise ValueError("drift takes at least one sound a side")
    reference, generated = reference.double().flatten().sort().values, generated.double().flatten().sort().values
    places = torch.cat([reference, generated]).sort().values
    shares = [torch.searchsorted(values, places[:-1], right=True) / len(values) for values in (reference, generated)]
    return ((shares[0] - shares[1]).abs() * places.diff()).sum().item()


def _share_above(audio: Tensor, frequency: float) -> Tensor:
    """Energy above a frequency (in cycles per sample) in dB of all, as [N]."""
    power = torch.fft.rfft(audio).abs().square().sum(dim=1)
    above = torch.fft.rfftfreq(audio.shape[-1], device=audio.device) > frequency
    share = power[:, above].sum(dim=1) / power.sum(dim=1).clamp(min=torch.finfo(audio.dtype).tiny)
    return decibels(share.sqrt())
