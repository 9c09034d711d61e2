"""Sounds and sets of sounds that tests make themselves."""

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from tiny_audio_diffusion.data.augment import Augment
from tiny_audio_diffusion.data.datamodule import DataModule
from tiny_audio_diffusion.data.folder import SoundFolder
from tiny_audio_diffusion.data.transforms import Transforms

RATE = 44_100
LENGTH = 4_096


def hit(index: int = 0, *, sampling_rate: int = RATE, seconds: float = 0.08) -> np.ndarray:
    """A decaying tone, higher for higher numbers."""
    time = np.arange(round(seconds * sampling_rate)) / sampling_rate
    return 0.8 * np.cos(2 * np.pi * (200 + 40 * index) * time) * np.exp(-time * 40)


def make_sounds(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        soundfile.write(folder / f"hit_{index}.wav", hit(index), RATE)
    return folder


def make_transforms(**options: Any) -> Transforms:
    usual = {"sampling_rate": RATE, "length": LENGTH, "channels": 2, "trim_silence": False, "random_crop": False}
    return Transforms(**usual | options)


def make_augment(**options: Any) -> Augment:
    off = {
        "gain_decibels": 0, "polarity_probability": 0, "swap_probability": 0, "shift_seconds": 0, "pitch_semitones": 0,
    }  # fmt: skip
    return Augment(sampling_rate=RATE, **off | options)


def open_folder(path: Path | list[Path], **options: Any) -> SoundFolder:
    """A folder with the usual settings; options of SoundFolder, or transforms= and augment=."""
    usual = {
        "transforms": make_transforms(), "augment": make_augment(), "recursive": True, "labels": "folder",
        "memory_gigabytes": 1.0, "disk_gigabytes": 0.0, "cache_folder": None,
    }  # fmt: skip
    return SoundFolder(path, **usual | options)


def make_datamodule(dataset: SoundFolder, **options: Any) -> DataModule:
    usual = {
        "batch_size": 1, "seed": 0, "num_workers": "auto", "balance": False, "on_error": "raise",
        "validation_fraction": 0.1, "validation_count": 64,
    }  # fmt: skip
    return DataModule(dataset, **usual | options)
