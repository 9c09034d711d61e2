"""The command: a model, an input where the task needs one, the task, a folder of sounds."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from tiny_audio_diffusion import checkpoint, device
from tiny_audio_diffusion.generation import manifest, request
from tiny_audio_diffusion.generation.inputs import read_keep, read_sound
from tiny_audio_diffusion.generation.kit import Kit, digest
from tiny_audio_diffusion.pipeline import Pipeline
from tiny_audio_diffusion.watch import Bar


def generate(config: DictConfig) -> Path:
    """Write sounds as configured; returns the folder."""
    config, promised = manifest.recalled(config)
    request.check(config)
    folder = request.folder(config)
    path = checkpoint.find(config.ckpt, logs=config.logs_dir)
    pipeline = load(config, path)
    make = prepare(config, pipeline)
    hashes = {"ckpt": digest(path)} | {name: digest(Path(config[name]).expanduser()) for name in request.files(config)}
    manifest.check(hashes, promised)
    count = request.count_of(config)
    kit = Kit(
        folder,
        manifest.describe(config, path, hashes, pipeline),
        sampling_rate=pipeline.sampling_rate,
        seeds=[None if config.task in ("interpolate", "invert") else config.seed + place for place in range(count)],
        suffix=config.format,
        subtype=request.FORMATS[config.format, config.bits],
        level=config.level,
        joined=config.all,
        overwrite=config.overwrite,
    )
    kit.open()
    print(f"{config.task}: {count} sound{'s' * (count > 1)} from {path}, {pipeline.evaluations} evaluations each walk")
    started = time.monotonic()
    try:
        make(kit)
    finally:  # also after Ctrl-C or on a full disk: what is done stays, and the manifest says how much that is
        kit.close(seconds_taken=round(time.monotonic() - started, 2))
    print(f"sounds, sheet.png and manifest.json are in {folder.resolve()}")
    return folder


def load(config: DictConfig, path: Path) -> Pipeline:
    """The model, on its device, with the sampling that was asked for."""
    place = device.pick(str(config.device))
    precision = device.half_precision(str(config.precision), place)
    changes = {name: config.get(name) for name in ("sampler", "ladder", "steps", "threshold")}
    given = OmegaConf.create({name: value for name, value in changes.items() if value is not None})
    pipeline = checkpoint.load_pipeline(path, changes=given, allow_pickle=config.allow_pickle).to(place)
    pipeline.half_precision = precision
    return pipeline


def prepare(config: DictConfig, pipeline: Pipeline) -> Callable[[Kit], Tensor]:
    """The task with everything that it needs; called with a kit it fills it."""
    count = request.count_of(config)
    common = {"batch_size": config.batch_size, "seed": config.seed}
    options = {
        name: config[name] for name in ("repeats", "spans", "direction", "match", "rule") if config[name] is not None
    }
    if config.overlap is not None:
        options["overlap"] = round(config.overlap * pipeline.sampling_rate)
    if config.task == "generate":
        length = None if config.seconds is None else round(config.seconds * pipeline.sampling_rate)
        if length is not None and length < 1:
            raise ValueError(f"seconds={config.seconds} is less than one sample at {pipeline.sampling_rate} Hz")
        return lambda kit: pipeline.generate(count, length=length, watch=kit, **common)
    first = _end(config.input, config, pipeline)
    if config.task == "interpolate":
        second = _end(config.second, config, pipeline)
        return lambda kit: pipeline.interpolate(first, second, count, watch=kit, **common)
    assert isinstance(first, Tensor)
    if config.task == "invert":

        def there_and_back(kit: Kit) -> Tensor:
            noise = pipeline.invert(first, watch=Bar("into noise"))
            return pipeline.generate(1, noise=noise, length=first.shape[-1], watch=kit, **common)

        return there_and_back
    if config.task == "inpaint":
        options["keep"] = read_keep(config.keep, first, pipeline.sampling_rate)
    if config.task in ("vary", "remix"):
        options["strength"] = config.strength
    task = getattr(pipeline, config.task)
    return lambda kit: task(first, count, watch=kit, **options, **common)


def _end(value: Any, config: DictConfig, pipeline: Pipeline) -> Tensor | int:
    """An input: a sound, or the seed of one between which to interpolate."""
    if config.task == "interpolate" and request.is_seed(value):
        return int(value)
    sound, notes = read_sound(value, pipeline, task=config.task, seconds=config.seconds)
    if config.task in ("interpolate", "invert") and pipeline.sampler.is_random:
        raise ValueError(
            f"task={config.task} finds its way back with sampler=euler, heun or dpm2m, not with fresh noise on the way "
            f"({type(pipeline.sampler).__name__})"
        )
    for note in notes:
        print(note)
    return sound
