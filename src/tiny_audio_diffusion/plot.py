"""Pictures: of a sound the waveform over its mel spectrogram in real decibels, of a set histograms and bars."""

import math
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import BinaryIO

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation
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
TITLE_WIDTH = PICTURE_WIDTH - 0.6  # inches beside the peak
# In inches: one panel of statistics, and the room around it.
PANEL_WIDTH, PANEL_HEIGHT = 2.6, 1.7
PANEL_LEFT, PANEL_RIGHT, PANEL_BOTTOM, PANEL_TOP = 0.55, 0.15, 0.45, 0.25
NAME_WIDTH, COUNT_WIDTH = 1.0, 0.6  # of bars
BINS, MOST_BARS = 40, 14


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
    path: str | PathLike[str] | BinaryIO,
    *,
    titles: list[str] | None = None,
    columns: int = 4,
) -> None:
    """Draw sounds [N, C, L] into one PNG, a file or an open one, all of them on the same scales."""
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
    axes.set_title(_drawable(title, TITLE_WIDTH), loc="left", pad=3, fontproperties=FONT, color=INK, parse_math=False)
    peak = peak_decibels(sound[None]).item()
    text = "silent" if is_silent(sound[None]) else f"{peak:.1f} dB".replace("-", "−")
    axes.set_title(text, loc="right", pad=3, fontproperties=FONT, color=RED if peak > 0 else GREY)


def _drawable(name: str, width: float) -> str:
    """Any file name, with boxes for letters that the font lacks, cut in the middle to fit into so many inches."""
    font = get_font(findfont(FONT))
    font.set_size(FONT.get_size(), 72)  # so that the letters' widths come in points
    name = "".join(letter if font.get_char_index(ord(letter)) else "\N{WHITE SQUARE}" for letter in name)
    widths = [font.load_char(ord(letter)).linearHoriAdvance / 65536 for letter in f"{name}…"]
    room, kept = 72 * width - widths.pop(), len(name)
    if sum(widths) <= 72 * width:
        return name
    while kept > 2 and sum(widths[: kept // 2]) + sum(widths[kept // 2 - kept :]) > room:
        kept -= 1
    return f"{name[: kept // 2]}…{name[kept // 2 - kept :]}"


def _label(waveform: Axes, picture: Axes, *, first: bool, last: bool) -> None:
    """Axes share their scales, so only those at the left and at the bottom carry numbers."""
    waveform.tick_params(labelbottom=False, bottom=False, labelleft=first)
    picture.tick_params(labelbottom=last, labelleft=first)
    if first:
        picture.set_ylabel("frequency (kHz)", fontproperties=FONT, color=INK, labelpad=2)
    if last:
        picture.set_xlabel("time (seconds)", fontproperties=FONT, color=INK, labelpad=2)


def panels(names: Sequence[str], *, columns: int = 3) -> tuple[Figure, list[Axes]]:
    """A figure of empty panels, row by row, one for each name."""
    columns = min(columns, len(names))
    rows = math.ceil(len(names) / columns)
    across, up = PANEL_LEFT + PANEL_WIDTH + PANEL_RIGHT, PANEL_BOTTOM + PANEL_HEIGHT + PANEL_TOP
    figure = Figure((columns * across, rows * up), dpi=DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    placed = []
    for index, name in enumerate(names):
        row, column = divmod(index, columns)
        left, bottom = column * across + PANEL_LEFT, (rows - 1 - row) * up + PANEL_BOTTOM
        axes = _axes(figure, left, bottom, PANEL_HEIGHT, width=PANEL_WIDTH)
        axes.set_title(name, loc="left", pad=3, fontproperties=FONT, color=INK)
        placed.append(axes)
    return figure, placed


def histogram(
    axes: Axes,
    values: np.ndarray,
    *,
    unit: str,
    logarithmic_from: float | None = None,
    mark: tuple[float, str] | None = None,
) -> None:
    """How many sounds have which value, with the median; what lies below a logarithmic scale is drawn at its start."""
    shown = values if logarithmic_from is None else np.maximum(values, logarithmic_from)
    within = np.append(shown, mark[0]) if mark else shown
    low, high = within.min(), within.max()
    if logarithmic_from is None:
        room = max(0.05 * (high - low), 0.5)
        edges = np.linspace(low - room, high + room, BINS + 1)
    else:
        edges = np.geomspace(low / 1.1, high * 1.1, BINS + 1)
        axes.set_xscale("log")
        axes.set_xticks(_one_two_five(edges[0], edges[-1]))
        axes.set_xticks([], minor=True)
        axes.xaxis.set_major_formatter("{x:g}")
    heights, _, _ = axes.hist(shown, bins=edges, color=BLUE)  # type: ignore[arg-type] # its stubs want a list
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, 1.2 * np.max(heights)))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, steps=[1, 2, 5, 10]))
    axes.set_xlabel(unit, fontproperties=FONT, color=INK, labelpad=2)
    axes.set_ylabel("sounds", fontproperties=FONT, color=INK, labelpad=2)
    median = f"median {np.median(values):.3g}".replace("-", "−")
    axes.set_title(median, loc="right", pad=3, fontproperties=FONT, color=GREY)
    if mark:
        _mark(axes, *mark, left=bool(mark[0] > edges[BINS // 2]))


def _mark(axes: Axes, place: float, name: str, *, left: bool) -> None:
    """A line with its name beside it, on its `left` or right."""
    axes.axvline(place, color=RED, linewidth=0.8)
    where = axes.get_xaxis_transform() + ScaledTranslation(
        (-3 if left else 3) / 72, -3 / 72, axes.figure.dpi_scale_trans
    )
    side = "right" if left else "left"
    axes.text(place, 1, name, transform=where, ha=side, va="top", fontproperties=FONT, color=RED)


def bars(axes: Axes, *groups: Mapping[str, int]) -> None:
    """Names with their counts as bars, the largest of each group on top; what is too much shares a line."""
    share = next(
        most for most in range(MOST_BARS, 0, -1) if sum(min(len(group), most) for group in groups) <= MOST_BARS
    )
    inch = max(count for group in groups for count in group.values()) / (PANEL_WIDTH - NAME_WIDTH - COUNT_WIDTH)
    place = 0.0
    for group in groups:
        ordered = sorted(group.items(), key=lambda item: (-item[1], item[0]))
        shown = len(ordered) if len(ordered) <= share else share - 1
        lines = [(name, count, count) for name, count in ordered[:shown]]
        if shown < len(ordered):
            lines.append((f"{len(ordered) - shown} others", sum(count for _, count in ordered[shown:]), 0))
        for name, count, length in lines:
            axes.barh(place, length, height=0.7, color=BLUE)
            _write(axes, -0.04 * inch, place, _drawable(name, NAME_WIDTH - 0.08), side="right", colour=INK)
            _write(axes, length + 0.04 * inch, place, f"{count:,}", side="left", colour=GREY)
            place += 1
        place += 0.5
    across = (-NAME_WIDTH * inch, (PANEL_WIDTH - NAME_WIDTH) * inch)
    axes.set(xlim=across, ylim=(max(place, 4) - 0.8, -0.7), xticks=(), yticks=())
    axes.axvline(0, color=GREY, linewidth=0.5)


def _write(axes: Axes, across: float, up: float, text: str, *, side: str, colour: str) -> None:
    """A word in a panel, at the middle of its height."""
    axes.text(across, up, text, ha=side, va="center", fontproperties=FONT, color=colour, parse_math=False)


def _one_two_five(low: float, high: float) -> list[float]:
    """Round numbers between two limits, only powers of ten where these are many."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    digits = (1, 2, 5) if high / low < 500 else (1,)
    return [digit * 10.0**decade for decade in decades for digit in digits if low <= digit * 10.0**decade <= high]
