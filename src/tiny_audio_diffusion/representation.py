"""What the network sees of a sound: the waveform itself, or companded so that quiet parts count as ears count them.

Every representation is divided by its own level (the standard deviation over the training sounds, measured once at
set-up and kept in the checkpoint), so that noise of sigma = 1 is as loud as the sounds, whatever their scale.
"""

import torch
from torch import Tensor, nn


class Raw(nn.Module):
    """The waveform as it is; `level` fixes the divisor (1.0 leaves the sound unscaled), null measures it."""

    level: Tensor

    def __init__(self, *, level: float | None = None):
        super().__init__()
        if level is not None and level <= 0:
            raise ValueError(f"level must be positive, or null to measure it, not {level}")
        self.measured = level is not None
        self.register_buffer("level", torch.tensor(1.0 if level is None else float(level)))

    def bend(self, audio: Tensor) -> Tensor:
        """Waveform -> what is learned, before scaling."""
        return audio

    def unbend(self, x: Tensor) -> Tensor:
        """The exact inverse of `bend`."""
        return x

    @torch.no_grad()
    def measure(self, audio: Tensor) -> None:
        """Set the level to the standard deviation of these sounds [N, C, L], unless it was given."""
        if self.measured:
            return
        level = self.bend(audio).square().mean().sqrt()
        if not level > 0:
            raise ValueError("the training sounds are silent: their level is 0")
        self.level.copy_(level)
        self.measured = True

    def encode(self, audio: Tensor) -> Tensor:
        """Sounds [B, C, L] in [-1, 1] -> unit variance [B, C, L]."""
        return self.bend(audio) / self.level

    def decode(self, x: Tensor) -> Tensor:
        """Unit variance -> sounds; the exact inverse of `encode`."""
        return self.unbend(x * self.level)


class Companded(Raw):
    """sign(x) * |x|^power: an error of -40 dB here is one of -80 dB in the sound's quiet parts, at power 1/2."""

    def __init__(self, *, power: float, level: float | None = None):
        super().__init__(level=level)
        if not 0 < power <= 1:
            raise ValueError(f"power must lie in (0, 1], not {power}")
        self.power = power

    def bend(self, audio: Tensor) -> Tensor:
        return audio.sign() * audio.abs() ** self.power

    def unbend(self, x: Tensor) -> Tensor:
        return x.sign() * x.abs() ** (1 / self.power)


class SoftCompanded(Raw):
    """asinh(x / knee) / asinh(1 / knee): linear below the knee, logarithmic above it."""

    def __init__(self, *, knee: float, level: float | None = None):
        super().__init__(level=level)
        if knee <= 0:
            raise ValueError(f"knee must be positive, not {knee}")
        self.knee = knee
        self.top = torch.asinh(torch.tensor(1 / knee)).item()

    def bend(self, audio: Tensor) -> Tensor:
        return torch.asinh(audio / self.knee) / self.top

    def unbend(self, x: Tensor) -> Tensor:
        return torch.sinh(x * self.top) * self.knee
