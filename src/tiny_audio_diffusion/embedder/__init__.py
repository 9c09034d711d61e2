"""Embedders: sounds to vectors in which sets of sounds are compared."""

from tiny_audio_diffusion.embedder.base import Embedder
from tiny_audio_diffusion.embedder.clap import Clap
from tiny_audio_diffusion.embedder.classifier import Classifier
from tiny_audio_diffusion.embedder.encodec import Encodec
from tiny_audio_diffusion.embedder.log_mel import LogMel
from tiny_audio_diffusion.embedder.panns import Panns
from tiny_audio_diffusion.embedder.vggish import Vggish

__all__ = ["Clap", "Classifier", "Embedder", "Encodec", "LogMel", "Panns", "Vggish"]
