"""Which generated sounds are training sounds: by the waveform, measured against what real sounds have in common."""

from dataclasses import dataclass

from torch import Tensor

from tiny_audio_diffusion.evaluation.sounds import Sounds
from tiny_audio_diffusion.evaluation.split import Split, split
from tiny_audio_diffusion.metrics.memorisation import Nearest, is_copy, nearest_sounds, threshold


@dataclass(frozen=True)
class Copies:
    """The nearest training sound of each generated one, and which of them are too near."""

    nearest: Nearest
    flags: Tensor  # bool [N]
    limit: float  # of the similarity, from which on a sound counts as a copy
    baseline: Tensor  # similarities of real sounds that were not in the training

    @property
    def count(self) -> int:
        return int(self.flags.sum())

    @property
    def share(self) -> float:
        return self.count / len(self.flags)

    def closest(self, most: int) -> list[int]:
        """The generated sounds that are most like a training sound."""
        return self.nearest.similarity.argsort(descending=True, stable=True)[:most].tolist()


def find_copies(generated: Sounds, training: Sounds, baseline: Tensor) -> Copies:
    """Search the training sounds for each generated one."""
    nearest = nearest_sounds(generated.audio, training.audio, generated.sampling_rate)
    return Copies(nearest, is_copy(nearest.similarity, baseline), threshold(baseline), baseline)


def baseline(reference: Sounds, parts: Split, training: Sounds | None) -> Tensor:
    """How similar real sounds are to the nearest training sound, if they are not among these.

    Without such sounds one half of the training sounds is compared with the other.
    """
    if training is None:
        sounds, others = reference.take(parts.held_out), reference.take(parts.space)
    else:
        known = set(training.digests)
        unknown = [index for index, digest in enumerate(reference.digests) if digest not in known]
        sounds, others = reference.take(unknown), training
        if len(unknown) < 2:
            halves = split(training.names, training.digests)
            sounds, others = training.take(halves.held_out), training.take(halves.space)
    return nearest_sounds(sounds.audio, others.audio, reference.sampling_rate).similarity
