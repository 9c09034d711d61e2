"""EnCodec: what the encoder of a neural codec makes of a sound, 75 vectors a second, up to half of the model's rate."""

import torch
from torch import Tensor

from tiny_audio_diffusion.embedder.base import Embedder
from tiny_audio_diffusion.embedder.pretrained import load, mono

SMALLEST_LEVEL = 1e-8  # the model's own


class Encodec(Embedder):
    """Close to the waveform: hears noise and smear that CLAP forgives, and knows nothing of what a sound is."""

    def __init__(self, *, model: str) -> None:
        self.network = load("EncodecModel", model)
        self.network.eval()
        self.sampling_rate: int = self.network.config.sampling_rate

    @torch.no_grad()
    def embed(self, audio: Tensor) -> Tensor:
        self.check(audio)
        network, config = self.network.to(audio.device), self.network.config
        if audio.shape[1] != config.audio_channels:
            audio = mono(audio).expand(-1, config.audio_channels, -1)
        vectors = []
        for sounds in audio.float().split(16):
            if config.normalize:
                level = mono(sounds).square().mean(dim=2, keepdim=True).sqrt() + SMALLEST_LEVEL
                sounds = sounds / level
            vectors.append(network.encoder(sounds).transpose(1, 2))  # [n, frames, D]
        return torch.cat(vectors)
