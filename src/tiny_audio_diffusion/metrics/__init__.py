"""How close generated sounds are to real ones: features, distances between sets, copies, and figures of a signal."""

from tiny_audio_diffusion.metrics.distances import bootstrap_interval, kernel_distance, nearest_distance
from tiny_audio_diffusion.metrics.features import (
    BANDS,
    HOP_LENGTH,
    SMALLEST_DEVIATION,
    WINDOW_LENGTH,
    Standardise,
    log_mel,
    mid_and_side,
)
from tiny_audio_diffusion.metrics.frechet import Extrapolation, frechet_distance, frechet_infinity
from tiny_audio_diffusion.metrics.memorisation import Nearest, is_copy, nearest_sounds, threshold
from tiny_audio_diffusion.metrics.neighbours import Neighbourhood, diversity, neighbourhood
from tiny_audio_diffusion.metrics.signals import (
    SILENCE,
    decibels,
    drift,
    is_silent,
    measure,
    peak_decibels,
    tail_noise,
)

__all__ = [
    "BANDS",
    "HOP_LENGTH",
    "SILENCE",
    "SMALLEST_DEVIATION",
    "WINDOW_LENGTH",
    "Extrapolation",
    "Nearest",
    "Neighbourhood",
    "Standardise",
    "bootstrap_interval",
    "decibels",
    "diversity",
    "drift",
    "frechet_distance",
    "frechet_infinity",
    "is_copy",
    "is_silent",
    "kernel_distance",
    "log_mel",
    "measure",
    "mid_and_side",
    "nearest_distance",
    "nearest_sounds",
    "neighbourhood",
    "peak_decibels",
    "tail_noise",
    "threshold",
]
