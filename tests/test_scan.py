"""The verdicts of the scan on awkward files and folders."""

import csv
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tiny_audio_diffusion.data.datamodule import SoundFolder
from tiny_audio_diffusion.data.scan import scan, write_report
from tiny_audio_diffusion.data.transforms import Transforms

RATE = 44_100
LENGTH = 4_096


def hit(*, sampling_rate: int = RATE) -> np.ndarray:
    time = np.arange(round(0.08 * sampling_rate)) / sampling_rate
    return 0.8 * np.cos(2 * np.pi * 200 * time) * np.exp(-time * 40)


def broken_nan(path: Path) -> None:
    sound = hit()
    sound[100] = np.nan
    soundfile.write(path, sound, RATE, subtype="FLOAT")


def truncated_flac(path: Path) -> None:
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, RATE), RATE, format="FLAC")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def truncated_wav(path: Path) -> None:
    soundfile.write(path, hit(), RATE, subtype="PCM_16")
    path.write_bytes(path.read_bytes()[: 44 + 2 * 1_000 + 1])


def sample_rate_of_1_hz(path: Path) -> None:
    soundfile.write(path, hit(), 1)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "bytes_0.wav": (Path.touch, "empty"),
    "frames_0.wav": (lambda path: soundfile.write(path, np.zeros(0), RATE), "empty"),
    "text.wav": (lambda path: path.write_text("this is no sound\n" * 20), "unreadable"),
    "cut.flac": (truncated_flac, "unreadable"),
    "silent.wav": (lambda path: soundfile.write(path, np.zeros(5_000), RATE), "silent"),
    "quiet.wav": (lambda path: soundfile.write(path, hit() * 1e-3, RATE), "silent"),
    "late.wav": (lambda path: soundfile.write(path, np.r_[np.zeros(RATE), hit()], RATE), "silent"),
    "nan.wav": (broken_nan, "NaN"),
    "double.wav": (lambda path: soundfile.write(path, hit() * 1e300, RATE, subtype="DOUBLE"), "infinite"),
    "short.wav": (lambda path: soundfile.write(path, hit()[:15], RATE), "shorter than 16"),
    "rate.wav": (sample_rate_of_1_hz, "1 Hz"),
    "fifo.wav": (os.mkfifo, "regular"),
    "link.wav": (lambda path: path.symlink_to("nowhere.wav"), "No such file"),
}
GOOD: dict[str, tuple[Callable[[Path], object], int]] = {
    "UPPER.WAV": (lambda path: soundfile.write(path, hit(), RATE, format="WAV"), len(hit())),
    "mono_22050.wav": (lambda path: soundfile.write(path, hit(sampling_rate=22_050), 22_050), 1_764),
    "six.wav": (lambda path: soundfile.write(path, np.stack([hit()] * 6, 1), RATE), len(hit())),
    "u8.wav": (lambda path: soundfile.write(path, hit(), RATE, subtype="PCM_U8"), len(hit())),
    "24.wav": (lambda path: soundfile.write(path, hit(), RATE, subtype="PCM_24"), len(hit())),
    "float.wav": (lambda path: soundfile.write(path, hit() * 40, RATE, subtype="FLOAT"), len(hit())),
    "truncated.wav": (truncated_wav, 1_000),
    "a.flac": (lambda path: soundfile.write(path, hit(), RATE), len(hit())),
    "a.Aif": (lambda path: soundfile.write(path, hit(), RATE, format="AIFF"), len(hit())),
    "a.ogg": (lambda path: soundfile.write(path, hit(), RATE), len(hit())),
    "spaces = [1] é.wav": (lambda path: soundfile.write(path, hit(), RATE), len(hit())),
}


@pytest.fixture
def awkward(tmp_path: Path) -> Path:
    folder = tmp_path / "awkward"
    folder.mkdir()
    for name, (make, _) in {**BAD, **GOOD}.items():
        make(folder / name)
    for litter in ("._x.wav", ".hidden.wav", "__MACOSX/x.wav", "notes.txt", "a.wav.bak"):
        (folder / litter).parent.mkdir(exist_ok=True)
        soundfile.write(folder / litter, hit(), RATE, format="WAV")
    (folder / "folder.wav").mkdir()
    (folder / "folder.wav" / "parent").symlink_to("..")
    return folder


def test_every_file_gets_its_verdict(awkward: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = {file.path.name: file for file in scan(awkward, seconds=0.5)}
    assert files.keys() == BAD.keys() | GOOD.keys()
    for name, (_, reason) in BAD.items():
        assert files[name].status == "skipped", files[name]
        assert reason in files[name].reason, files[name]
    for name, (_, frames) in GOOD.items():
        assert (files[name].status, files[name].frames) == ("usable", frames), files[name]
    assert f"{len(BAD)} of {len(BAD) + len(GOOD)} sound files are skipped" in caplog.text


def test_awkward_sounds_come_out_alike(awkward: Path) -> None:
    transforms = Transforms(sampling_rate=RATE, length=LENGTH, channels=2, loudness=-20)
    dataset = SoundFolder(awkward, transforms, recursive=True, cache_gigabytes=1.0)
    assert len(dataset) == len(GOOD)
    for sound in dataset:
        audio = sound["audio"]
        assert audio.shape == (2, LENGTH)
        assert audio.dtype == torch.float32
        assert torch.isfinite(audio).all()
        assert 0.1 < audio.abs().max() <= 10 ** (-1 / 20) + 1e-6, sound["path"]


def test_report(awkward: Path, tmp_path: Path) -> None:
    write_report(scan(awkward), tmp_path / "data_report.csv")
    with (tmp_path / "data_report.csv").open(newline="", encoding="utf-8") as file:
        rows = {Path(row["path"]).name: row for row in csv.DictReader(file)}
    assert rows.keys() == BAD.keys() | GOOD.keys()
    assert rows["mono_22050.wav"] == {
        "path": str(awkward / "mono_22050.wav"), "status": "usable", "reason": "",
        "sampling_rate": "22050", "channels": "1", "frames": "1764", "seconds": "0.0800",
    }  # fmt: skip


def test_folders(tmp_path: Path) -> None:
    for place in ("one/deep/a.wav", "one/deep/b.wav", "two/a.wav"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / place, hit(), RATE)
    assert len(scan([tmp_path / "one", str(tmp_path / "two")])) == 3
    assert len(scan([tmp_path, tmp_path / "two"])) == 3
    with pytest.raises(ValueError, match="no such file found"):
        scan(tmp_path / "one", recursive=False)


def test_nothing_usable(tmp_path: Path) -> None:
    for index in range(5):
        (tmp_path / f"{index}.wav").touch()
    with pytest.raises(ValueError, match=r"\.aiff") as error:
        scan(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert str(error.value).count("empty") == 3
    assert "2 more" in str(error.value)
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "missing")):
        scan(tmp_path / "missing")
    with pytest.raises(ValueError, match=r"0\.wav is a file"):
        scan(tmp_path / "0.wav")
    with pytest.raises(ValueError, match=r"datamodule\.dataset\.path"):
        scan("")
