"""Reading, writing, resampling, channels."""

import math
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tiny_audio_diffusion.audio import BLOCK, blocks, open_sound, read, resample, to_channels, write

FORMATS = [
    ("a.wav", "WAV", "PCM_24"),
    ("a.wav", "RF64", "FLOAT"),
    ("a.flac", "FLAC", "PCM_16"),
    ("a.aiff", "AIFF", "PCM_16"),
    ("a.ogg", "OGG", "VORBIS"),
    ("a.ogg", "OGG", "OPUS"),
    ("a.mp3", "MP3", "MPEG_LAYER_III"),
]
RATE = 48_000  # the one that all of the formats have


def tone(frequency: float, sampling_rate: int, *, seconds: float = 0.25) -> torch.Tensor:
    time = torch.arange(round(seconds * sampling_rate), dtype=torch.float64) / sampling_rate
    return (0.5 * torch.sin(2 * math.pi * frequency * time)).float()[None]


def hits(length: int) -> np.ndarray:
    """Bursts of noise over a tone, [length, 2]: an encoder spends very different numbers of bytes on their parts."""
    time = np.arange(length) / RATE
    noise = np.random.default_rng(0).normal(size=(length, 2)) * 0.2 * np.exp(-(time % 0.17) * 60)[:, None]
    return noise + 0.2 * np.sin(2 * np.pi * time[:, None] * [440, 1_000])


def decoded_at_once(path: Path) -> torch.Tensor:
    """All of a sound [channels, length] in one read."""
    return torch.from_numpy(soundfile.read(path, dtype="float32", always_2d=True)[0].T)


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


@pytest.mark.parametrize(("name", "container", "subtype"), FORMATS)
def test_every_format_is_read_from_anywhere(tmp_path: Path, name: str, container: str, subtype: str) -> None:
    path = tmp_path / name
    soundfile.write(path, hits(150_000), RATE, format=container, subtype=subtype)
    whole = decoded_at_once(path)
    found, sampling_rate = read(path)
    assert (sampling_rate, found.shape) == (RATE, (2, 150_000))
    torch.testing.assert_close(found, whole, atol=1e-6, rtol=0)
    # The last page of a Vorbis file is the one that libsndfile seeks to wrongly.
    for start in (1, 1_000, 40_000, *range(100_000, 150_000, 2_499)):
        part, _ = read(path, start=start, frames=5_000)
        torch.testing.assert_close(part, whole[:, start : start + 5_000], atol=1e-6, rtol=0)
    for start in (150_000, 150_001, 10**9):
        assert read(path, start=start)[0].shape == (2, 0)


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_mp3_of_few_bits_is_read_in_blocks(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.mp3"
    soundfile.write(path, hits(150_000)[:, :1], RATE, compression_level=0.9, bitrate_mode=mode)
    whole = decoded_at_once(path)
    with open_sound(path) as file:  # its frames hold parts of one another
        parts = [block for _ in range(1_000) for block in blocks(file, 100)]
    torch.testing.assert_close(torch.from_numpy(np.concatenate(parts).T), whole[:, :100_000], atol=1e-6, rtol=0)
    for start in range(1_000, 140_000, 9_973):
        part, _ = read(path, start=start, frames=4_000)
        torch.testing.assert_close(part, whole[:, start : start + 4_000], atol=1e-6, rtol=0)


@pytest.mark.parametrize(("name", "subtype"), [("a.ogg", "VORBIS"), ("a.mp3", "MPEG_LAYER_III")])
def test_a_long_sound_is_decoded_from_shortly_before(tmp_path: Path, name: str, subtype: str) -> None:
    path = tmp_path / name
    sampling_rate = 8_000
    options = {"compression_level": 0.0, "bitrate_mode": "CONSTANT"} if name.endswith("mp3") else {}
    soundfile.write(path, hits(200_000)[:, 0], sampling_rate, subtype=subtype, **options)
    whole = decoded_at_once(path)
    for start in (90_000, 150_001, 199_000):
        part, _ = read(path, start=start, frames=4_000)
        torch.testing.assert_close(part, whole[:, start : start + 4_000], atol=1e-6, rtol=0)


def test_mp3_that_begins_with_padding(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    soundfile.write(path, hits(20_000), RATE)
    path.write_bytes(bytes(500) + path.read_bytes())
    assert read(path)[0].shape == (2, 20_000)


@pytest.mark.parametrize("name", ["a.wav", "a.aiff", "a.flac", "a.ogg", "a.mp3"])
def test_a_file_cut_off_before_the_start_is_empty(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    soundfile.write(path, hits(150_000), RATE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert read(path, start=140_000)[0].shape == (2, 0)


def test_blocks_are_bounded_for_any_header(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros((300, 1_000)), RATE, subtype="PCM_U8")
    content = bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = struct.pack("<I", 2**32 - 1)  # claims far more than it holds
    path.write_bytes(content)
    with open_sound(path) as file:
        sizes = [block.size for block in blocks(file)]
    assert sum(sizes) == 300_000
    assert max(sizes) <= BLOCK
    assert read(path, frames=2**31)[0].shape == (1_000, 300)


def test_a_name_that_is_not_unicode(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", torch.full((1, 100), 0.5), RATE)
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))
    try:
        (tmp_path / "a.wav").rename(path)
    except OSError:
        pytest.skip("this file system holds Unicode names only")
    assert read(path)[0].shape == (1, 100)
    path.write_bytes(b"this is no sound")
    with pytest.raises(ValueError, match=r"caf\\xe9\.wav") as caught:
        read(path)
    str(caught.value).encode("utf-8")  # can be printed and logged anywhere


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes among the files")
@pytest.mark.timeout(10)
def test_pipes_devices_and_folders_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    for path in (tmp_path / "pipe.wav", Path(os.devnull), Path("/dev/zero"), tmp_path):
        with pytest.raises(ValueError, match=f"{path} is not a regular file"):
            read(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read .*gone\.wav: No such file"):
        read(tmp_path / "gone.wav")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files cannot be counted")
def test_files_are_closed(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", torch.zeros(1, 100), RATE)
    (tmp_path / "b.wav").write_text("this is no sound")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(3):
        read(tmp_path / "a.wav")
        for wrong in (tmp_path / "b.wav", tmp_path):
            with pytest.raises(ValueError, match=r"regular|cannot read"):
                read(wrong)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


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
    seven = torch.arange(7.0)[:, None].expand(7, 3)
    assert to_channels(seven, 2)[:, 0].tolist() == [0, 1]
    assert to_channels(seven, 1)[:, 0].tolist() == [0.5]
    assert to_channels(seven[3:4], 2)[:, 0].tolist() == [3, 3]
    assert torch.equal(to_channels(seven[:2], 2), seven[:2])
    assert to_channels(seven[:2], 1)[:, 0].tolist() == [0.5]
    with pytest.raises(ValueError, match="1 or 2"):
        to_channels(seven, 3)


@pytest.mark.parametrize(
    ("channels", "left", "right"),
    [
        (3, [1, 0, 0.5**0.5], [0, 1, 0.5**0.5]),
        (4, [1, 0, 0.5**0.5, 0], [0, 1, 0, 0.5**0.5]),
        (5, [1, 0, 0.5**0.5, 0.5**0.5, 0], [0, 1, 0.5**0.5, 0, 0.5**0.5]),
        (6, [1, 0, 0.5**0.5, 0, 0.5**0.5, 0], [0, 1, 0.5**0.5, 0, 0, 0.5**0.5]),
        (8, [1, 0, 0.5**0.5, 0, 0.5**0.5, 0, 0.5**0.5, 0], [0, 1, 0.5**0.5, 0, 0, 0.5**0.5, 0, 0.5**0.5]),
    ],
)
def test_surround_weights(channels: int, left: list[float], right: list[float]) -> None:
    # Each loudspeaker alone, one after the other: what comes out is its weights.
    torch.testing.assert_close(to_channels(torch.eye(channels), 2), torch.tensor([left, right], dtype=torch.float32))
    both = torch.tensor([left, right]).mean(dim=0, keepdim=True)
    torch.testing.assert_close(to_channels(torch.eye(channels), 1), both)
