"""How close generated sounds are to real ones: features, distances between sets, and figures of a signal."""

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
from tiny_audio_diffusion.metrics.signals import SILENCE, decibels, is_silent, peak_decibels, tail_noise

__all__ = [
    "BANDS",
    "HOP_LENGTH",
    "SILENCE",
    "SMALLEST_DEVIATION",
    "WINDOW_LENGTH",
    "Standardise",
    "bootstrap_interval",
    "decibels",
    "is_silent",
    "kernel_distance",
    "log_mel",
    "mid_and_side",
    "nearest_distance",
    "peak_decibels",
    "tail_noise",
]
