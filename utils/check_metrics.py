"""Do the metrics put sounds into the order that ears would? A table for any folder of class folders.

    python utils/check_metrics.py <folder of class folders> [--classifier drums.safetensors]

Half of the sounds span the space (and train the classifier, where none is given), a quarter is the reference. Against
it stand: the last quarter; the same under hiss of −30 and −20 dB of each sound's peak; and, for the largest class
alone, the second largest and white noise. Each metric should find real < other class < noise and real < −30 dB <
−20 dB. Then ten copies with other gains, polarities and starts are hidden among the last quarter, and looked for.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from benchmark import machine
from torch import Tensor
from train_embedder import RATE, open_folder

from tiny_audio_diffusion import command, metrics
from tiny_audio_diffusion.data.folder import SoundFolder
from tiny_audio_diffusion.embedder import Classifier, Embedder, LogMel, classifier
from tiny_audio_diffusion.embedder.learning import learn

CHAINS = (("real class", "other class", "noise"), ("real", "hiss −30", "hiss −20"))
COLUMNS = (*CHAINS[0], *CHAINS[1])
COPIES = 10
SHIFT = round(0.005 * RATE)


@dataclass(frozen=True)
class Sounds:
    """Everything that is compared, [N, 1, L] each."""

    space: Tensor
    labels: Tensor  # of the space
    classes: list[str]
    references: dict[str, Tensor]  # one for each chain, by the name of its first column
    cases: dict[str, Tensor]  # by column


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--classifier", type=Path, help="file of utils/train_embedder.py; it knows the sounds it is asked about"
    )
    parser.add_argument("--steps", type=int, default=400, help="of the classifier's training, default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the split and all noise, default %(default)s")
    parser.add_argument("--out", type=Path, default=Path("outputs/check_metrics"), help="where the classifier is kept")
    arguments = parser.parse_args()
    command.prepare()
    command.friendly(check)(arguments)


def check(arguments: argparse.Namespace) -> None:
    started = time.monotonic()
    sounds = divide(open_folder(arguments.folder, channels=1), arguments.seed)
    counts = ", ".join(f"{name} {len(some)}" for name, some in sounds.cases.items())
    print(f"{len(sounds.space)} sounds span the space; {counts}; {machine()}\n")
    print("| embedder | metric | " + " | ".join(COLUMNS) + " | orders |\n" + "|---" * (len(COLUMNS) + 3) + "|")
    path = arguments.classifier or trained(sounds, arguments)
    for name, embedder in {"log_mel": LogMel(sampling_rate=RATE), "classifier": Classifier(path=path)}.items():
        for metric, row in table(embedder, sounds).items():
            print(line(name, metric, row), flush=True)
    copies(sounds, arguments.seed)
    print(f"\n{time.monotonic() - started:.0f} s")


def divide(dataset: SoundFolder, seed: int) -> Sounds:
    generator = torch.Generator().manual_seed(seed)
    audio, labels = dataset.audio(range(len(dataset))), torch.from_numpy(dataset.catalogue.labels).long()
    audio, labels = audio[labels >= 0], labels[labels >= 0]
    order = torch.randperm(len(audio), generator=generator)
    half, rest = order[: len(audio) // 2], order[len(audio) // 2 :]
    largest, second = labels[rest].bincount().topk(2).indices.tolist()
    own, other = rest[labels[rest] == largest], rest[labels[rest] == second]
    reference, fresh = audio[rest[::2]], audio[rest[1::2]]
    own_reference, own_fresh = audio[own[::2]], audio[own[1::2]]
    peak = fresh.abs().amax(dim=(1, 2), keepdim=True)
    hiss = torch.randn(fresh.shape, generator=generator) * peak
    return Sounds(
        audio[half],
        labels[half],
        dataset.classes,
        {"real class": own_reference, "real": reference},
        {
            "real class": own_fresh,
            "other class": audio[other][: len(own_fresh)],
            "noise": 0.2 * torch.randn(own_fresh.shape, generator=generator),
            "real": fresh,
            "hiss −30": fresh + 10 ** (-30 / 20) * hiss,
            "hiss −20": fresh + 10 ** (-20 / 20) * hiss,
        },
    )


def trained(sounds: Sounds, arguments: argparse.Namespace) -> Path:
    """A classifier that has heard the half that spans the space, and nothing else."""
    known = sounds.labels.unique()
    labels = torch.searchsorted(known, sounds.labels)
    classes = [sounds.classes[index] for index in known.tolist()]
    network = learn(sounds.space, labels, classes, RATE, steps=arguments.steps, seed=arguments.seed)
    path: Path = arguments.out / "classifier.safetensors"
    classifier.write(path, network, classes=[*classes, classifier.NONE], sampling_rate=RATE, accuracy={})
    return path


def table(embedder: Embedder, sounds: Sounds) -> dict[str, dict[str, float]]:
    """The value of each metric for each case, so that less is always better."""
    vectors = embedder.embed(sounds.space)
    smallest = embedder.smallest_deviation
    whole = metrics.Standardise(vectors.mean(dim=1), smallest_deviation=smallest)
    frames = metrics.Standardise(vectors.flatten(0, 1), dimensions=32, smallest_deviation=smallest)
    rows: dict[str, dict[str, float]] = {}

    def add(name: str, column: str, value: float) -> None:
        rows.setdefault(name, {})[column] = value

    for chain in CHAINS:
        reference = embedder.embed(sounds.references[chain[0]])
        for column in chain:
            case = embedder.embed(sounds.cases[column])
            one, two = whole(reference.mean(dim=1)), whole(case.mean(dim=1))
            add("kernel", column, metrics.kernel_distance(one, two))
            pooled = [frames(some.flatten(0, 1)) for some in (reference, case)]
            add("Fréchet", column, metrics.frechet_distance(*pooled))
            for name, value in metrics.neighbourhood(one, two)._asdict().items():
                add(f"−{name}", column, -value)
    return rows


def line(name: str, metric: str, row: dict[str, float]) -> str:
    values = " | ".join(f"{row[column]:.3g}" for column in COLUMNS)
    return f"| {name} | {metric} | {values} | {', '.join(verdict(row, chain) for chain in CHAINS)} |"


def verdict(row: dict[str, float], chain: tuple[str, ...]) -> str:
    first, second, third = (row[column] for column in chain)
    if first < second < third:
        return "holds"
    return "ties" if first < second <= third or first <= second < third else "BROKEN"


def copies(sounds: Sounds, seed: int) -> None:
    """Ten training sounds among the last quarter: quieter, upside down, later, and all of that."""
    changes: list[Callable[[Tensor], Tensor]] = [
        lambda sound: 0.3 * sound,
        lambda sound: -sound,
        lambda sound: torch.nn.functional.pad(sound, (SHIFT, 0))[..., : sound.shape[-1]],
        lambda sound: torch.nn.functional.pad(sound, (0, SHIFT))[..., SHIFT:],
        lambda sound: torch.nn.functional.pad(-0.1 * sound, (SHIFT, 0))[..., : sound.shape[-1]],
    ]
    chosen = torch.randperm(len(sounds.space), generator=torch.Generator().manual_seed(seed))[:COPIES].tolist()
    planted = torch.stack([changes[place % len(changes)](sounds.space[index]) for place, index in enumerate(chosen)])
    started = time.monotonic()
    baseline = metrics.nearest_sounds(sounds.references["real"], sounds.space, RATE).similarity
    honest, hidden = (
        metrics.nearest_sounds(some, sounds.space, RATE).similarity for some in (sounds.cases["real"], planted)
    )
    flagged = [int(metrics.is_copy(some, baseline).sum()) for some in (honest, hidden)]
    print(f"\nCopies: threshold {metrics.threshold(baseline):.3f} ({time.monotonic() - started:.1f} s)")
    print(f"{flagged[1]} of {COPIES} planted ones are found, similar by {hidden.min().item():.3f} or more")
    print(f"{flagged[0]} of {len(honest)} others are flagged, similar by {honest.max().item():.3f} or less")


if __name__ == "__main__":
    main()
