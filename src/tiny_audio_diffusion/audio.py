"""Sound files and tensors: read, write, resample, change channels. Audio is float32 [channels, length]."""

import io
import logging
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio.functional
from torch import Tensor

SILENCE = 10 ** (-60 / 20)  # a peak below −60 dBFS counts as silence
BLOCK = 1 << 16  # samples of all channels per read: a header that claims 4 GB must not allocate 4 GB
CEILING = 10 ** (-0.1 / 20)  # of sounds that go beyond full scale
LARGEST_FACTOR = 1000
# Seeking lands beside the mark in the last page of a Vorbis file, and on broken frames in an MP3.
INEXACT_SEEKING = ("VORBIS", "MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III")
RUN_UP_SECONDS = 10  # longer than a page
SIDE = 0.5**0.5  # −3 dB
# What each loudspeaker gives to left and right (ITU-R BS.775); the channel of deep effects is left out.
DOWNMIX = {
    "L": (1.0, 0.0),
    "R": (0.0, 1.0),
    "C": (SIDE, SIDE),
    "LFE": (0.0, 0.0),
    "Ls": (SIDE, 0.0),
    "Rs": (0.0, SIDE),
    "Lb": (SIDE, 0.0),
    "Rb": (0.0, SIDE),
}
LAYOUTS = {3: "L R C", 4: "L R Ls Rs", 5: "L R C Ls Rs", 6: "L R C LFE Ls Rs", 8: "L R C LFE Lb Rb Ls Rs"}

logger = logging.getLogger(__name__)


class SequentialFile(soundfile.SoundFile):
    """Reads on where the last read ended; soundfile itself seeks there after every read, which breaks MP3 frames."""

    def seekable(self) -> bool:
        return False


@contextmanager
def open_sound(path: str | os.PathLike[str]) -> Iterator[soundfile.SoundFile]:
    """Open a sound whatever bytes its name holds; a pipe or a device is refused with `ValueError`, not waited for."""
    # Windows has neither flag's counterpart: no pipes among the files, and text mode unless told.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError(f"{printable(path)} is not a regular file")
    finally:
        os.close(descriptor)
    # By name and not by descriptor: an MP3 that begins with padding is known by its ending alone, and Windows hands no
    # descriptor on to libsndfile.
    name = os.fspath(path) if os.name == "nt" else os.fsencode(path)
    with SequentialFile(name) as file:
        yield file


def read(path: str | os.PathLike[str], *, start: int = 0, frames: int | None = None) -> tuple[Tensor, int]:
    """Return what a file really holds from `start` on (at most `frames` of it) and its sampling rate.

    `ValueError` names a bad file; one that ends before `start` is empty.
    """
    try:
        with open_sound(path) as file:
            found = list(blocks(file, frames)) if move(file, start) else []
            sampling_rate, channels = file.samplerate, file.channels
    except soundfile.LibsndfileError as error:
        raise ValueError(f"cannot read {printable(path)}: {error.error_string}") from error
    except OSError as error:
        raise ValueError(f"cannot read {printable(path)}: {error.strerror}") from error
    samples = np.concatenate(found) if found else np.zeros((0, channels), dtype=np.float32)
    return torch.from_numpy(samples.T.copy()), sampling_rate


def blocks(file: soundfile.SoundFile, frames: int | None = None) -> Iterator[np.ndarray]:
    """Yield float32 [frames, channels] from where the file stands to its end, or `frames` in all."""
    most = max(BLOCK // file.channels, 1)
    left = math.inf if frames is None else frames
    while left > 0 and len(block := file.read(int(min(most, left)), dtype="float32", always_2d=True)):
        left -= len(block)
        yield block


def move(file: soundfile.SoundFile, start: int) -> bool:
    """Stand at a frame of an open file; `False` where there is no such frame."""
    run_up = RUN_UP_SECONDS * file.samplerate if file.subtype in INEXACT_SEEKING else 0
    place = max(start - run_up, 0)
    try:
        if place:
            file.seek(place)
    except soundfile.LibsndfileError:  # beyond the end, wherever the header says that it is
        return False
    for _ in blocks(file, start - place):
        pass
    return True


def printable(path: str | os.PathLike[str]) -> str:
    """A path that can be printed and stored even when its bytes are not Unicode."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def write(path: str | os.PathLike[str], audio: Tensor, sampling_rate: int, *, subtype: str = "PCM_24") -> float:
    """Write audio [channels, length] at its own level, whole or not at all, and return its peak.

    What is beyond full scale is limited, aloud; FLOAT files hold it as it is.
    """
    path = Path(path)
    samples = audio.detach().to("cpu", torch.float32)
    assert samples.ndim == 2, f"audio is [channels, length], not {list(samples.shape)}"
    if not torch.isfinite(samples).all():
        raise ValueError(f"not writing {path}: the audio holds NaN or infinite values")
    peak = samples.abs().max().item() if samples.numel() else 0.0
    if peak > 1 and subtype != "FLOAT":
        logger.warning(f"{path.name}: peak {peak:.3f} limited to {CEILING:.3f}")
        samples = samples.clamp(-CEILING, CEILING)
    content = io.BytesIO()
    soundfile.write(content, samples.T.numpy(), sampling_rate, subtype=subtype, format=path.suffix[1:].upper())
    write_whole(path, content.getvalue())
    return peak


def write_whole(path: Path, content: bytes) -> None:
    """Write beside the place, then rename: a name never stands for half a file."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OSError(f"{path} could not be written: {error.strerror or error}") from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


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
    """Bring [any, L] to mono or stereo.

    Mono → stereo duplicates. Stereo → mono averages. A surround layout goes to stereo with its centre and surrounds at
    −3 dB, any other count keeps its first two channels; both go on to mono as stereo does.
    """
    if channels not in (1, 2):
        raise ValueError(f"channels must be 1 or 2, not {channels}")
    if len(audio) in LAYOUTS:
        weights = torch.tensor([DOWNMIX[name] for name in LAYOUTS[len(audio)].split()], dtype=audio.dtype)  # [any, 2]
        audio = weights.T @ audio
    if channels == 1:
        return audio[:2].mean(dim=0, keepdim=True)
    return audio.expand(2, -1) if len(audio) == 1 else audio[:2]
