"""What the page's fields hold, as the configuration that generate.py would have been given."""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from omegaconf import DictConfig, OmegaConf

from tiny_audio_diffusion.command import ROOT
from tiny_audio_diffusion.generation import request
from tiny_audio_diffusion.pipeline import Pipeline

TASKS = ("generate", "vary", "inpaint", "extend", "interpolate", "remix")
OWN = "as trained"  # the choice that leaves sampler or ladder to the model
PADS = 16
NEAR = 0.001  # seconds: a handle so near an end of the sound stands at the end


@dataclass(frozen=True)
class Limit:
    """What a slider reaches; the page's limits hold for those who send requests by hand too."""

    least: float
    most: float


LIMITS = {
    "count": Limit(1, PADS),
    "steps": Limit(1, 150),
    "seed": Limit(0, 2**31 - 1),
    "strength": Limit(0, 1),
    "seconds": Limit(0, 6),
    "spans": Limit(1, 6),
    "repeats": Limit(1, 10),
}
WHOLE = ("count", "steps", "seed", "spans", "repeats")


@functools.cache
def choices(group: str) -> dict[str, Any]:
    """The parts that configs/<group> offers for sampling, by name."""
    files = sorted((ROOT / "configs" / group).glob("*.yaml"))
    parts = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in files}
    drawn_only = {"log_normal", "logit_normal"}  # densities to draw from in training: no ladders
    return {name: part for name, part in parts.items() if name not in drawn_only}


def compose(task: str, values: Mapping[str, Any], *, common: Mapping[str, Any]) -> DictConfig:
    """The configuration of a task from the fields it uses, with what the server has set in `common`."""
    if task not in TASKS:
        raise ValueError(f"there is no task {task}: choose {', '.join(TASKS)}")
    config = OmegaConf.load(ROOT / "configs" / "generate.yaml")
    assert isinstance(config, DictConfig)
    del config["defaults"], config["hydra"]
    used = {"count", "seed", "steps", *request.TASKS[task].needs, *request.TASKS[task].takes} & set(values)
    if task == "generate" and values.get("seconds"):
        used.add("seconds")
    settings: dict[str, Any] = {name: _within(name, values[name]) for name in sorted(used)}
    for name, group in (("sampler", "sampler"), ("ladder", "schedule")):
        chosen = values.get(name) or OWN
        if chosen != OWN and chosen not in choices(group):
            raise ValueError(f"there is no {name} {chosen}: choose {', '.join((OWN, *choices(group)))}")
        settings[name] = None if chosen == OWN else choices(group)[chosen]
    places = {"task": task, "out": "kit", "logs_dir": ""}
    whole = {str(name): value for name, value in config.items_ex(resolve=False)} | places | settings | dict(common)
    config = OmegaConf.create(whole)
    _check_inputs(config)
    return config


def gap(begin: Any, end: Any, seconds: float) -> str:
    """The `keep=` that leaves what lies between two handles to be made."""
    first, last = sorted((_number("the gap", begin), _number("the gap", end)))
    first, last = max(0.0, first), min(seconds, last)
    if last - first < NEAR:
        raise ValueError("the gap has no length: draw it over the part that is to be made anew")
    kept = [f"0-{first:.4f}"] if first >= NEAR else []
    kept += [f"{last:.4f}-"] if last <= seconds - NEAR else []
    if not kept:
        raise ValueError("the gap is the whole sound: leave a part of it to be kept")
    return ",".join(kept)


def sampling(pipeline: Pipeline, config: DictConfig) -> Pipeline:
    """The model with the sampling that was asked for."""
    from hydra.utils import instantiate

    return pipeline.using(
        sampler=None if config.sampler is None else instantiate(config.sampler),
        ladder=None if config.ladder is None else instantiate(config.ladder),
        steps=config.steps,
    )


def _check_inputs(config: DictConfig) -> None:
    """Say what is missing in the page's words; the rest is the command's to say."""
    for name, what in (("input", "upload or record a sound first"), ("second", "the second sound is missing")):
        if name in request.TASKS[config.task].needs and not config[name]:
            raise ValueError(what)
        if config[name] and not request.is_seed(config[name]) and not Path(config[name]).is_file():
            raise ValueError("the sound is no longer here: upload it again")


def _within(name: str, value: Any) -> Any:
    if name not in LIMITS:
        return value
    number, limit = _number(name, value), LIMITS[name]
    if not limit.least <= number <= limit.most or (name in WHOLE and number != round(number)):
        kind = "a whole number" if name in WHOLE else "a number"
        raise ValueError(f"{name} is {kind} from {limit.least:g} to {limit.most:g}, not {value}")
    return round(number) if name in WHOLE else float(number)


def _number(name: str, value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{name} has to be a number")
    return float(value)
