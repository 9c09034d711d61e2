"""Small pictures of sounds for a page: an outline that scales, and a mel spectrogram as a data address."""

import base64
import io

import numpy as np
from matplotlib import colormaps
from matplotlib.image import imsave
from torch import Tensor

from tiny_audio_diffusion import plot

COLUMNS = 240  # of an outline
FRAMES = 160  # of a spectrogram, at most


def outline(sound: Tensor) -> str:
    """The path of an SVG, 240 wide and 100 high, between the lowest and the highest sample of each column [C, L]."""
    mono = sound.detach().float().mean(dim=0).numpy()
    starts = np.linspace(0, len(mono), min(len(mono), COLUMNS), endpoint=False).astype(int)
    scale = max(1e-4, float(np.abs(mono).max()))  # each as high as its room: the figures beside it say how loud it is
    high = 50 - 46 * np.maximum.reduceat(mono, starts) / scale
    low = 50 - 46 * np.minimum.reduceat(mono, starts) / scale
    across = np.linspace(0, COLUMNS, len(starts))
    # A silent column still is a line.
    points = [f"{x:.1f} {y - 0.4:.1f}" for x, y in zip(across, high, strict=True)]
    points += [f"{x:.1f} {y + 0.4:.1f}" for x, y in zip(across[::-1], low[::-1], strict=True)]
    return "M" + "L".join(points) + "Z"


def spectrogram(sound: Tensor, sampling_rate: int) -> str:
    """The mel spectrogram of a sound [C, L], loud parts bright, as an address that holds the picture."""
    decibels = plot.mel_decibels(sound[None], sampling_rate)[0].numpy()  # [mels, frames]
    decibels = decibels[:, :: -(-decibels.shape[1] // FRAMES)]
    loudest = float(decibels.max())
    picture = io.BytesIO()
    imsave(
        picture, decibels, cmap=colormaps["magma"], vmin=loudest - 70, vmax=loudest + 6, origin="lower", format="png"
    )
    return "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode()
