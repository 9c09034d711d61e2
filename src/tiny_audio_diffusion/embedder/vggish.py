"""VGGish: the embedder of the first Fréchet audio distances; one vector for each 0.96 s, in mono, up to 7.5 kHz."""

import torch
from torch import Tensor
from torch.nn import functional

from tiny_audio_diffusion.embedder.pretrained import mono
from tiny_audio_diffusion.embedder.published import Published

ORIGIN = "vggish-10086976.pth, of release v0.1 of harritaylor/torchvggish on GitHub (290 MB)"
CONVOLUTIONS, POOLED_AFTER = (0, 3, 6, 8, 11, 13), (0, 3, 8, 13)  # places in `features` of the published network
LINEAR = (0, 2, 4)  # and in `embeddings`
PARAMETERS = [
    f"{part}.{place}.{kind}"
    for part, places in (("features", CONVOLUTIONS), ("embeddings", LINEAR))
    for place in places
    for kind in ("weight", "bias")
]
SAMPLING_RATE, HOP_LENGTH, WINDOW_LENGTH, TRANSFORM_LENGTH = 16_000, 160, 400, 512
FRAMES, BANDS = 96, 64  # of one picture, for which there is one vector
LOWEST, HIGHEST = 125.0, 7500.0  # Hz
OFFSET = 0.01  # before the logarithm


class Vggish(Published):
    """Vectors before the last rectifier and without the whitening that the AudioSet release adds."""

    sampling_rate = SAMPLING_RATE
    origin, parameters = ORIGIN, PARAMETERS

    def vectors(self, audio: Tensor) -> Tensor:
        shown = pictures(audio)  # [N, pictures, frames, bands]
        vectors = torch.cat([self._vectors(some) for some in shown.flatten(0, 1)[:, None].split(32)])
        return vectors.unflatten(0, shown.shape[:2])

    def _vectors(self, signal: Tensor) -> Tensor:
        """Pictures [n, 1, frames, bands] to vectors [n, D]."""
        for place in CONVOLUTIONS:
            signal = functional.relu(functional.conv2d(signal, *self._parameters("features", place), padding=1))
            if place in POOLED_AFTER:
                signal = functional.max_pool2d(signal, 2)
        signal = signal.permute(0, 2, 3, 1).flatten(1)  # channels last, as the weights were trained
        for place in LINEAR:
            signal = functional.linear(signal, *self._parameters("embeddings", place))
            signal = signal if place == LINEAR[-1] else functional.relu(signal)
        return signal

    def _parameters(self, part: str, place: int) -> tuple[Tensor, Tensor]:
        return self.weights[f"{part}.{place}.weight"], self.weights[f"{part}.{place}.bias"]


def pictures(audio: Tensor) -> Tensor:
    """Sounds [N, C, L] of 16 kHz to whole log-mel pictures [N, pictures, 96, 64]; silence fills up a short sound."""
    shortest, more = (FRAMES - 1) * HOP_LENGTH + WINDOW_LENGTH, FRAMES * HOP_LENGTH
    count = max(1, 1 + (audio.shape[-1] - shortest) // more)
    signal = functional.pad(mono(audio)[:, 0], (0, max(0, shortest - audio.shape[-1])))
    windows = signal.unfold(1, WINDOW_LENGTH, HOP_LENGTH)[:, : count * FRAMES]  # [N, frames, window]
    spectrum = torch.fft.rfft(windows * torch.hann_window(WINDOW_LENGTH, device=audio.device), n=TRANSFORM_LENGTH)
    return torch.log(spectrum.abs() @ _filters().to(audio.device) + OFFSET).unflatten(1, (count, FRAMES))


def _filters() -> Tensor:
    """Triangles [frequencies, bands] whose sides are straight in mel, where torchaudio's are straight in hertz."""
    places = _mel(torch.linspace(0, SAMPLING_RATE / 2, TRANSFORM_LENGTH // 2 + 1, dtype=torch.double))[:, None]
    low, high = _mel(torch.tensor([LOWEST, HIGHEST], dtype=torch.double)).tolist()
    edges = torch.linspace(low, high, BANDS + 2, dtype=torch.double)
    rising = (places - edges[:-2]) / edges.diff()[:-1]
    falling = (edges[2:] - places) / edges.diff()[1:]
    return torch.minimum(rising, falling).clamp(min=0).float()


def _mel(hertz: Tensor) -> Tensor:
    return 1127 * torch.log1p(hertz / 700)
