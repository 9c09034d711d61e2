"""What generate.py does: a request from the command line, sounds that come in, a folder of sounds that goes out."""

from tiny_audio_diffusion.generation.inputs import read_keep, read_sound
from tiny_audio_diffusion.generation.kit import Kit
from tiny_audio_diffusion.generation.tasks import generate

__all__ = ["Kit", "generate", "read_keep", "read_sound"]
