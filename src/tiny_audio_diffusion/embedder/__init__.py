"""Embedders: sounds to vectors in which sets of sounds are compared."""

from tiny_audio_diffusion.embedder.base import Embedder
from tiny_audio_diffusion.embedder.log_mel import LogMel

__all__ = ["Embedder", "LogMel"]
