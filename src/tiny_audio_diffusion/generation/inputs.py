"""Sounds that people bring along: read, brought to the model's rate and channels, and told what was done to them."""

import math
import re
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import pad

from tiny_audio_diffusion import audio, edit
from tiny_audio_diffusion.generation.request import LONGEST_SECONDS
from tiny_audio_diffusion.pipeline import Pipeline

LONGEST = 16  # times the model's own length that it can work on in one piece
RANGE = r"\s*(\d+\.?\d*|\.\d+)\s*(-\s*(\d+\.?\d*|\.\d+)?\s*)?"
RANGES = re.compile(rf"{RANGE}(,{RANGE})*")


def longest_seconds(pipeline: Pipeline, task: str) -> float:
    """How long a sound a task takes."""
    if task == "remix":
        return float(LONGEST_SECONDS)
    return LONGEST * pipeline.length / pipeline.sampling_rate


def read_sound(
    path: str | PathLike[str], pipeline: Pipeline, *, task: str = "vary", seconds: float | None = None
) -> tuple[Tensor, list[str]]:
    """A sound [C, L] as the model takes it, cut or filled up to `seconds` where given, and what was done to it."""
    path = Path(path).expanduser()
    most = longest_seconds(pipeline, task)
    name = audio.printable(path.name)
    if not path.is_file():
        raise FileNotFoundError(f"there is no sound {path}")
    rate = audio.read(path, frames=1)[1]
    wanted = most if seconds is None else min(seconds, most)
    sound, _ = audio.read(path, frames=math.ceil(wanted * rate) + 1)
    if sound.shape[-1] == 0:
        raise ValueError(f"{name} holds no sound: it is empty")
    if not sound.isfinite().all():
        raise ValueError(f"{name} holds values that are no numbers: it is damaged")
    if (seconds is not None and seconds > most) or (seconds is None and sound.shape[-1] > most * rate):
        advice = "cut it with seconds=" if task == "remix" else "cut it with seconds=, or use task=remix"
        raise ValueError(f"{name} is too long: task={task} takes {most:.1f} seconds of this model's sounds; {advice}")
    notes = []
    if rate != pipeline.sampling_rate:
        notes.append(f"{rate} Hz to {pipeline.sampling_rate} Hz")
    if len(sound) != pipeline.channels:
        notes.append(f"{len(sound)} channel{'s' * (len(sound) > 1)} to {pipeline.channels}")
    sound = audio.to_channels(sound, pipeline.channels)
    sound = audio.resample(sound, rate, pipeline.sampling_rate)
    if seconds is not None:
        length = round(seconds * pipeline.sampling_rate)
        notes += ["cut"] if sound.shape[-1] > length else ["filled up with silence"] if sound.shape[-1] < length else []
        sound = pad(sound[:, :length], (0, max(0, length - sound.shape[-1])))
    return sound.contiguous(), [f"{name}: {', '.join(notes)}"] if notes else []


def read_keep(keep: str | float, sound: Tensor, sampling_rate: int) -> Tensor:
    """True [L] where a sound is to be kept: seconds from its beginning, ranges of them, or a file that is loud there.

    `0.2` keeps the first 0.2 seconds, `0-0.1,0.3-` all but what lies between 0.1 and 0.3.
    """
    length = sound.shape[-1]
    text = str(keep)
    if not RANGES.fullmatch(text):
        return _read_mask(Path(text).expanduser(), length, sampling_rate)
    ranges = []
    for part in text.split(","):
        begin, dash, end = (piece.strip() for piece in part.partition("-"))
        ranges.append((float(begin), float(end) if end else math.inf) if dash else (0.0, float(begin)))
    return edit.keep_ranges(ranges, length=length, sampling_rate=sampling_rate)


def _read_mask(path: Path, length: int, sampling_rate: int) -> Tensor:
    if not path.exists():
        raise ValueError(
            f"keep={path} is neither seconds (0.2), ranges of seconds (0-0.1,0.3-) nor a file that is there"
        )
    mask, rate = audio.read(path)
    loud = (mask.abs() >= 0.5).any(dim=0)
    if len(loud) / rate > (length + 1) / sampling_rate:
        raise ValueError(
            f"the mask {path.name} lasts {len(loud) / rate:.3f} seconds, longer than the sound "
            f"with {length / sampling_rate:.3f}"
        )
    places = (torch.arange(length, dtype=torch.float64) * rate / sampling_rate).long()
    return pad(loud, (0, max(0, int(places[-1]) + 1 - len(loud))))[places]
