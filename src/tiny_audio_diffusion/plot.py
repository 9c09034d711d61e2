"""Pictures of sounds: the waveform over its mel spectrogram in real decibels."""

import math
from os import PathLike

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from torch import Tensor
from torchaudio.transforms import MelSpectrogram

from tiny_audio_diffusion.metrics import is_silent, peak_decibels

MELS, HOP_LENGTH = 80, 256
RANGE = 80.0  # dB from the darkest to the brightest colour
POWER_FLOOR = 1e-10
DOTS_PER_INCH = 150
# In inches: the room of one sound with its gaps, its two pictures and their seam, and the room around all sounds.
CELL_WIDTH, CELL_HEIGHT = 2.2, 1.8
PICTURE_WIDTH, WAVEFORM_HEIGHT, MEL_HEIGHT, SEAM = 2.04, 0.44, 1.02, 0.04
LEFT, RIGHT, BOTTOM = 0.5, 0.7, 0.4
INK, GREY, BLUE, RED = "#222222", "#888888", "#33658a", "#c1121f"
FONT = FontProperties(family="DejaVu Sans", size=7)
TITLE_LENGTH = 26


@torch.no_grad()
def mel_decibels(audio: Tensor, sampling_rate: int) -> Tensor:
    """Mel spectrograms of sounds [N, C, L] as 10·log10 of power, cut off 80 dB below the loudest: [N, mels, frames]."""
    # One picture per sound shows the mean of its channels; what cancels between them does not appear.
    mono = audio.detach().float().cpu().mean(dim=1)
    mel = MelSpectrogram(
        sampling_rate,
        n_fft=1024 * math.ceil(sampling_rate / 96_000),  # at higher rates 1024 leaves the lowest bands empty
        hop_length=HOP_LENGTH,
        n_mels=MELS,
        norm="slaney",
        mel_scale="slaney",
        pad_mode="constant",
    )
    decibels = 10 * torch.log10(mel(mono).clamp(min=POWER_FLOOR))
    return decibels.clamp(min=decibels.max() - RANGE)


def contact_sheet(
    audio: Tensor,
    sampling_rate: int,
    path: str | PathLike[str],
    *,
    titles: list[str] | None = None,
    columns: int = 4,
) -> None:
    """Draw sounds [N, C, L] into one PNG, all of them on the same scales."""
    _draw(audio, sampling_rate, titles, columns).figure.savefig(path, format="png")


def mel_image(audio: Tensor, sampling_rate: int) -> np.ndarray:
    """The picture of one sound [C, L] for loggers: uint8 [height, width, 3]."""
    canvas = _draw(audio[None], sampling_rate, None, 1)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw(audio: Tensor, sampling_rate: int, titles: list[str] | None, columns: int) -> FigureCanvasAgg:
    if audio.ndim != 3 or audio.numel() == 0:
        raise ValueError(f"a picture needs sounds of shape [count, channels, length], not {list(audio.shape)}")
    if not audio.isfinite().all():
        raise ValueError("a picture needs finite sounds, but these hold NaN or infinity")
    if titles is not None and len(titles) != len(audio):
        raise ValueError(f"{len(titles)} titles were given for {len(audio)} sounds")
    audio = audio.detach().float().cpu()
    count, columns = len(audio), min(columns, len(audio))
    rows = math.ceil(count / columns)
    # A figure of its own, not pyplot's: those are kept until closed and are not safe in threads.
    figure = Figure((LEFT + columns * CELL_WIDTH + RIGHT, BOTTOM + rows * CELL_HEIGHT), dpi=DOTS_PER_INCH)
    canvas = FigureCanvasAgg(figure)

    mono, decibels = audio.mean(dim=1).numpy(), mel_decibels(audio, sampling_rate).numpy()
    limit = max(1.0, float(np.abs(mono).max()))  # grows with sounds beyond full scale, so that nothing is cut off
    # Not below what the power floor allows: a sheet of digital silence is dark all over, not bright all over.
    loudest = max(float(decibels.max()), 10 * math.log10(POWER_FLOOR) + RANGE)
    colours = ScalarMappable(Normalize(loudest - RANGE, loudest), cmap="magma")
    for index in range(count):
        row, column = divmod(index, columns)
        left, bottom = LEFT + column * CELL_WIDTH, BOTTOM + (rows - 1 - row) * CELL_HEIGHT
        waveform = _axes(figure, left, bottom + MEL_HEIGHT + SEAM, WAVEFORM_HEIGHT)
        picture = _axes(figure, left, bottom, MEL_HEIGHT)
        _draw_waveform(waveform, mono[index], sampling_rate, limit)
        _draw_mel(picture, decibels[index], mono.shape[1] / sampling_rate, sampling_rate, colours)
        _write_title(waveform, titles[index] if titles else "", audio[index])
        _label(waveform, picture, first=column == 0, last=index + columns >= count)

    high = (rows - 1) * CELL_HEIGHT + MEL_HEIGHT + SEAM + WAVEFORM_HEIGHT
    bar = figure.colorbar(colours, cax=_axes(figure, LEFT + columns * CELL_WIDTH, BOTTOM, high, width=0.1))
    bar.set_label("mel power (dB)", fontproperties=FONT, color=INK)
    bar.outline.set(linewidth=0.5, color=GREY)
    return canvas


def _axes(figure: Figure, left: float, bottom: float, height: float, *, width: float = PICTURE_WIDTH) -> Axes:
    """Axes placed in inches, with thin grey frames."""
    across, up = figure.get_size_inches()
    axes = figure.add_axes((left / across, bottom / up, width / across, height / up))
    axes.tick_params(labelsize=6, length=2, width=0.5, color=GREY, labelcolor=INK, pad=2)
    for spine in axes.spines.values():
        spine.set(linewidth=0.5, color=GREY)
    return axes


def _draw_waveform(axes: Axes, samples: np.ndarray, sampling_rate: int, limit: float) -> None:
    # Lowest and highest sample per column of the picture: no peak falls between two points.
    starts = np.linspace(0, len(samples), min(len(samples), 600), endpoint=False).astype(int)
    low, high = np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)
    axes.fill_between(starts / sampling_rate, low, high, color=BLUE, linewidth=0.5)
    axes.set(xlim=(0, len(samples) / sampling_rate), ylim=(-1.05 * limit, 1.05 * limit), yticks=(-1, 0, 1))


def _draw_mel(axes: Axes, decibels: np.ndarray, seconds: float, sampling_rate: int, colours: ScalarMappable) -> None:
    hop = HOP_LENGTH / sampling_rate
    extent = (-hop / 2, (decibels.shape[1] - 0.5) * hop, -0.5, MELS - 0.5)  # frames and bands lie around their centres
    axes.imshow(decibels, origin="lower", aspect="auto", extent=extent, clim=colours.get_clim(), cmap=colours.cmap)
    axes.set(xlim=(0, seconds))
    ticks = [kilohertz for kilohertz in (0.5, 1, 2, 4, 8, 16) if 2000 * kilohertz < sampling_rate]
    # Centres of the bands are spaced evenly in mel, between 0 and half the sampling rate.
    spacing = _mel(sampling_rate / 2) / (MELS + 1)
    axes.set_yticks([_mel(1000 * kilohertz) / spacing - 1 for kilohertz in ticks], [f"{tick:g}" for tick in ticks])


def _mel(hertz: float) -> float:
    """Slaney's mel scale: linear up to 1 kHz, logarithmic above."""
    return 3 * hertz / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)


def _write_title(axes: Axes, title: str, sound: Tensor) -> None:
    # Any file name has to do: cut in the middle if long, boxes for letters the font lacks, no mathematics in dollars.
    font = get_font(findfont(FONT))
    title = "".join(letter if font.get_char_index(ord(letter)) else "\N{WHITE SQUARE}" for letter in title)
    if len(title) > TITLE_LENGTH:
        title = f"{title[: TITLE_LENGTH // 2]}…{title[1 - TITLE_LENGTH // 2 :]}"
    axes.set_title(title, loc="left", pad=3, fontproperties=FONT, color=INK, parse_math=False)
    peak = peak_decibels(sound[None]).item()
    text = "silent" if is_silent(sound[None]) else f"{peak:.1f} dB".replace("-", "−")
    axes.set_title(text, loc="right", pad=3, fontproperties=FONT, color=RED if peak > 0 else GREY)


def _label(waveform: Axes, picture: Axes, *, first: bool, last: bool) -> None:
    """Axes share their scales, so only those at the left and at the bottom carry numbers."""
    waveform.tick_params(labelbottom=False, bottom=False, labelleft=first)
    picture.tick_params(labelbottom=last, labelleft=first)
    if first:
        picture.set_ylabel("frequency (kHz)", fontproperties=FONT, color=INK, labelpad=2)
    if last:
        picture.set_xlabel("time (seconds)", fontproperties=FONT, color=INK, labelpad=2)
