"""A small network that was trained on the user's own class folders, and listens to what tells those classes apart.

`utils/train_embedder.py` trains it and writes its file. Beside the classes it was taught how loud hiss is, and to tell
what is no sound of these: a network that knows classes alone takes a hissing snare for a snare.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from tiny_audio_diffusion.audio import write_whole
from tiny_audio_diffusion.embedder.base import Embedder
from tiny_audio_diffusion.metrics import BANDS, log_mel

FORMAT = "tiny-audio-diffusion-classifier"  # the key by which a file is known; its value counts versions
NONE = "none of these"  # the last class: noise, sounds played backwards
CHANNELS = (16, 32, 64, 64)
DIMENSIONS = 32
FLOOR = -60.0  # dB


class ClassifierNetwork(nn.Module):
    """Log-mel pictures to a vector; the vector to classes and to the level of hiss."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((1, *CHANNELS), CHANNELS, strict=False):
            # halves bands and frames; of few frames the last one stays
            pool = nn.MaxPool2d(2, ceil_mode=True)
            layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(), pool]
        self.layers = nn.Sequential(*layers)
        self.embedding = nn.Linear(CHANNELS[-1] * BANDS // 2 ** len(CHANNELS), DIMENSIONS)
        self.classes = nn.Linear(DIMENSIONS, classes)
        self.hiss = nn.Linear(DIMENSIONS, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """[N, 1, bands, frames] to [N, dimensions]; the mean over time, so that every length will do."""
        return self.embedding(self.layers(pictures).mean(dim=3).flatten(1))


def pictures(audio: Tensor, sampling_rate: int) -> Tensor:
    """Log-mel pictures [N, 1, bands, frames] of the mono mix of sounds [N, C, L], within 0 and about 1."""
    features = log_mel(audio.mean(dim=1, keepdim=True), sampling_rate, floor=FLOOR)
    return features.reshape(len(audio), 1, BANDS, -1) / -FLOOR + 1


class Classifier(Embedder):
    """Embeds as the vector before the classes; also tells the classes."""

    def __init__(self, *, path: str | Path | None) -> None:
        if path is None:
            raise ValueError(
                "a classifier needs embedder.path=<file>: make one with python utils/train_embedder.py <class folders>"
            )
        self.path = Path(path).expanduser()
        about, tensors = _read(self.path)
        self.sampling_rate: int = about["sampling_rate"]
        self.classes: list[str] = about["classes"]
        self.accuracy: dict[str, float] = about["accuracy"]  # of held-out sounds, class by class
        self.network = ClassifierNetwork(len(self.classes))
        try:
            self.network.load_state_dict(tensors)
        except RuntimeError as error:
            raise ValueError(f"{self.path} holds another network than it says: train it anew") from error
        self.network.eval()

    @torch.no_grad()
    def embed(self, audio: Tensor) -> Tensor:
        self.check(audio)
        network = self.network.to(audio.device)
        return torch.cat([network(pictures(some, self.sampling_rate)) for some in audio.split(64)])[:, None]

    @torch.no_grad()
    def classify(self, audio: Tensor) -> Tensor:
        """The probability of each of `classes` for sounds [N, C, L], as [N, classes]; the last is "none of these"."""
        return self.network.classes(self.embed(audio)[:, 0]).softmax(dim=1)


def write(
    path: Path, network: ClassifierNetwork, *, classes: list[str], sampling_rate: int, accuracy: dict[str, float]
) -> None:
    """Write a trained network and what it is, whole or not at all."""
    about = {"classes": classes, "sampling_rate": sampling_rate, "accuracy": accuracy}
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, save(tensors, metadata={FORMAT: "1", "about": json.dumps(about)}))


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file: make a classifier with python utils/train_embedder.py")
    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is cut off, damaged, or no safetensors file ({error})") from error
    if FORMAT not in metadata:
        raise ValueError(f"{path} is no classifier of utils/train_embedder.py")
    if metadata[FORMAT] != "1":
        raise ValueError(f"{path} was written by a newer version: this one reads format 1, not {metadata[FORMAT]}")
    return json.loads(metadata["about"]), tensors
