"""What saves memory, the cheapest first, and which of it makes a configuration fit."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from omegaconf import DictConfig, OmegaConf

from tiny_audio_diffusion.memory.estimate import Estimate, precision_on

CONTEXT = {"cpu": (0, 0), "cuda": (276 * 2**20, 614 * 2**20)}  # what CUDA takes for itself: 0.27 to 0.6 GiB
EIGHT_BITS = "tiny_audio_diffusion.optimizer.AdamW8bit"

Settings = dict[str, str | int]
Measure = Callable[[DictConfig], Estimate]


@dataclass(frozen=True)
class Knob:
    """Settings that save memory, and what they cost."""

    settings: Settings
    cost: str


@dataclass
class Choice:
    """Settings, and what the configuration takes with them."""

    settings: Settings
    estimate: Estimate = field(repr=False)


def fits(estimate: Estimate, limit: int) -> bool:
    """Whether it surely does, beside the largest context."""
    return estimate.total + CONTEXT[estimate.device][1] <= limit


def with_settings(config: DictConfig, settings: Settings) -> DictConfig:
    """A copy of a configuration with other values."""
    changed = copy.deepcopy(config)
    for key, value in settings.items():
        OmegaConf.update(changed, key, value)
    return changed


def smaller_batches(config: DictConfig) -> list[Settings]:
    """Fewer sounds at a time and as many more batches per step: the same training; the largest batch first."""
    whole, accumulated = config.batch_size, config.accumulate_grad_batches
    parts = [part for part in range(2, whole + 1) if whole % part == 0]
    return [{"batch_size": whole // part, "accumulate_grad_batches": accumulated * part} for part in parts]


def knobs(config: DictConfig, device: str) -> Iterator[Knob]:
    """What is not turned yet, besides the batch; the cheapest first."""
    normal = config.trainer.get("memory", "low") != "low"  # low does without the average on a GPU as well
    average = config.callbacks.get("average") or {}
    if device == "cuda" and normal and average.get("device", "cpu") != "cpu":
        yield Knob({"callbacks.average.device": "cpu"}, "a copy to the host after each step")
    if normal:
        yield Knob({"trainer.memory": "low"}, "a step takes about a third longer")
    if config.module.optimizer._target_ == "torch.optim.AdamW":
        yield Knob({"module.optimizer._target_": EIGHT_BITS}, "moments are rounded to bytes; slower steps")
    if precision_on(config, device) == "32-true":
        yield Knob({"trainer.precision": "bf16-mixed"}, "products are rounded to half precision")


def savings(config: DictConfig, device: str, measure: Measure) -> Iterator[tuple[Knob, Estimate]]:
    """Each knob alone, and what the configuration takes with it."""
    half = [Knob(settings, "nothing but some speed: the same batch, in parts") for settings in smaller_batches(config)]
    for knob in (*half[:1], *knobs(config, device)):
        yield knob, measure(with_settings(config, knob.settings))


def pick(config: DictConfig, device: str, limit: int, measure: Measure) -> tuple[Choice, bool]:
    """The cheapest settings that fit, or the smallest there are, and whether they fit; all of them measured.

    The batch is made smaller first. Where one sound at a time is too much, the next knob is turned as well.
    """
    turned: Settings = {}
    for knob in (Knob({}, ""), *knobs(config, device)):
        turned |= knob.settings
        batches: list[Settings] = [{}, *smaller_batches(config)]
        choice = Choice(turned | batches[-1], measure(with_settings(config, turned | batches[-1])))
        if fits(choice.estimate, limit):
            return _largest(config, turned, batches, choice, limit, measure), True
    return choice, False


def _largest(
    config: DictConfig, turned: Settings, batches: list[Settings], last: Choice, limit: int, measure: Measure
) -> Choice:
    """The largest batch that fits, given that the last one does: memory grows with the batch, so halves suffice."""
    low, high, best = 0, len(batches) - 1, last  # batches[high] fits
    while low < high:
        middle = (low + high) // 2
        settings = turned | batches[middle]
        choice = Choice(settings, measure(with_settings(config, settings)))
        if fits(choice.estimate, limit):
            high, best = middle, choice
        else:
            low = middle + 1
    return best
