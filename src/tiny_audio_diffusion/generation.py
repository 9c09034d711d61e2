"""Sounds from a checkpoint into a folder: WAV files, a contact sheet and a manifest that says how they were made."""

import json
import time
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from tiny_audio_diffusion import audio, checkpoint, plot


def generate(config: DictConfig) -> Path:
    """Write `count` sounds as configured; returns the folder."""
    if config.count < 1:
        raise ValueError(f"count must be at least 1, not {config.count}")
    path = checkpoint.find(config.ckpt, logs=config.logs_dir)
    folder = Path(config.out)
    if not config.overwrite and list(folder.glob("*.wav")):
        raise ValueError(f"{folder.resolve()} already holds sounds: choose another out=, or overwrite=true")
    changes = {name: config.get(name) for name in ("sampler", "ladder", "steps", "threshold")}
    given = {name: value for name, value in changes.items() if value is not None}
    pipeline = checkpoint.load_pipeline(path, changes=OmegaConf.create(given)).to(_device(config.device))
    length = None if config.seconds is None else round(config.seconds * pipeline.sampling_rate)
    if length is not None and length < 1:
        raise ValueError(f"seconds must be positive, not {config.seconds}")
    print(f"{config.count} sounds from {path}, {pipeline.evaluations} network evaluations each")
    started = time.monotonic()
    with torch.inference_mode():
        sounds = pipeline.generate(
            config.count, seed=config.seed, length=length, batch_size=config.batch_size, progress=True
        )
    folder.mkdir(parents=True, exist_ok=True)
    for index, sound in enumerate(sounds):
        audio.write(folder / f"sound_{index:03d}.wav", sound, pipeline.sampling_rate)
    plot.contact_sheet(sounds, pipeline.sampling_rate, folder / "sheet.png")
    manifest = {
        "checkpoint": str(path),
        "count": config.count,
        "seed": config.seed,
        "steps": pipeline.steps,
        "evaluations": pipeline.evaluations,
        "sampler": type(pipeline.sampler).__name__,
        "ladder": type(pipeline.ladder).__name__,
        "seconds_taken": round(time.monotonic() - started, 2),
        "peaks": [round(peak, 4) for peak in sounds.abs().amax((1, 2)).tolist()],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    print(f"sounds, sheet.png and manifest.json are in {folder.resolve()}")
    return folder


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device={name} cannot be used here: {error}; choose auto, cpu or cuda") from error
