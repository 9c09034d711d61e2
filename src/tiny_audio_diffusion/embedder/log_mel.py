"""The built-in embedder: log-mel bands over time with an audibility floor, one vector a sound, nothing to download."""

from torch import Tensor

from tiny_audio_diffusion.embedder.base import Embedder
from tiny_audio_diffusion.metrics import SMALLEST_DEVIATION, log_mel


class LogMel(Embedder):
    """Mid and side of each sound in dB of its own peak; sounds that are compared must be of one length."""

    smallest_deviation = SMALLEST_DEVIATION

    def __init__(self, *, sampling_rate: int) -> None:
        self.sampling_rate = sampling_rate

    def embed(self, audio: Tensor) -> Tensor:
        self.check(audio)
        return log_mel(audio, self.sampling_rate)[:, None]
