"""What can be told of each sound by itself: level, clipping, offset, highs, tail, width; generated against real."""

from dataclasses import dataclass

from torch import Tensor

from tiny_audio_diffusion.evaluation.sounds import Sounds
from tiny_audio_diffusion.metrics import signals


@dataclass(frozen=True)
class Signal:
    """One figure of every sound; drift is how far the two distributions lie apart, in the figure's unit."""

    name: str
    real: Tensor  # [N]
    generated: Tensor  # [M]
    drift: float
    real_drift: float  # of one half of the real sounds from the other

    @property
    def is_off(self) -> bool:
        """Whether generated sounds differ plainly more than real ones do among themselves."""
        return self.drift > max(3 * self.real_drift, LEAST_TOLD.get(self.name, 0.0))


# Below these nobody hears it, however alike the real sounds are.
LEAST_TOLD = {"peak": 1.0, "clipped": 1e-4, "dc": 0.01, "above_16_khz": 3.0, "tail": 3.0, "silent": 0.01, "width": 0.05}


def compare(space: Sounds, held_out: Sounds, generated: Sounds) -> list[Signal]:
    """All figures of the held-out real sounds and of the generated ones."""
    one, other, made = (signals.measure(some.audio, some.sampling_rate) for some in (space, held_out, generated))
    return [
        Signal(
            name, other[name], made[name], signals.drift(other[name], made[name]), signals.drift(one[name], other[name])
        )
        for name in made
    ]
