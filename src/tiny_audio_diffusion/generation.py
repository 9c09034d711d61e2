"""Sounds from a checkpoint into a folder: WAV files, a contact sheet and a manifest that says how they were made."""

import json
import math
import re
import time
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from tiny_audio_diffusion import audio, checkpoint, plot
from tiny_audio_diffusion.pipeline import Pipeline


def generate(config: DictConfig) -> Path:
    """Write `count` sounds as configured; returns the folder."""
    _check(config)
    path, folder = checkpoint.find(config.ckpt, logs=config.logs_dir), _folder(config)
    changes = {name: config.get(name) for name in ("sampler", "ladder", "steps", "threshold")}
    given = {name: value for name, value in changes.items() if value is not None}
    device = _device(str(config.device))
    changed = OmegaConf.create(given)
    pipeline = checkpoint.load_pipeline(path, changes=changed, allow_pickle=config.allow_pickle).to(device)
    length = None if config.seconds is None else round(config.seconds * pipeline.sampling_rate)
    if length is not None and length < 1:
        raise ValueError(f"seconds={config.seconds} is less than one sample at {pipeline.sampling_rate} Hz")
    folder.mkdir(parents=True, exist_ok=True)  # before the work, so that a place that cannot be written is told now
    print(f"{config.count} sounds from {path}, {pipeline.evaluations} network evaluations each")
    started = time.monotonic()
    with torch.inference_mode():
        sounds = pipeline.generate(
            config.count, seed=config.seed, length=length, batch_size=config.batch_size, progress=True
        )
    for old in folder.glob("sound_*.wav"):
        old.unlink()
    audio.write_all(folder, sounds, pipeline.sampling_rate)
    plot.contact_sheet(sounds, pipeline.sampling_rate, folder / "sheet.png")
    manifest = _manifest(config, path, pipeline) | {
        "seconds_taken": round(time.monotonic() - started, 2),
        "peaks": [round(peak, 4) for peak in sounds.abs().amax((1, 2)).tolist()],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    print(f"sounds, sheet.png and manifest.json are in {folder.resolve()}")
    return folder


def _check(config: DictConfig) -> None:
    """Refuse what is not of the right kind, before anything is loaded."""
    for name, least in (("count", 1), ("seed", 0), ("steps", 1), ("batch_size", 1)):
        value = config[name]
        left_out = name == "steps" and value is None
        if not left_out and (type(value) is not int or value < least):
            raise ValueError(f"{name} must be a whole number, at least {least}, not {value}")
    numbers = (
        ("seconds", "a number above 0", lambda value: 0 < value < math.inf),
        ("threshold", "a number from 0 to 1", lambda value: 0 <= value <= 1),
    )
    for name, what, fits in numbers:
        value = config[name]
        if value is not None and not (type(value) in (int, float) and fits(value)):
            raise ValueError(f"{name} must be {what}, not {value}")
    for name in ("overwrite", "allow_pickle"):
        if type(config[name]) is not bool:
            raise ValueError(f"{name} must be true or false, not {config[name]}")
    for name, what in (("ckpt", "a checkpoint, a folder, last, or a model of the hub"), ("out", "a folder")):
        if not config[name]:
            raise ValueError(f"{name}= needs {what}")


def _folder(config: DictConfig) -> Path:
    folder = Path(config.out).expanduser()
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"out={folder} is a file: give a folder")
    if not config.overwrite and list(folder.glob("*.wav")):
        raise ValueError(f"{folder.resolve()} already holds sounds: choose another out=, or overwrite=true")
    return folder


def _device(name: str) -> torch.device:
    choices = "choose auto, cpu, cuda or mps"
    if name == "auto":
        found = ("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available()), ("cpu", True)
        return torch.device(next(device for device, usable in found if usable))
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
        raise ValueError(f"there is no device={name}: {choices}")
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device={name} cannot be used here ({reason}): {choices}") from error


def _manifest(config: DictConfig, path: Path, pipeline: Pipeline) -> dict[str, object]:
    return {
        "checkpoint": str(path),
        "count": config.count,
        "seed": config.seed,
        "steps": pipeline.steps,
        "evaluations": pipeline.evaluations,
        "sampler": type(pipeline.sampler).__name__,
        "ladder": type(pipeline.ladder).__name__,
    }
