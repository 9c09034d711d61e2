"""The settings inside a model's file: plain values, and refused where building a model of them would run other code."""

import re
from collections.abc import Iterator
from typing import Any

import yaml  # type: ignore[import-untyped]
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

PACKAGE = "tiny_audio_diffusion"
# What a model is made of, each with the part of the package that its class comes from, and its numbers.
PARTS = {
    "network": "network",
    "objective": "objective",
    "noise": "schedule",
    "representation": "representation",
    "sampler": "sampler",
    "ladder": "schedule",
}
NUMBERS = ("sampling_rate", "channels", "length", "steps")
# All that makes sounds and starts fine-tuning. The rest of a run's configuration is about a machine and its folders.
KEPT = ("experiment", *NUMBERS, *PARTS, "threshold")
LONGEST, DEEPEST = 200_000, 50  # characters and levels; those of a run have a few thousand and eight


def parse(text: str, origin: object) -> DictConfig:
    """Settings from YAML, checked; `origin` is the file that errors name."""
    try:
        if len(text) > LONGEST or _is_endless(text):
            raise ValueError(f"the settings in {origin} are not as this project writes them")
        config = OmegaConf.create(text)
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"the settings in {origin} cannot be read ({reason})") from error
    if not isinstance(config, DictConfig):
        raise ValueError(f"the settings in {origin} have no names")
    check(config, origin)
    return config


def _is_endless(text: str) -> bool:
    """Whether there are aliases or deep nesting, which make much of a short text; ours have none."""
    depth = 0
    for event in yaml.parse(text):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST or isinstance(event, yaml.AliasEvent):
            return True
    return False


def check(config: DictConfig, origin: object) -> None:
    """Refuse what is incomplete, is no number, asks for other code, or looks at the machine (`${oc.env:…}`)."""
    whole: Any = OmegaConf.to_container(config, resolve=False)
    content = {name: whole.get(name) for name in KEPT}
    if any("${" in text for text in _texts(content)):
        raise ValueError(f"the settings in {origin} are not resolved: a value in them refers to something else")
    lacking = [name for name in (*PARTS, *NUMBERS) if content[name] is None]
    if lacking:
        raise ValueError(f"the settings in {origin} lack {', '.join(lacking)}")
    for name in NUMBERS:
        if type(content[name]) is not int or content[name] < 1:
            raise ValueError(f"the settings in {origin}: {name} must be a whole number, at least 1")
    if not isinstance(content["threshold"], float | int | None):
        raise ValueError(f"the settings in {origin}: threshold must be a number, or null")
    for name, part in PARTS.items():
        check_part(content[name], name, part, origin)


def check_part(content: Any, name: str, part: str, origin: object) -> None:
    """One of the parts, and all that is in it, is built from classes of its place in the package."""
    targets = list(_targets(content))
    if not isinstance(content, dict) or "_target_" not in content:
        raise ValueError(f"the settings in {origin} do not say what to build as {name}")
    strangers = sorted({str(target) for target in targets if not _is_class_of(target, f"{PACKAGE}.{part}")})
    if strangers:
        raise ValueError(
            f"{origin} asks for code from elsewhere, or of another version, which is not run: {', '.join(strangers)}"
        )


def _is_class_of(target: Any, module: str) -> bool:
    """Whether a dotted name is a class that is defined there, and not only imported, as `os` may be."""
    if not isinstance(target, str) or not re.fullmatch(rf"{re.escape(module)}(\.\w+)+", target):
        return False
    try:
        found = get_object(target)
    except (ImportError, AttributeError, ValueError):
        return False
    return isinstance(found, type) and f"{found.__module__}.".startswith(f"{module}.")


def _targets(node: Any) -> Iterator[Any]:
    """Everything that Hydra would call; its other words (`_args_`, `_partial_`) stand in none of our files."""
    if isinstance(node, dict):
        for key, value in node.items():
            if re.fullmatch(r"_\w+_", str(key)):
                yield value if key == "_target_" else key
            yield from _targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from _targets(value)


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        node = [*node.keys(), *node.values()]
    if isinstance(node, list):
        for value in node:
            yield from _texts(value)
    elif isinstance(node, str):
        yield node
