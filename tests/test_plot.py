"""Pictures: their sizes, their scales, and that nothing is hidden."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from matplotlib import pyplot
from matplotlib.image import imread
from torch import Tensor

from tiny_audio_diffusion import plot

RATE, LENGTH = 44_100, 32_768


def sounds(count: int, channels: int = 2, length: int = LENGTH) -> Tensor:
    noise = torch.randn(count, channels, length, generator=torch.Generator().manual_seed(count))
    return 0.2 * noise * torch.exp(-torch.arange(length) / 5000)


def sine(frequency: float) -> Tensor:
    return torch.sin(2 * math.pi * frequency * torch.arange(LENGTH) / RATE).reshape(1, 1, -1)


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (5, 4, 2), (16, 4, 4)])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_sheet_has_a_cell_for_every_sound(tmp_path, count, columns, rows, channels):
    path = tmp_path / "sheet of sounds [1]=é.png"
    plot.contact_sheet(sounds(count, channels), RATE, path, titles=[f"sound {index}.wav" for index in range(count)])
    assert path.read_bytes().startswith(b"\x89PNG")
    assert imread(path).shape[:2] == (60 + rows * 270, 180 + columns * 330)
    assert pyplot.get_fignums() == []


def test_columns_shape_the_sheet(tmp_path):
    plot.contact_sheet(sounds(3, length=2048), RATE, str(tmp_path / "a.png"), columns=1)
    assert imread(tmp_path / "a.png").shape[:2] == (60 + 3 * 270, 180 + 330)


def test_a_full_scale_sine_reads_as_its_power_in_its_band():
    decibels = plot.mel_decibels(sine(1000.0), RATE)
    assert decibels.shape[:2] == (1, 80)
    # Of a Hann window of 1024 the sum is 512: |X|² = (512 / 2)² at the sine, of which the nearest bins hold most.
    # The bands stand evenly in mel and are divided by half their width in Hz.
    spacing = (15 + 27 * math.log(22.05, 6.4)) / 81  # mel
    band = round(15 / spacing) - 1
    assert decibels[0, :, 20:-20].argmax(dim=0).unique().tolist() == [band]
    bins = torch.arange(513) * RATE / 1024
    mel = torch.where(bins < 1000, 3 * bins / 200, 15 + 27 * torch.log(bins.clamp(min=1) / 1000) / math.log(6.4))
    edges = [spacing * (band + offset) for offset in (0, 1, 2)]
    hertz = [200 * edge / 3 if edge < 15 else 1000 * 6.4 ** ((edge - 15) / 27) for edge in edges]
    weight = torch.minimum((bins - hertz[0]) / (hertz[1] - hertz[0]), (hertz[2] - bins) / (hertz[2] - hertz[1]))
    weight = weight.clamp(min=0) * 2 / (hertz[2] - hertz[0])
    assert ((mel > edges[0]) & (mel < edges[2]) == (weight > 0)).all()
    spectrum = torch.fft.rfft(sine(1000.0)[0, 0, 4096:5120] * torch.hann_window(1024)).abs().square()
    assert decibels[0, band, 20].item() == pytest.approx(10 * math.log10(spectrum @ weight), abs=0.5)


def test_decibels_span_80_below_the_loudest_and_follow_the_level():
    pair = torch.cat([sine(1000.0), 0.1 * sine(1000.0)])
    decibels = plot.mel_decibels(pair, RATE)
    assert (decibels.max() - decibels.min()).item() == pytest.approx(80, abs=1e-3)
    assert (decibels[0].max() - decibels[1].max()).item() == pytest.approx(20, abs=1e-3)


@pytest.mark.parametrize("rate", [8_000, 22_050, 96_000, 192_000])
def test_every_rate_and_short_sounds_have_a_picture(tmp_path, rate):
    plot.contact_sheet(sounds(2, length=100), rate, tmp_path / "short.png")
    assert plot.mel_decibels(sounds(1), rate).isfinite().all()


def test_silence_is_dark_and_says_so():
    silence, noise = plot.mel_image(torch.zeros(2, LENGTH), RATE), plot.mel_image(sounds(1)[0], RATE)
    assert silence.dtype == np.uint8
    assert silence.shape == noise.shape == (330, 510, 3)
    picture = np.s_[130:260, 90:370]  # inside the mel picture
    assert silence[picture].max() < 10
    assert noise[picture].max() > 150


def test_a_sound_beyond_full_scale_is_drawn_whole_and_marked_red():
    def reds(image: np.ndarray) -> int:
        red, green, blue = np.moveaxis(image[:60].astype(int), -1, 0)
        return int(((red > 150) & (green < 90) & (blue < 90)).sum())

    def height(image: np.ndarray) -> int:
        red, _, blue = np.moveaxis(image[40:120].astype(int), -1, 0)
        return int((blue - red > 60).any(axis=1).sum())

    square = torch.sign(sine(50.0)[0])
    full = plot.mel_image(square, RATE)
    square[:, : LENGTH // 2] *= 2
    loud = plot.mel_image(square, RATE)
    assert reds(full) == 0 < reds(loud)
    # The scale grows with the sound: the half at full scale is now drawn half as high as the other half.
    assert height(loud[:, 260:360]) == pytest.approx(height(loud[:, 90:200]) / 2, abs=2)
    assert height(loud[:, 90:200]) == pytest.approx(height(full), abs=1)


@pytest.mark.parametrize("title", [r"a $\nonsense{$.wav", "ドラム.wav", "x" * 200, "", "\n\t"])
def test_any_file_name_is_a_title(tmp_path, title):
    plot.contact_sheet(sounds(1, length=2048), RATE, tmp_path / "a.png", titles=[title])
    assert imread(tmp_path / "a.png").shape[:2] == (330, 510)


def test_what_cannot_be_drawn_is_refused(tmp_path):
    broken = sounds(2, length=2048)
    broken[1, 0, 5] = float("nan")
    with pytest.raises(ValueError, match="NaN or infinity"):
        plot.contact_sheet(broken, RATE, tmp_path / "a.png")
    with pytest.raises(ValueError, match="1 titles were given for 2 sounds"):
        plot.contact_sheet(sounds(2, length=2048), RATE, tmp_path / "a.png", titles=["one"])
    for shape in ((0, 2, 100), (2, 100)):
        with pytest.raises(ValueError, match="count, channels, length"):
            plot.contact_sheet(torch.zeros(shape), RATE, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_threads_draw_the_same_picture(tmp_path):
    audio = sounds(2)
    paths = [tmp_path / f"{index}.png" for index in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda path: plot.contact_sheet(audio, RATE, path), paths))
    assert len({path.read_bytes() for path in paths}) == 1
