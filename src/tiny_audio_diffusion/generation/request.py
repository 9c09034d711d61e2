"""What was asked for, checked before anything is loaded: one clear line for what cannot be meant."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from tiny_audio_diffusion.device import PRECISIONS
from tiny_audio_diffusion.pipeline import DIRECTIONS, RULES


@dataclass(frozen=True)
class Task:
    """How many sounds a task makes unless told otherwise, what it needs, and what else it takes."""

    count: int
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()


TASKS = {
    "generate": Task(count=16),
    "vary": Task(count=8, needs=("input", "strength"), takes=("rule",)),
    "inpaint": Task(count=4, needs=("input", "keep"), takes=("repeats",)),
    "extend": Task(count=4, needs=("input",), takes=("spans", "overlap", "direction", "match", "repeats")),
    "interpolate": Task(count=8, needs=("input", "second")),
    "remix": Task(count=1, needs=("input", "strength"), takes=("overlap", "match", "repeats")),
    "invert": Task(count=1, needs=("input",)),
}
SPECIAL = {name for task in TASKS.values() for name in (*task.needs, *task.takes)}
LEVELS = ("own", "peak")
FORMATS = {("wav", 24): "PCM_24", ("wav", 32): "FLOAT", ("flac", 24): "PCM_24"}

WHOLE = {
    "count": 1,
    "seed": 0,
    "steps": 1,
    "batch_size": 1,
    "repeats": 1,
    "spans": 1,
}  # with the least that makes sense
OPTIONAL_WHOLE = ("count", "steps", "repeats", "spans")
LARGEST_SEED = 2**62
LONGEST_SECONDS = 600  # of a sound in one piece
NUMBERS: dict[str, tuple[str, Callable[[float], bool]]] = {
    "seconds": (f"a number above 0, at most {LONGEST_SECONDS}", lambda value: 0 < value <= LONGEST_SECONDS),
    "threshold": ("a number from 0 to 1", lambda value: 0 <= value <= 1),
    "strength": ("a number from 0 to 1", lambda value: 0 <= value <= 1),
    "overlap": ("a number of seconds above 0", lambda value: 0 < value < math.inf),
}
CHOICES: dict[str, tuple[Any, ...]] = {
    "task": tuple(TASKS),
    "rule": (None, *RULES),
    "direction": (None, *DIRECTIONS),
    "match": (None, True, False),
    "level": LEVELS,
    "format": ("wav", "flac"),
    "bits": (24, 32),
}
SWITCHES = ("overwrite", "allow_pickle", "all")


def check(config: DictConfig) -> None:
    """Raises ValueError, in one line, for the first thing that cannot be meant."""
    _check_kinds(config)
    _check_task(config)
    if (config.format, config.bits) not in FORMATS:
        raise ValueError(f"format={config.format} has no bits={config.bits}: choose 24")
    for name, what in (("ckpt", "a checkpoint, a folder, last, or a model of the hub"), ("out", "a folder")):
        if not config[name]:
            raise ValueError(f"{name}= needs {what}")
    if str(config.precision) not in ("auto", *PRECISIONS):
        raise ValueError(f"there is no precision={config.precision}: choose auto, {', '.join(PRECISIONS)}")
    if config.label is not None or config.guidance is not None:
        given = "label" if config.label is not None else "guidance"
        raise ValueError(
            f"{given}={config[given]} asks for a class of sounds, and models have no classes: each makes what it was "
            "trained on"
        )


def _check_kinds(config: DictConfig) -> None:
    for name, least in WHOLE.items():
        value = config[name]
        left_out = name in OPTIONAL_WHOLE and value is None
        if not left_out:
            check_whole(name, value, least=least)
    check_seed(config.seed)
    for name, (what, fits) in NUMBERS.items():
        value = config[name]
        if value is not None and not (type(value) in (int, float) and fits(value)):
            raise ValueError(f"{name} must be {what}, not {value}")
    for name in SWITCHES:
        check_switch(name, config[name])
    for name, choices in CHOICES.items():
        if config[name] not in choices:
            listed = ", ".join(str(choice) for choice in choices if choice is not None)
            raise ValueError(f"there is no {name}={config[name]}: choose {listed}")


def check_whole(name: str, value: object, *, least: int) -> None:
    """Refuse what is no whole number or too small."""
    if type(value) is not int or value < least:
        raise ValueError(f"{name} must be a whole number, at least {least}, not {value}")


def check_seed(seed: int) -> None:
    """Refuse what a generator of noise does not take."""
    if seed > LARGEST_SEED:
        raise ValueError(f"seed must be at most {LARGEST_SEED}, not {seed}")


def check_switch(name: str, value: object) -> None:
    """Refuse what is neither true nor false."""
    if type(value) is not bool:
        raise ValueError(f"{name} must be true or false, not {value}")


def _check_task(config: DictConfig) -> None:
    task = TASKS[config.task]
    for name in task.needs:
        if config[name] is None or config[name] == "":
            raise ValueError(
                f"task={config.task} needs {' and '.join(f'{each}=' for each in task.needs)}: {name}= is missing"
            )
    for name in sorted(SPECIAL - {*task.needs, *task.takes}):
        if config[name] is not None:
            users = [other for other, entry in TASKS.items() if name in (*entry.needs, *entry.takes)]
            raise ValueError(
                f"{name}= is for {', '.join(f'task={user}' for user in users)}, not for task={config.task}"
            )
    if config.task == "interpolate" and config.count is not None and config.count < 2:
        raise ValueError("task=interpolate needs a count of 2 or more: its first and last sound are the two ends")
    if config.task == "invert" and config.count not in (None, 1):
        raise ValueError("task=invert makes one sound, what the model has kept of the input: leave out count=")


def count_of(config: DictConfig) -> int:
    """How many sounds are asked for."""
    return int(TASKS[config.task].count if config.count is None else config.count)


def is_seed(value: object) -> bool:
    """Whether an end of an interpolation is a seed and not a file."""
    return type(value) is int or (isinstance(value, str) and value.isdecimal())


def folder(config: DictConfig) -> Path:
    """Where the sounds go: no file, and nothing in it that would be written over unasked."""
    path = Path(config.out).expanduser()
    if path.exists() and not path.is_dir():
        raise ValueError(f"out={path} is a file: give a folder")
    return path


def files(config: DictConfig) -> list[str]:
    """The names of what is read besides the checkpoint."""
    named = [name for name in ("input", "second") if config[name] is not None and name in TASKS[config.task].needs]
    return [name for name in named if not (config.task == "interpolate" and is_seed(config[name]))]
