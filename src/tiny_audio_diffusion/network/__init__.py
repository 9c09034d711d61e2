"""Networks: (noisy sound, time, conditions) to a prediction."""

from tiny_audio_diffusion.network.base import Network
from tiny_audio_diffusion.network.unet import UNet

__all__ = ["Network", "UNet"]
