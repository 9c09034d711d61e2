"""Edits of waveforms that need no model: which parts to keep, and seams that cannot be heard."""

from collections.abc import Sequence

import torch
from torch import Tensor

SEAM_SECONDS = 0.01  # on either side of a seam, where loudness is compared
FADE_SECONDS = 0.1  # after which nothing is left of a correction: a sound that dies away goes on doing so
MOST_DECIBELS = 6.0  # of correction: a bigger difference is no error of level but another sound
SILENCE = 1e-3  # root mean square below which there is no level to match


def keep_ranges(ranges: Sequence[tuple[float, float]], *, length: int, sampling_rate: int) -> Tensor:
    """True [length] within ranges of seconds, from a beginning up to an end."""
    keep = torch.zeros(length, dtype=torch.bool)
    seconds = length / sampling_rate
    for begin, end in ranges:
        last = length if end == float("inf") else round(end * sampling_rate)
        if not 0 <= begin < end:
            raise ValueError(f"a range runs from one second to a later one, not from {begin:g} to {end:g}")
        if last > length or begin >= seconds:
            raise ValueError(f"the range {begin:g}-{end:g} lies outside the sound, which lasts {seconds:.3f} seconds")
        keep[round(begin * sampling_rate) : last] = True
    return keep


def match(before: Tensor, after: Tensor, *, sampling_rate: int) -> Tensor:
    """`after` [N, C, L] as loud where it begins as `before` is where it ends; the correction fades as it goes on."""
    near = max(1, round(SEAM_SECONDS * sampling_rate))
    level, new = _level(before[..., -near:]), _level(after[..., :near])  # [N, 1, 1]
    most = 10 ** (MOST_DECIBELS / 20)
    gain = torch.where((level > SILENCE) & (new > SILENCE), (level / new).clamp(1 / most, most), 1.0)
    fading = 1 - torch.arange(after.shape[-1]) / max(1, round(FADE_SECONDS * sampling_rate))
    return after * gain ** fading.clamp(min=0)


def _level(sounds: Tensor) -> Tensor:
    return sounds.square().mean(dim=(1, 2), keepdim=True).sqrt()
