"""What was asked for, checked before anything is read: one clear line for what cannot be meant."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from tiny_audio_diffusion import audio
from tiny_audio_diffusion.command import ROOT
from tiny_audio_diffusion.generation.request import LONGEST_SECONDS, check_seed, check_switch, check_whole, folder

JSON, PAGE, SOUNDS = "report.json", "report.html", "sounds"
COUNT = 200  # sounds of a model, unless told otherwise
# What only a model that makes the sounds needs; with null in it, the model's own.
OF_A_MODEL = ("count", "steps", "sampler", "ladder", "threshold", "batch_size", "device", "precision")
LEAST = {"seed": 0, "most": 8, "shown": 0}


def check(config: DictConfig) -> None:
    """Raises ValueError, in one line, for the first thing that cannot be meant."""
    if not config.reference:
        raise ValueError("reference= needs a folder of real sounds, best those that the model was trained on")
    if bool(config.generated) == bool(config.ckpt):
        advice = "not both" if config.ckpt else "generated=<folder> or ckpt=last"
        raise ValueError(f"give the sounds to judge, generated=, or the model that makes them, ckpt=: {advice}")
    if not config.out:
        raise ValueError("out= needs a folder")
    given = [name for name in OF_A_MODEL if config.get(name) is not None]
    if not config.ckpt and given:
        raise ValueError(f"{given[0].replace('ladder', 'schedule')}= is for ckpt=, which makes the sounds first")
    _check_numbers(config)
    for name in ("overwrite", "allow_pickle"):
        check_switch(name, config[name])
    if config.trim_silence is not None:
        check_switch("trim_silence", config.trim_silence)


def _check_numbers(config: DictConfig) -> None:
    for name, least in LEAST.items():
        check_whole(name, config[name], least=least)
    check_seed(config.seed)
    for name in ("seconds", "loudness", "peak"):
        value = config[name]
        if value is not None and type(value) not in (int, float):
            raise ValueError(f"{name} must be a number, not {value}")
    if config.seconds is not None and not 0.05 <= config.seconds <= LONGEST_SECONDS:
        raise ValueError(f"seconds must lie between 0.05 and {LONGEST_SECONDS}, not {config.seconds}")


def folders(value: Any) -> list[str]:
    """One folder or a list of them."""
    return [str(each) for each in value] if isinstance(value, ListConfig | list) else [str(value)]


def open_folder(config: DictConfig) -> Path:
    """Where the report goes: made and tried now, so that a place that cannot be written is told before the work."""
    path = folder(config)
    earlier = [name for name in (JSON, PAGE) if (path / name).exists()]
    if earlier and not config.overwrite:
        raise ValueError(f"{path.resolve()} already holds a report: choose another out=, or overwrite=true")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"out={path} cannot be made: {error.strerror}") from error
    audio.write_whole(path / ".writable", b"")
    (path / ".writable").unlink()
    return path


def generation(config: DictConfig, sounds: Path) -> DictConfig:
    """The settings of generate.py that make the sounds of a model, at their true level, into a folder."""
    usual: Any = OmegaConf.to_container(OmegaConf.load(ROOT / "configs" / "generate.yaml"), resolve=False)
    usual = {name: value for name, value in usual.items() if name not in ("defaults", "hydra", "out", "logs_dir")}
    asked = {name: config[name] for name in OF_A_MODEL if config.get(name) is not None}
    own = {name: config[name] for name in ("ckpt", "seed", "overwrite", "allow_pickle", "logs_dir")}
    parts = {"sampler": None, "ladder": None}
    return OmegaConf.create({**usual, **parts, "count": COUNT, **own, **asked, "bits": 32, "out": str(sounds)})
