"""PANNs' Cnn14: one vector a sound from a network that learned AudioSet's 527 classes; in mono, up to 14 kHz."""

import torch
from torch import Tensor
from torch.nn import functional
from torchaudio.transforms import MelSpectrogram

from tiny_audio_diffusion.embedder.pretrained import mono
from tiny_audio_diffusion.embedder.published import Published

ORIGIN = "Cnn14_mAP=0.431.pth, of record 3987831 on Zenodo (330 MB)"
BLOCKS = 6
NORM = ("weight", "bias", "running_mean", "running_var")
PARAMETERS = [
    *(f"bn0.{kind}" for kind in NORM),
    *(f"conv_block{block}.conv{half}.weight" for block in range(1, BLOCKS + 1) for half in (1, 2)),
    *(f"conv_block{block}.bn{half}.{kind}" for block in range(1, BLOCKS + 1) for half in (1, 2) for kind in NORM),
    *("fc1.weight", "fc1.bias"),
]
SAMPLING_RATE, TRANSFORM_LENGTH, HOP_LENGTH, BANDS = 32_000, 1024, 320, 64
SMALLEST = 1e-10  # power
SHORTEST = 32 * HOP_LENGTH  # samples: the blocks halve the frames five times


class Panns(Published):
    """Hears what a sound is, hardly how clean it is."""

    sampling_rate = SAMPLING_RATE
    origin, parameters = ORIGIN, PARAMETERS

    def vectors(self, audio: Tensor) -> Tensor:
        return torch.cat([self._vectors(pictures(some)) for some in audio.split(16)])[:, None]

    def _vectors(self, signal: Tensor) -> Tensor:
        """Pictures [n, 1, frames, bands] to vectors [n, D]."""
        signal = self._normalised("bn0", signal.transpose(1, 3)).transpose(1, 3)  # band by band
        for block in range(1, BLOCKS + 1):
            for half in (1, 2):
                name = f"conv_block{block}"
                signal = functional.conv2d(signal, self.weights[f"{name}.conv{half}.weight"], padding=1)
                signal = functional.relu(self._normalised(f"{name}.bn{half}", signal))
            signal = functional.avg_pool2d(signal, 2) if block < BLOCKS else signal
        signal = signal.mean(dim=3)  # over bands
        signal = signal.amax(dim=2) + signal.mean(dim=2)  # over time
        return functional.relu(functional.linear(signal, self.weights["fc1.weight"], self.weights["fc1.bias"]))

    def _normalised(self, name: str, signal: Tensor) -> Tensor:
        weight, bias, mean, variance = (self.weights[f"{name}.{kind}"] for kind in NORM)
        return functional.batch_norm(signal, mean, variance, weight, bias)


def pictures(audio: Tensor) -> Tensor:
    """Sounds [N, C, L] of 32 kHz to log-mel pictures [N, 1, frames, 64]; shorter than 0.32 s, silence follows."""
    signal = functional.pad(mono(audio), (0, max(0, SHORTEST - audio.shape[-1])))
    mel = MelSpectrogram(
        SAMPLING_RATE,
        TRANSFORM_LENGTH,
        hop_length=HOP_LENGTH,
        f_min=50.0,
        f_max=14_000.0,
        n_mels=BANDS,
        norm="slaney",
        mel_scale="slaney",
    ).to(audio.device)
    return 10 * torch.log10(mel(signal).clamp(min=SMALLEST)).transpose(2, 3)
