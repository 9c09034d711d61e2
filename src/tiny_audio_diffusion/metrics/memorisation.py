"""Which generated sounds are copies of training sounds, whatever their gain, their polarity and where they begin.

It sees waveforms: a copy that was filtered, stretched or retuned passes. What counts as a copy is read off real sounds
that were not trained on, because the hits of one drum are alike as well.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tiny_audio_diffusion.metrics.features import mid_and_side

LARGEST_SHIFT_SECONDS = 0.03
CANDIDATES = 3  # training sounds for each, whose correlation is looked up between the samples as well
FINER = 8  # places from one sample to the next there
CHUNK = 128  # sounds of either side at a time
MEMORY = 1 << 22  # correlations at a time: they should stay in the processor's cache

# Of real drums the most alike leave −11 dB of their energy unexplained, and the tail of that falls by a factor e every
# 2 dB. Of n sounds the most alike is one in n; a copy is what one in a thousand would be.
TAIL_DECIBELS, ONE_IN = 2.0, 1000
SHARED = 0.25  # of a sound's energy, at least, has to lie where the other one is too
SMALLEST_MARGIN = 3.0  # dB, however many real sounds there are
LOWEST, HIGHEST = 0.9, 0.99  # of a threshold: −7 dB unexplained is no copy, −17 dB is one


@dataclass(frozen=True)
class Nearest:
    """For each sound [N]: its similarity to the nearest training sound, which that is, how much later it begins."""

    similarity: Tensor
    index: Tensor
    shift_seconds: Tensor


@torch.no_grad()
def nearest_sounds(sounds: Tensor, training: Tensor, sampling_rate: int) -> Nearest:
    """The most similar of the training sounds [M, C, L] for each of the sounds [N, C, L].

    Similarity is the largest normalised cross-correlation over shifts of up to 0.03 s, from 0 to 1; 1 − similarity² is
    the share of energy that the one leaves unexplained of the other, where both are: a copy whose first samples were
    cut off is one. Stereo sounds are compared as mid and side, each
    in either polarity, so that a copy with its channels swapped is a copy too.
    """
    _check(sounds, training)
    reach = round(LARGEST_SHIFT_SECONDS * sampling_rate)
    found = [_nearest(part, training, reach) for part in sounds.split(CHUNK)]
    similarity, index, place = (torch.cat(values) for values in zip(*found, strict=True))
    return Nearest(similarity.clamp(max=1), index, (reach - place) / sampling_rate)


def threshold(baseline: Tensor) -> float:
    """The similarity above which a sound counts as a copy, from that of held-out real sounds to the same training set.

    The energy that the most similar held-out sound leaves unexplained, less 3 dB, and more the fewer sounds there are
    (14 dB for one alone). Held-out sounds that are copies themselves, as folders have them, do not raise it.
    """
    honest = baseline[baseline < HIGHEST].double()
    if not len(honest):
        return HIGHEST
    margin = max(SMALLEST_MARGIN, TAIL_DECIBELS * math.log(ONE_IN / len(baseline)))
    unexplained = (1 - honest.max().item() ** 2) * 10 ** (-margin / 10)
    return min(max(math.sqrt(1 - unexplained), LOWEST), HIGHEST)


def is_copy(similarity: Tensor, baseline: Tensor) -> Tensor:
    """Whether each sound counts as a copy, as bool [N]; where held-out sounds do too, the folder holds duplicates."""
    return similarity > threshold(baseline)


def _check(sounds: Tensor, training: Tensor) -> None:
    if sounds.ndim != 3 or not sounds.numel() or not training.numel() or sounds.shape[1:] != training.shape[1:]:
        raise ValueError(
            f"sounds and training sounds are [sounds, channels, samples] of the same channels and length, not "
            f"{list(sounds.shape)} and {list(training.shape)}"
        )


def _nearest(sounds: Tensor, training: Tensor, reach: int) -> tuple[Tensor, Tensor, Tensor]:
    """Similarity, index and place of the best correlation among shifts of −reach to reach samples, each [N]."""
    sounds = _normalised(sounds)
    short = _spectra(sounds, reach, before=0).conj().resolve_conj()
    longer = (_spectra(_normalised(part), reach, before=reach) for part in training.split(CHUNK))
    similarities = torch.cat([_correlations(short, other, reach) for other in longer], dim=1)
    candidates = similarities.topk(min(CANDIDATES, len(training)), dim=1).indices
    finer = [_closely(sounds, short, _normalised(training[column]), reach) for column in candidates.unbind(dim=1)]
    similarity, best = torch.stack([values for values, _ in finer], dim=1).max(dim=1, keepdim=True)
    place = torch.stack([places for _, places in finer], dim=1).gather(1, best)
    return similarity[:, 0], candidates.gather(1, best)[:, 0], place[:, 0]


def _normalised(sounds: Tensor) -> Tensor:
    audio = mid_and_side(sounds.float())
    return audio / torch.linalg.vector_norm(audio, dim=(1, 2), keepdim=True).clamp(min=1e-12)


def _size(reach: int) -> int:
    """Samples of a transform: a power of two with room for a block beside the reach at both ends."""
    return 1 << (2 * reach + max(reach // 2, 16)).bit_length()


def _spectra(audio: Tensor, reach: int, *, before: int) -> Tensor:
    """Spectra of blocks of size − 2·reach samples, and of `before` samples on both sides, [C, F, N, blocks].

    Shifts are few against the length. So sounds are cut into blocks, each of which meets a stretch of the other sound
    that is longer by the reach at both ends; the products of spectra add up before the one short inverse transform.
    """
    size = _size(reach)
    block = size - 2 * reach
    count = -(-audio.shape[-1] // block)
    audio = torch.nn.functional.pad(audio, (before, count * block + before - audio.shape[-1]))
    return torch.fft.rfft(audio.unfold(-1, block + 2 * before, block), n=size).permute(1, 3, 0, 2).contiguous()


def _correlations(short: Tensor, other: Tensor, reach: int) -> Tensor:
    """The best correlation of each with each at whole samples, as [N, M]."""
    size, rows = _size(reach), []
    other = other.transpose(2, 3).contiguous()  # [C, F, blocks, M]
    for some in short.split(max(1, MEMORY // (size * other.shape[3])), dim=2):
        channels = [
            torch.fft.irfft((one @ two).permute(1, 2, 0).contiguous(), n=size)[..., : 2 * reach + 1].abs()
            for one, two in zip(some, other, strict=True)
        ]
        rows.append(torch.stack(channels).sum(dim=0).amax(dim=2))
    return torch.cat(rows)


def _closely(sounds: Tensor, short: Tensor, partners: Tensor, reach: int) -> tuple[Tensor, Tensor]:
    """The best correlation of each sound with its partner and its place, both [N], looked at in two more ways.

    Between the samples, and as a share of the energy where both sounds are: a copy may have lost its first samples.
    """
    size = _size(reach)
    cross = (short * _spectra(partners, reach, before=reach)).sum(dim=3).transpose(1, 2)  # [C, N, F]
    fine = torch.fft.irfft(cross, n=FINER * size)[..., : FINER * 2 * reach + 1].abs().sum(dim=0) * FINER
    shared = _kept(sounds, reach).flip(1) * _kept(partners, reach)  # [N, 2·reach + 1]
    whole = (torch.arange(fine.shape[1], device=fine.device) + FINER // 2) // FINER
    similarity, place = (fine / shared.sqrt()[:, whole]).max(dim=1)
    return similarity, place / FINER


def _kept(audio: Tensor, reach: int) -> Tensor:
    """The energy that stays within the length when a sound moves −reach to reach samples ahead, at least SHARED.

    Moves beyond a third of the reach count as that: without all of its attack, a kick is like many others.
    """
    length = audio.shape[-1]
    energy = torch.nn.functional.pad(audio.double().square().sum(dim=1).cumsum(dim=1), (1, 0))  # before each sample
    shift = torch.arange(-reach, reach + 1, device=audio.device).clamp(-reach // 3, reach // 3)
    last, first = (length + shift).clamp(0, length), shift.clamp(0, length)
    return (energy[:, last] - energy[:, first]).clamp(min=SHARED).float()
