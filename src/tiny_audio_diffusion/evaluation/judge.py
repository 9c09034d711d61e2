"""Everything that is measured of two sets of sounds, from tensors and names to one result: no files."""

from dataclasses import dataclass

from torch import Tensor

from tiny_audio_diffusion import metrics
from tiny_audio_diffusion.embedder import Embedder
from tiny_audio_diffusion.evaluation import measures, signals, verdict
from tiny_audio_diffusion.evaluation.classes import ClassRow, Labels, by_class, labels_of
from tiny_audio_diffusion.evaluation.copies import Copies, baseline, find_copies
from tiny_audio_diffusion.evaluation.measures import Measure, Sets
from tiny_audio_diffusion.evaluation.signals import Signal
from tiny_audio_diffusion.evaluation.sounds import Sounds
from tiny_audio_diffusion.evaluation.space import Space
from tiny_audio_diffusion.evaluation.split import Split, split

FEWEST_GENERATED = 2


@dataclass(frozen=True)
class Result:
    """What table, JSON and page are made of."""

    reference: Sounds
    generated: Sounds
    training: Sounds
    parts: Split
    verdict: verdict.Verdict
    doubts: list[str]
    measures: list[Measure]
    copies: Copies
    signals: list[Signal]
    classes: list[ClassRow]
    labels: Labels
    nearest: Tensor  # distance of each generated sound to the nearest held-out real one
    real_nearest: Tensor  # of the real sounds of the one half to the nearest of the other

    @property
    def held_out(self) -> Sounds:
        return self.reference.take(self.parts.held_out)


def judge(
    reference: Sounds, generated: Sounds, embedder: Embedder, *, training: Sounds | None = None, seed: int = 0
) -> Result:
    """Compare generated sounds with real ones; `training`, for copies, is the reference unless given."""
    if len(generated) < FEWEST_GENERATED:
        raise ValueError(f"generated=: {len(generated)} sound; at least {FEWEST_GENERATED} are needed to compare")
    parts, rate = split(reference.names, reference.digests), reference.sampling_rate
    space = Space(embedder, reference.audio[parts.space], rate)
    sides = reference.audio[parts.first], reference.audio[parts.second], generated.audio
    first, second, made = (space(sounds, rate) for sounds in sides)
    sets = Sets(first, second, made.take(_fresh(generated, reference.take(parts.space))), seed)
    found = measures.measure(sets)
    copies = find_copies(generated, training or reference, baseline(reference, parts, training))
    held_out = reference.take(parts.held_out)
    labels = labels_of(held_out, generated, embedder)
    return Result(
        reference,
        generated,
        training or reference,
        parts,
        verdict.judge(found[0], copies),
        verdict.doubts(found),
        found,
        copies,
        signals.compare(reference.take(parts.space), held_out, generated),
        by_class(sets.held_out, made, labels, seed=seed),
        labels,
        metrics.nearest_distance(made.sounds, sets.held_out.sounds),
        metrics.nearest_distance(second.sounds, first.sounds),
    )


def _fresh(generated: Sounds, fitted: Sounds) -> list[int]:
    """The sounds that did not span the space themselves: those would lie closer to it than any other sound can."""
    known = set(fitted.digests)
    fresh = [place for place, digest in enumerate(generated.digests) if digest not in known]
    return fresh if len(fresh) >= FEWEST_GENERATED else list(range(len(generated)))
