"""Waveform diffusion models of one-shot sounds, trained on small hardware."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiny_audio_diffusion.pipeline import Pipeline

__version__ = "0.1.0"


def load(model: str = "last", *, device: str = "auto", precision: str = "auto") -> "Pipeline":
    """A model to make sounds with: `last` (the newest run), a file, a folder, or a name on the Hugging Face hub."""
    from tiny_audio_diffusion import checkpoint, command
    from tiny_audio_diffusion import device as devices

    command.prepare()
    place = devices.pick(device)
    pipeline = checkpoint.load_pipeline(checkpoint.find(model, logs=command.logs_folder())).to(place)
    pipeline.half_precision = devices.half_precision(precision, place)
    return pipeline
