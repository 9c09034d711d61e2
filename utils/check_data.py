"""Look at a set of sounds before training on it: the report, statistics, pictures, and what to set.

    python utils/check_data.py <folder of sounds> [<another folder> …] [--output check_data]

Files are examined once: training finds in its cache what this found. Into the output folder go data_report.csv (every
file, used or not, and why), statistics.png, and sheet.png, which shows some of the sounds as training would see them.
The last line is the command to train with.
"""

import argparse
import math
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from tiny_audio_diffusion import command, plot
from tiny_audio_diffusion.audio import printable
from tiny_audio_diffusion.data.folder import SoundFolder, class_name
from tiny_audio_diffusion.data.scan import as_roots
from tiny_audio_diffusion.data.statistics import LATE_SECONDS, Statistics, channel_name, describe, gather, mixed
from tiny_audio_diffusion.data.transforms import Transforms

EXPERIMENT = "exp=one_shots"
SHEET = 32  # sounds
MANY, MOST = 0.1, 0.95  # shares of the sounds
FAR = 0.25  # of them beyond the longest crop: then a set of recordings, not of one-shots
LENGTHS = (0.25, 4)  # what is proposed, in lengths of the recipe
WORTH = 0.01  # share of the energy: a longer crop costs more than it gives where nearly all sounds lose less
RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100)
UNEVEN = 4  # times as many sounds in the largest class as in the smallest
FEW = 100  # sounds
NEARLY = 4  # times the memory that may be used
AUGMENT = {"gain_decibels": 3, "polarity_probability": 0.5, "shift_seconds": 0.005, "pitch_semitones": 1}
DATASET, TRANSFORMS = "datamodule.dataset", "datamodule.dataset.transforms"


class Setting(NamedTuple):
    """What to write on the command line, and why."""

    key: str
    value: bool | int | float
    reason: str

    @property
    def argument(self) -> str:
        value = str(self.value).lower() if isinstance(self.value, bool) else f"{self.value:.12g}"
        return f"{self.key}={value}"


Now = Callable[[str], Any]  # the value of a key, as it is configured or as it is to be set


def recommend(found: Statistics, config: DictConfig, lengths: Sequence[int]) -> list[Setting]:
    """What to set otherwise than configured; later rules build upon what earlier ones have chosen."""
    chosen: list[Setting] = []

    def now(key: str) -> Any:
        return next((setting.value for setting in chosen if setting.key == key), OmegaConf.select(config, key))

    rules = (channels, sampling_rate, silence, partial(length, lengths=lengths), balance, augmentation, memory)
    for rule in rules:
        chosen += rule(found, now)
    return chosen


def channels(found: Statistics, now: Now) -> Iterator[Setting]:
    if now("channels") == 2 and found.are_mono:
        reason = "mono" if set(found.channels) == {1} else "mono or have two equal sides"
        yield Setting("channels", 1, f"all sounds are {reason}: a second channel would be a copy")


def sampling_rate(found: Statistics, now: Now) -> Iterator[Setting]:
    rate, highest = now("sampling_rate"), max(found.sampling_rates)
    if highest < rate:
        which = "all files have" if len(found.sampling_rates) == 1 else "no file has more than"
        yield Setting("sampling_rate", highest, f"{which} {highest} Hz: a higher rate costs time and adds nothing")
        return
    heard = max(sound.highest for sound in found.measured)
    enough = next((candidate for candidate in RATES if candidate >= 2 * heard), rate)
    if enough < rate:
        where = "the sounds" if len(found.measured) == len(found) else f"the {len(found.measured)} sounds measured"
        reason = f"nothing is heard above {heard:.0f} Hz in {where} (80 dB below their peaks)"
        yield Setting("sampling_rate", enough, reason)


def silence(found: Statistics, now: Now) -> Iterator[Setting]:
    late = float((found.onsets > LATE_SECONDS).mean())
    if late >= MANY and not now(f"{TRANSFORMS}.trim_silence"):
        reason = f"{late:.0%} of the sounds begin more than {1000 * LATE_SECONDS:.0f} ms late"
        yield Setting(f"{TRANSFORMS}.trim_silence", True, reason)


def length(found: Statistics, now: Now, *, lengths: Sequence[int]) -> Iterator[Setting]:
    """The shortest that holds most sounds to their end, if the longest does; else random crops."""
    rate, current, trim = now("sampling_rate"), now("length"), now(f"{TRANSFORMS}.trim_silence")
    held = {count: found.held(count / rate, trim_silence=trim) for count in (*lengths, current)}
    longest = max(held)
    if held[longest] <= 1 - FAR:
        if not now(f"{TRANSFORMS}.random_crop"):
            far = f"{1 - held[longest]:.0%} of the sounds last longer than {longest / rate:.1f} s"
            reason = f"{far}: what is seen of them is then another part each time"
            yield Setting(f"{TRANSFORMS}.random_crop", True, reason)
        return
    best = min(count for count in held if held[count] >= min(MOST, held[longest]))
    if best > current and np.quantile(found.lost, MOST) <= WORTH:
        return
    if best != current:
        reason = (
            f"{best / rate:.3g} s hold {held[best]:.0%} of the sounds to their end ({current} samples: "
            f"{held[current]:.0%}); a step takes about {best / current:g} times as long"
        )
        yield Setting("length", best, reason)


def possible_lengths(usual: int, *, multiple: int) -> list[int]:
    """What the network can do, doubled from one to the next, around the recipe's length."""
    least, most = (share * usual for share in LENGTHS)
    return [count for count in (multiple * 2**power for power in range(32)) if least <= count <= most]


def balance(found: Statistics, now: Now) -> Iterator[Setting]:
    (large, most), *_, (small, fewest) = [*found.classes.most_common(), *found.classes.most_common()[-1:]]
    if most >= UNEVEN * fewest and not now("datamodule.balance"):
        names = f"{fewest} {small or 'without a class'} to {most} {large or 'without a class'}"
        reason = f"classes are uneven, from {names}: all are then drawn equally often"
        yield Setting("datamodule.balance", True, reason)


def augmentation(found: Statistics, now: Now) -> Iterator[Setting]:
    different = len(found) - found.copies
    if different >= FEW:
        return
    reason = f"few different sounds ({different}): changed a little at each draw, they are not learned by heart"
    swap = {"swap_probability": 0.5} if now("channels") == 2 else {}
    for name, value in (AUGMENT | swap).items():
        key = f"{DATASET}.augment.{name}"
        if not now(key):
            yield Setting(key, value, reason)


def memory(found: Statistics, now: Now) -> Iterator[Setting]:
    gigabytes, budget = len(found) * now("channels") * now("length") * 4 / 1e9, now(f"{DATASET}.memory_gigabytes")
    if budget < gigabytes <= NEARLY * budget and not now(f"{TRANSFORMS}.random_crop"):
        reason = f"the prepared sounds take {gigabytes:.2f} GB: in memory they cost nothing at each step"
        yield Setting(f"{DATASET}.memory_gigabytes", math.ceil(10 * gigabytes) / 10, reason)


def draw(found: Statistics, transforms: Transforms, path: Path) -> None:
    """Histograms and bars of everything that `describe` tells."""
    names = ["length", "silence at the start", "peak", "loudness as recorded", "files", "classes"]
    figure, (lengths, onsets, peaks, loudness, files, classes) = plot.panels(names)
    mark = (transforms.seconds, f"{transforms.length} samples")
    plot.histogram(lengths, found.durations, unit="seconds", logarithmic_from=0.001, mark=mark)
    late = (1000 * LATE_SECONDS, "late")
    plot.histogram(onsets, 1000 * found.onsets, unit="milliseconds (0.1 and less)", logarithmic_from=0.1, mark=late)
    plot.histogram(peaks, found.peaks, unit="dBFS")
    if len(found.loudness):
        level = None if transforms.loudness is None else (transforms.loudness, "prepared")
        plot.histogram(loudness, found.loudness, unit="LUFS", mark=level)
    rates = {f"{rate / 1000:g} kHz": count for rate, count in found.sampling_rates.items()}
    plot.bars(files, rates, {channel_name(number): count for number, count in found.channels.items()}, found.encodings)
    plot.bars(classes, {name or "without a class": count for name, count in found.classes.items()})
    figure.savefig(path, format="png")


def draw_sheet(dataset: SoundFolder, target: Path) -> None:
    """Some of the sounds as training sees them, all classes among them."""
    chosen = mixed(dataset.catalogue.labels, SHEET)
    paths = [dataset.catalogue.paths[index] for index in chosen]
    classes = [class_name(path, dataset.roots) if dataset.classes else "" for path in paths]
    titles = [printable(Path(label, Path(path).name)) for label, path in zip(classes, paths, strict=True)]
    plot.contact_sheet(dataset.audio(chosen), dataset.transforms.sampling_rate, target, titles=titles)


def advice(settings: Sequence[Setting]) -> Iterator[str]:
    """Lines for the screen: settings, and below them their reason."""
    yield "what to set" if settings else "what to set: nothing, the recipe fits these sounds"
    for reason, group in groupby(settings, key=lambda setting: setting.reason):
        yield from (f"  {setting.argument}" for setting in group)
        yield f"      {reason}"


def training_command(roots: Sequence[Path], arguments: Sequence[str]) -> str:
    """The command line for a shell."""
    path = f"{DATASET}.path={hydra_value(roots)}"
    return shlex.join(["python", "train.py", EXPERIMENT, path, *arguments])


def hydra_value(roots: Sequence[Path]) -> str:
    """A folder as it is, for train.py quotes it; a list, and what Hydra would fill in, quoted and escaped."""
    if len(roots) == 1 and "${" not in str(roots[0]):
        return str(roots[0])
    escaped = [re.sub(r"(\\*)\$\{", r"\1\1\\${", str(root)) for root in roots]
    quoted = [QuotedString(root, Quote.single).with_quotes() for root in escaped]
    return quoted[0] if len(roots) == 1 else f"[{','.join(quoted)}]"


def check_output(output: Path, roots: Sequence[Path], *, overwrite: bool) -> None:
    """Refuse a place that holds something else, or sounds."""
    place = output.resolve()
    inside = [root for root in roots if place.is_relative_to(root.resolve())]
    if inside:
        raise ValueError(
            f"--output {printable(output)} lies among the sounds in {printable(inside[0])}: choose another"
        )
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output {printable(output)} is a file: choose a folder")
    if output.exists() and any(output.iterdir()) and not overwrite:
        raise ValueError(f"--output {printable(output)} is not empty: choose another folder, or add --overwrite")


def configured(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(command.ROOT / "configs"), version_base="1.3"):
        return compose("config", [EXPERIMENT, *overrides])


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "folders", type=Path, nargs="+", metavar="folder", help="the first folder below it names a class"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("check_data"), help="a new or empty folder (default: %(default)s)"
    )
    for name, what in (("sampling-rate", "Hz"), ("length", "samples"), ("channels", "1 or 2")):
        parser.add_argument(f"--{name}", type=int, help=f"{what} (default: as in {EXPERIMENT})")
    parser.add_argument("--overwrite", action="store_true", help="replace what is in the output folder")
    return parser.parse_args(argv)


@command.friendly
def main(argv: Sequence[str] | None = None) -> None:
    given = parse(argv)
    command.prepare()
    asked = {name: getattr(given, name) for name in ("sampling_rate", "length", "channels")}
    overrides = [f"{name}={value}" for name, value in asked.items() if value is not None]
    recipe, config = configured(), configured(*overrides)
    with torch.device("meta"):  # its shape is enough
        network = instantiate(config.network)
    network.check_length(config.length)
    roots = as_roots(given.folders)
    check_output(given.output, roots, overwrite=given.overwrite)

    # The folders by hand: Hydra would read signs in their names.
    opened = instantiate(config.datamodule.dataset, _partial_=True)
    dataset = opened(path=roots, memory_gigabytes=0, disk_gigabytes=0)
    print(dataset.report.table())
    found = gather(dataset, config.datamodule.dataset.cache_folder)
    print(describe(found, dataset.transforms))
    given.output.mkdir(parents=True, exist_ok=True)
    dataset.write_report(given.output / "data_report.csv")
    draw(found, dataset.transforms, given.output / "statistics.png")
    draw_sheet(dataset, given.output / "sheet.png")

    settings = recommend(found, config, possible_lengths(recipe.length, multiple=network.multiple))
    print("\n".join(advice(settings)))
    print(f"data_report.csv, statistics.png and sheet.png are in {printable(given.output.absolute())}; to train:")
    replaced = {setting.key for setting in settings}
    kept = [f"{name}={config[name]}" for name in asked if config[name] != recipe[name] and name not in replaced]
    print(printable(training_command(roots, [*kept, *(setting.argument for setting in settings)])))


if __name__ == "__main__":
    main()
