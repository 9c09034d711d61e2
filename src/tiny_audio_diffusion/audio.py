"""Sound files and tensors: read, write, resample, change channels. Audio is float32 [channels, length]."""

import logging
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio.functional
from torch import Tensor

SILENCE = 10 ** (-60 / 20)  # a peak below −60 dBFS counts as silence
BLOCK = 1 << 16  # frames per read: a header that claims 4 GB must not allocate 4 GB
CEILING = 10 ** (-0.1 / 20)  # of sounds that go beyond full scale
LARGEST_FACTOR = 1000

logger = logging.getLogger(__name__)


def read(path: str | os.PathLike[str], *, frames: int | None = None) -> tuple[Tensor, int]:
    """Return what a file really holds (at most `frames` of it) and its sampling rate; `ValueError` names a bad file."""
    blocks, count = [], 0
    try:
        with soundfile.SoundFile(os.fspath(path)) as file:
            while frames is None or count < frames:
                wanted = BLOCK if frames is None else min(BLOCK, frames - count)
                block = file.read(wanted, dtype="float32", always_2d=True)  # [frames, channels]
                if not len(block):
                    break
                blocks.append(block)
                count += len(block)
            sampling_rate, channels = file.samplerate, file.channels
    except soundfile.LibsndfileError as error:
        raise ValueError(f"cannot read {path}: {error.error_string}") from error
    samples = np.concatenate(blocks) if blocks else np.zeros((0, channels), dtype=np.float32)
    return torch.from_numpy(samples.T.copy()), sampling_rate


def write(path: str | os.PathLike[str], audio: Tensor, sampling_rate: int, *, subtype: str = "PCM_24") -> float:
    """Write audio [channels, length] at its own level and return its peak; beyond full scale it is limited, aloud."""
    samples = audio.detach().to("cpu", torch.float32)
    assert samples.ndim == 2, f"audio is [channels, length], not {list(samples.shape)}"
    if not torch.isfinite(samples).all():
        raise ValueError(f"not writing {path}: the audio holds NaN or infinite values")
    peak = samples.abs().max().item() if samples.numel() else 0.0
    if peak > 1:
        logger.warning(f"{Path(path).name}: peak {peak:.3f} limited to {CEILING:.3f}")
        samples = samples.clamp(-CEILING, CEILING)
    soundfile.write(os.fspath(path), samples.T.numpy(), sampling_rate, subtype=subtype)
    return peak


def write_all(folder: str | os.PathLike[str], sounds: Tensor, sampling_rate: int) -> None:
    """Write sounds [N, channels, length] as sound_000.wav, sound_001.wav, … into a folder, made where it is missing."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for index, sound in enumerate(sounds):
        write(Path(folder) / f"sound_{index:03d}.wav", sound, sampling_rate)


def resample(audio: Tensor, sampling_rate: int, new_sampling_rate: int) -> Tensor:
    """Band-limited resampling along the last axis."""
    if sampling_rate == new_sampling_rate:
        return audio
    # The filter bank grows with the reduced ratio: 44101 → 44100 exactly would take 8 GB. Factors of at most 1000
    # are exact for all common rates and never off by more than 0.05 %, which is less than a cent.
    low, high = sorted((sampling_rate, new_sampling_rate))
    ratio = Fraction(low, high).limit_denominator(LARGEST_FACTOR)
    factors = (ratio.numerator, ratio.denominator)
    old, new = factors if sampling_rate == low else factors[::-1]
    return torchaudio.functional.resample(audio, old, new)


def to_channels(audio: Tensor, channels: int) -> Tensor:
    """Mono → stereo duplicates, anything → mono averages, more than two → stereo keeps the first two."""
    if channels not in (1, 2):
        raise ValueError(f"channels must be 1 or 2, not {channels}")
    if channels == 1:
        return audio.mean(dim=0, keepdim=True)
    return audio.expand(2, -1) if len(audio) == 1 else audio[:2]
