"""The kernel distance class by class, where both sides have classes: by folders, or as a classifier hears them."""

from dataclasses import dataclass

from tiny_audio_diffusion.evaluation.measures import Value, kernel_value
from tiny_audio_diffusion.evaluation.space import Features

FEWEST = 5  # sounds of a class on each side that has a distance


@dataclass(frozen=True)
class ClassRow:
    """One class: how many of the real and of the generated sounds are of it, and how far these lie apart."""

    name: str
    real_share: float
    generated_share: float
    real_count: int  # held out
    generated_count: int
    generated: Value | None
    real: Value | None  # two halves of the held-out sounds


def by_class(
    held_out: Features,
    generated: Features,
    real_labels: list[str],
    made_labels: list[str],
    *,
    seed: int,
) -> list[ClassRow]:
    """A row for each class of the real sounds; nothing where no generated sound has one of them."""
    names = sorted(set(real_labels) - {""})
    if not names or not set(names) & set(made_labels):
        return []
    return [_row(name, held_out, generated, real_labels, made_labels, seed) for name in names]


def _row(
    name: str, held_out: Features, generated: Features, real_labels: list[str], made_labels: list[str], seed: int
) -> ClassRow:
    real = [index for index, label in enumerate(real_labels) if label == name]
    made = [index for index, label in enumerate(made_labels) if label == name]
    halves = real[: len(real) // 2], real[len(real) // 2 :]
    return ClassRow(
        name,
        len(real) / len(real_labels),
        len(made) / len(made_labels),
        len(real),
        len(made),
        _distance(held_out, real, generated, made, seed),
        _distance(held_out, halves[0], held_out, halves[1], seed),
    )


def _distance(some: Features, chosen: list[int], others: Features, wanted: list[int], seed: int) -> Value | None:
    if min(len(chosen), len(wanted)) < FEWEST:
        return None
    return kernel_value(some.take(chosen).sounds, others.take(wanted).sounds, seed=seed)
