"""Models of other projects: their files become a configuration and weights of ours."""

from tiny_audio_diffusion.foreign.dance import to_diffusers, to_harmonai
from tiny_audio_diffusion.foreign.model import Foreign, explain_mismatch
from tiny_audio_diffusion.foreign.reading import read, recognise

__all__ = ["Foreign", "explain_mismatch", "read", "recognise", "to_diffusers", "to_harmonai"]
