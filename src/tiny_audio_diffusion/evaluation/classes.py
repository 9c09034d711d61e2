"""The kernel distance class by class, where both sides have classes: by folders, or as a classifier hears them."""

from dataclasses import dataclass

from tiny_audio_diffusion.audio import resample
from tiny_audio_diffusion.embedder import Classifier, Embedder
from tiny_audio_diffusion.evaluation.measures import Value, kernel_value
from tiny_audio_diffusion.evaluation.sounds import Sounds
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


@dataclass(frozen=True)
class Labels:
    """The class of each sound, with nothing for none, and who says so: folders, classifier, or nobody."""

    source: str
    real: list[str]
    generated: list[str]


def labels_of(held_out: Sounds, generated: Sounds, embedder: Embedder) -> Labels:
    """By their folders where both sides have the same ones; else a classifier hears both, so that it errs on both."""
    if set(held_out.classes) & set(generated.classes):
        return Labels("folders", held_out.labels, generated.labels)
    if isinstance(embedder, Classifier):
        return Labels("classifier", _heard(held_out, embedder), _heard(generated, embedder))
    return Labels("", held_out.labels, [""] * len(generated))


def _heard(sounds: Sounds, classifier: Classifier) -> list[str]:
    audio = resample(sounds.audio, sounds.sampling_rate, classifier.sampling_rate)
    return [classifier.classes[place] for place in classifier.classify(audio).argmax(dim=1).tolist()]


def by_class(held_out: Features, generated: Features, labels: Labels, *, seed: int) -> list[ClassRow]:
    """A row for each class that a sound of either side is of."""
    if not labels.source:
        return []
    names = sorted({*labels.real, *labels.generated} - {""})
    return [_row(name, held_out, generated, labels, seed) for name in names]


def _row(name: str, held_out: Features, generated: Features, labels: Labels, seed: int) -> ClassRow:
    real = [index for index, label in enumerate(labels.real) if label == name]
    made = [index for index, label in enumerate(labels.generated) if label == name]
    halves = real[: len(real) // 2], real[len(real) // 2 :]
    return ClassRow(
        name,
        len(real) / len(labels.real),
        len(made) / len(labels.generated),
        len(real),
        len(made),
        _distance(held_out, real, generated, made, seed),
        _distance(held_out, halves[0], held_out, halves[1], seed),
    )


def _distance(some: Features, chosen: list[int], others: Features, wanted: list[int], seed: int) -> Value | None:
    if min(len(chosen), len(wanted)) < FEWEST:
        return None
    return kernel_value(some.take(chosen).sounds, others.take(wanted).sounds, seed=seed)
