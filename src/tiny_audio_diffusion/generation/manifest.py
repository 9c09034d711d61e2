"""What made a folder of sounds, written so that the same command can make them again, bit for bit."""

import json
import logging
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

import tiny_audio_diffusion
from tiny_audio_diffusion import settings
from tiny_audio_diffusion.generation import request
from tiny_audio_diffusion.pipeline import Pipeline

# What a manifest decides; the rest (where the files are, where the sounds go, what runs them) is said anew.
DECIDED = (
    "task", "count", "seed", "steps", "sampler", "ladder", "threshold", "seconds", "strength", "rule", "keep",
    "overlap", "match", "repeats", "spans", "direction", "batch_size", "precision", "level", "format", "bits", "all",
)  # fmt: skip
PLACES = ("ckpt", "input", "second")

logger = logging.getLogger(__name__)


def describe(config: DictConfig, path: Path, hashes: dict[str, str], pipeline: Pipeline) -> dict[str, Any]:
    """Everything that the sounds follow from."""
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    decided = {name: values[name] for name in DECIDED if values.get(name) is not None}
    places = {name: str(Path(str(values[name])).expanduser().resolve()) for name in request.files(config)}
    seeds = {name: values[name] for name in ("input", "second") if name not in places and values[name] is not None}
    return {
        "settings": decided | {"steps": pipeline.steps, "count": request.count_of(config)} | seeds,
        "files": {"ckpt": str(path)} | places,
        "sha256": hashes,
        "evaluations": pipeline.evaluations,
        "sampler": type(pipeline.sampler).__name__,
        "ladder": type(pipeline.ladder).__name__,
        "sampling_rate": pipeline.sampling_rate,
        "machine": _machine(pipeline),
    }


def recalled(config: DictConfig) -> tuple[DictConfig, dict[str, Any]]:
    """The configuration with what a manifest decides, and the manifest; unchanged where none is given."""
    if not config.manifest:
        return config, {}
    path = Path(config.manifest).expanduser()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        decided, files = content["settings"], content["files"]
        for each in (decided, files, content["sha256"], content["machine"]):
            if not isinstance(each, dict):
                raise TypeError("no names in it")
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no manifest {path}") from None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ValueError(f"{path} is no manifest of this project's sounds") from error
    strangers = sorted(set(decided) - {*DECIDED, *PLACES})
    if strangers:
        raise ValueError(f"{path} decides what this version does not know: {', '.join(strangers)}")
    for name, part in (("sampler", "sampler"), ("ladder", "schedule")):
        if name in decided:
            settings.check_part(decided[name], name, part, path)
    values = dict(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
    values |= {name: None for name in DECIDED if values.get(name) is None} | decided
    for name in PLACES:
        if name in files and values.get(name) in (None, "", "last" if name == "ckpt" else None):
            values[name] = files[name]
    return OmegaConf.create(values), content


def check(hashes: dict[str, str], promised: dict[str, Any]) -> None:
    """Refuse other files than those that a manifest was made with; say what may change a last bit."""
    if not promised:
        return
    for name, found in hashes.items():
        if promised["sha256"].get(name) != found:
            where = promised["files"].get(name)
            raise ValueError(f"{name}= is another file than the manifest's, which was {where}: give {name}=<that file>")
    made_on, here = promised["machine"], {"torch": torch.__version__, "threads": torch.get_num_threads()}
    for name, value in here.items():
        if made_on.get(name) != value:
            logger.warning("made with %s %s, here it is %s: last bits may differ", name, made_on.get(name), value)


def _machine(pipeline: Pipeline) -> dict[str, Any]:
    place = pipeline.representation.level.device
    return {
        "version": tiny_audio_diffusion.__version__,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(place) if place.type == "cuda" else place.type,
        "threads": torch.get_num_threads(),
    }
