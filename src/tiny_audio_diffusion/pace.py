"""How far a run should be by now: the validation losses of a recorded run, as a curve over sounds seen."""

import json
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

# With other values of these the loss itself means something else; with others of the rest it falls faster or slower.
MEANING = ("representation", "validation_levels")
PACE = ("network", "objective", "noise", "optimizer", "sounds_per_step", "channels", "sampling_rate", "length")
SLOW = 3.0  # times as many sounds as the recorded run is more than other data explain


@dataclass(frozen=True)
class Curve:
    """Validation losses after numbers of sounds, both in the order of time."""

    sounds: Sequence[int]
    losses: Sequence[float]

    def __post_init__(self) -> None:
        if not self.sounds or len(self.sounds) != len(self.losses) or sorted(set(self.sounds)) != list(self.sounds):
            raise ValueError("a curve needs as many losses as numbers of sounds, and these have to rise")

    def loss_after(self, sounds: int) -> float | None:
        """On a straight line over the logarithm of the sounds; None outside what was recorded."""
        if not self.sounds[0] <= sounds <= self.sounds[-1]:
            return None
        right = bisect_left(self.sounds, sounds)
        if self.sounds[right] == sounds:
            return self.losses[right]
        share = log(sounds / self.sounds[right - 1]) / log(self.sounds[right] / self.sounds[right - 1])
        return self.losses[right - 1] + share * (self.losses[right] - self.losses[right - 1])

    def sounds_until(self, loss: float) -> float | None:
        """After how many sounds the loss was first this low; None if it never was, the first point if it always was."""
        for place, reached in enumerate(self.losses):
            if reached > loss:
                continue
            if place == 0:
                return float(self.sounds[0])
            before = self.losses[place - 1]
            share = (before - loss) / (before - reached)
            return self.sounds[place - 1] * exp(share * log(self.sounds[place] / self.sounds[place - 1]))
        return None


@dataclass(frozen=True)
class Pace:
    """A recorded run: of which experiment, with which settings, and its curve."""

    experiment: str
    settings: dict[str, Any]
    curve: Curve

    def differences(self, settings: dict[str, Any], names: Sequence[str]) -> list[str]:
        """Which of these are set otherwise than they were in the recorded run."""
        return [name for name in names if self.settings.get(name) != settings.get(name)]

    def verdict(self, sounds: int, loss: float) -> str:
        """Where a run with this loss after so many sounds stands beside the recorded one, in words."""
        curve, run = self.curve, f"the recorded run of {self.experiment}"
        if loss <= min(curve.losses):
            return f"lower than {run} ever was ({min(curve.losses):.3f}; it saw {curve.sounds[-1]:,} sounds)"
        if sounds < curve.sounds[0]:
            return f"too early to tell: {run} was first looked at after {curve.sounds[0]:,} sounds"
        reached = curve.sounds_until(loss)
        assert reached is not None
        if loss > curve.losses[0]:
            place = f"{run} was lower after {curve.sounds[0]:,} sounds"
            return f"{place}: something may be wrong, see docs/guide.md" if sounds > SLOW * curve.sounds[0] else place
        place = f"{run} was there after {round(reached):,}"
        if sounds > curve.sounds[-1]:
            place += f" and ended after {curve.sounds[-1]:,}"
        if sounds > SLOW * reached:
            return f"{place}: {sounds / reached:.1f} times slower, see docs/guide.md"
        return f"{place}: {'ahead of it' if SLOW * sounds < reached else 'on course'}"


def settings_of(config: DictConfig) -> dict[str, Any]:
    """What the pace of a run depends on, from its configuration; the level belongs to the sounds, not the recipe."""
    module, whole = config.module, OmegaConf.to_container(config, resolve=True)
    assert isinstance(whole, dict)
    settings = {name: whole[name] for name in ("network", "objective", "noise", "channels", "sampling_rate", "length")}
    settings["representation"] = {name: value for name, value in whole["representation"].items() if name != "level"}
    settings["optimizer"] = whole["module"]["optimizer"]
    settings["validation_levels"] = list(module.validation_levels)
    settings["sounds_per_step"] = config.batch_size * config.accumulate_grad_batches
    return settings


def read(path: Path) -> Pace:
    """A file that `utils/record_pace.py` wrote."""
    content = json.loads(path.read_text(encoding="utf-8"))
    curve = Curve(content["curve"]["sounds_seen"], content["curve"]["valid_loss"])
    return Pace(content["experiment"], content["settings"], curve)
