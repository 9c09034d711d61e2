"""CLAP: one vector a sound from a network that learned which captions fit which sounds; up to 14 kHz, in mono."""

import torch
from torch import Tensor

from tiny_audio_diffusion.embedder.base import Embedder
from tiny_audio_diffusion.embedder.pretrained import load, mono


class Clap(Embedder):
    """Hears what a sound is called, hardly how clean it is; short sounds are repeated until they last ten seconds."""

    def __init__(self, *, model: str) -> None:
        self.network = load("ClapAudioModelWithProjection", model)
        self.extract = load("ClapFeatureExtractor", model, weights=False)
        self.network.eval()
        self.sampling_rate: int = self.extract.sampling_rate

    @torch.no_grad()
    def embed(self, audio: Tensor) -> Tensor:
        self.check(audio)
        longest = self.extract.nb_max_samples  # beyond it a part would be chosen by chance
        network = self.network.to(audio.device)
        vectors = []
        for sounds in mono(audio.float())[:, 0, :longest].split(16):
            # the extractor computes with numpy
            found = self.extract(list(sounds.cpu().numpy()), sampling_rate=self.sampling_rate, return_tensors="pt")
            vectors.append(network(**found.to(audio.device)).audio_embeds)
        return torch.nn.functional.normalize(torch.cat(vectors), dim=1)[:, None]
