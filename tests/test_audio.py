"""Reading, writing, resampling, channels."""

import math
from pathlib import Path

import pytest
import soundfile
import torch

from tiny_audio_diffusion.audio import read, resample, to_channels, write


def tone(frequency: float, sampling_rate: int, *, seconds: float = 0.25) -> torch.Tensor:
    time = torch.arange(round(seconds * sampling_rate), dtype=torch.float64) / sampling_rate
    return (0.5 * torch.sin(2 * math.pi * frequency * time)).float()[None]


def loudest_frequency(audio: torch.Tensor, sampling_rate: int) -> float:
    spectrum = torch.fft.rfft(audio[0].double(), n=sampling_rate).abs()  # one bin is one hertz
    return float(spectrum.argmax())


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_round_trip(tmp_path: Path, channels: int) -> None:
    audio = torch.rand(channels, 70_000) * 2 - 1  # longer than one block of the reader
    assert write(tmp_path / "a.wav", audio, 48_000) == pytest.approx(audio.abs().max().item())
    found, sampling_rate = read(tmp_path / "a.wav")
    assert (sampling_rate, found.dtype, found.shape) == (48_000, torch.float32, audio.shape)
    assert (found - audio).abs().max() < 2**-22  # 24 bits
    assert torch.equal(read(tmp_path / "a.wav", frames=66_000)[0], found[:, :66_000])


def test_subtype(tmp_path: Path) -> None:
    audio = torch.rand(2, 100)
    write(tmp_path / "a.wav", audio, 44_100, subtype="FLOAT")
    assert torch.equal(read(tmp_path / "a.wav")[0], audio)
    assert soundfile.info(tmp_path / "a.wav").subtype == "FLOAT"


def test_limits_aloud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert write(tmp_path / "a.wav", torch.tensor([[0.5, -2.5, 1.0]]), 44_100) == 2.5
    assert "a.wav: peak 2.500 limited to 0.989" in caplog.text
    torch.testing.assert_close(read(tmp_path / "a.wav")[0], torch.tensor([[0.5, -0.98855, 0.98855]]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_writes_finite_audio_only(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match=r"a\.wav.*NaN"):
        write(tmp_path / "a.wav", torch.tensor([[0.0, value]]), 44_100)
    assert not (tmp_path / "a.wav").exists()


def test_names_unreadable_file(tmp_path: Path) -> None:
    (tmp_path / "notes.wav").write_text("this is no sound")
    with pytest.raises(ValueError, match=r"notes\.wav"):
        read(tmp_path / "notes.wav")


@pytest.mark.parametrize("sampling_rate", [8_000, 22_050, 44_101, 48_000, 96_000])
def test_resample_keeps_pitch_and_duration(sampling_rate: int) -> None:
    audio = resample(tone(440, sampling_rate), sampling_rate, 44_100)
    assert abs(audio.shape[-1] - 11_025) <= 1
    assert abs(loudest_frequency(audio, 44_100) - 440) <= 1
    middle = slice(1_000, 10_000)
    assert (audio - tone(440, 44_100)[:, : audio.shape[-1]])[:, middle].abs().max() < 1e-2


def test_resample_to_same_rate_changes_nothing() -> None:
    audio = tone(440, 44_100)
    assert resample(audio, 44_100, 44_100) is audio


def test_channels() -> None:
    six = torch.arange(6.0)[:, None].expand(6, 3)
    assert to_channels(six, 2)[:, 0].tolist() == [0, 1]
    assert to_channels(six, 1)[:, 0].tolist() == [2.5]
    assert to_channels(six[3:4], 2)[:, 0].tolist() == [3, 3]
    assert torch.equal(to_channels(six[:2], 2), six[:2])
    with pytest.raises(ValueError, match="1 or 2"):
        to_channels(six, 3)
