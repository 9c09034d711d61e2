"""What happens around training: averages, sounds, checkpoints, guards, progress, a yardstick. One file each."""

from tiny_audio_diffusion.callbacks.checkpoint import Checkpoint
from tiny_audio_diffusion.callbacks.ema import ExponentialAverage, PowerAverage
from tiny_audio_diffusion.callbacks.evaluate import Distance
from tiny_audio_diffusion.callbacks.guard import FiniteGuard
from tiny_audio_diffusion.callbacks.progress import Progress, Summary
from tiny_audio_diffusion.callbacks.samples import Samples
from tiny_audio_diffusion.callbacks.tuning import Tuning
from tiny_audio_diffusion.callbacks.yardstick import Yardstick

__all__ = [
    "Checkpoint",
    "Distance",
    "ExponentialAverage",
    "FiniteGuard",
    "PowerAverage",
    "Progress",
    "Samples",
    "Summary",
    "Tuning",
    "Yardstick",
]
