"""Figures of one sound's signal: level, silence, noise in the tail."""

import torch
from torch import Tensor

SILENCE = -120.0  # dB: below the last bit of a 16-bit file, reported for digital silence too


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
