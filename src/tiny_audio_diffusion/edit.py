"""Edits of waveforms that need no model: which parts to keep, and seams that cannot be heard."""

from collections.abc import Sequence

import torch
from torch import Tensor

SEAM_SECONDS = 0.02  # on either side of a seam, where loudness is compared
RAMP_SECONDS = 0.005  # that a correction takes to come in
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


def join(before: Tensor, after: Tensor, *, sampling_rate: int, backward: bool = False) -> Tensor:
    """`after` [N, C, L] behind `before` (in front of it if `backward`), as loud at the seam as `before` is there.

    `before` stays as it is. The level of `after` is corrected by what the levels next to the seam differ, within
    bounds, and comes in over a few milliseconds.
    """
    if backward:
        return join(before.flip(-1), after.flip(-1), sampling_rate=sampling_rate).flip(-1)
    near = max(1, round(SEAM_SECONDS * sampling_rate))
    level, new = _level(before[..., -near:]), _level(after[..., :near])  # [N, 1, 1]
    most = 10 ** (MOST_DECIBELS / 20)
    gain = torch.where((level > SILENCE) & (new > SILENCE), (level / new).clamp(1 / most, most), 1.0)
    ramp = (torch.arange(after.shape[-1]) / max(1, round(RAMP_SECONDS * sampling_rate))).clamp(max=1.0)
    return torch.cat([before, after * (1 + (gain - 1) * ramp)], dim=-1)


def _level(sounds: Tensor) -> Tensor:
    return sounds.square().mean(dim=(1, 2), keepdim=True).sqrt()
