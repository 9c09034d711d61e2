"""The verdicts on awkward files and folders."""

import csv
import logging
import os
import struct
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sounds import LENGTH, RATE, hit, make_transforms, open_folder

from tiny_audio_diffusion.audio import printable, read
from tiny_audio_diffusion.data.facts import Facts, examine
from tiny_audio_diffusion.data.report import reason_to_skip

Make = Callable[[Path], object]
KICK = hit()
CEILING = 10 ** (-1 / 20)


def chunk(name: bytes, data: bytes, *, size: int | None = None) -> bytes:
    return name + struct.pack("<I", len(data) if size is None else size) + data + b"\0" * (len(data) % 2)


def header(*, tag: int = 1, channels: int = 1, rate: int = RATE, bits: int = 16, extra: bytes = b"") -> bytes:
    width = channels * bits // 8
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, rate * width, width, bits) + extra)


def riff(*chunks: bytes, size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def samples(sound: np.ndarray = KICK) -> bytes:
    return (sound * 32767).round().astype("<i2").tobytes()


def wave(**options: int) -> bytes:
    return riff(header(**options), chunk(b"data", samples()))  # type: ignore[arg-type]


def raw(content: bytes) -> Make:
    return lambda path: path.write_bytes(content)


def sound(audio: np.ndarray = KICK, rate: int = RATE, **options: str) -> Make:
    return lambda path: soundfile.write(path, audio, rate, **options)


def floats(audio: np.ndarray) -> Make:
    return sound(audio, subtype="FLOAT")


def with_value(value: float) -> np.ndarray:
    audio = KICK.copy()
    audio[100] = value
    return audio


def flac_damaged(path: Path, *, keep: float, junk: int) -> None:
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, RATE), RATE, format="FLAC")
    content = path.read_bytes()
    at = int(len(content) * keep)
    path.write_bytes(content[:at] + (b"\x5a" * junk + content[at + junk :] if junk else b""))


def other(format: str, subtype: str, rate: int = RATE) -> Make:
    return sound(hit(sampling_rate=rate), rate, format=format, subtype=subtype)


SKIPPED: dict[str, tuple[Make, str]] = {
    "bytes_0.wav": (Path.touch, "empty"),
    "frames_0.wav": (sound(np.zeros(0)), "empty"),
    "header_cut.wav": (raw(wave()[:20]), "unreadable"),
    "header_only.wav": (raw(wave()[:44]), "empty"),
    "text.wav": (raw(b"this is no sound\n" * 20), "unreadable"),
    "page.wav": (raw(b"<!DOCTYPE html><html>Not found</html>"), "a web page"),
    "pointer.wav": (raw(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"), "git lfs pull"),
    "random.wav": (raw(np.random.default_rng(0).bytes(5_000)), "unreadable"),
    "avi.wav": (raw(b"RIFF" + struct.pack("<I", 100) + b"AVI " + bytes(96)), "unreadable"),
    "no_format.wav": (raw(riff(chunk(b"data", samples()))), "unreadable"),
    "no_data.wav": (raw(riff(header())), "unreadable"),
    "channels_0.wav": (raw(wave(channels=0)), "unreadable"),
    "channels_200.wav": (raw(riff(header(channels=200), chunk(b"data", samples()))), "200 channels"),
    "rate_0.wav": (raw(wave(rate=0)), "unreadable"),
    "rate_1.wav": (sound(rate=1), "1 Hz"),
    "rate_2000000000.wav": (sound(rate=2_000_000_000), "2000000000 Hz"),
    "codec.wav": (raw(wave(tag=0x1234)), "unreadable"),
    "ima.wav": (sound(subtype="IMA_ADPCM"), "IMA_ADPCM"),
    "ms.wav": (sound(subtype="MS_ADPCM"), "MS_ADPCM"),
    "cut.flac": (lambda path: flac_damaged(path, keep=0.5, junk=0), "unreadable"),
    "damaged.flac": (lambda path: flac_damaged(path, keep=0.5, junk=400), "unreadable"),
    "nan.wav": (floats(with_value(np.nan)), "NaN"),
    "all_nan.wav": (floats(np.full(5_000, np.nan)), "NaN"),
    "inf.wav": (floats(with_value(-np.inf)), "infinite"),
    "1e300.wav": (sound(KICK * 1e300, subtype="DOUBLE"), "infinite"),
    "1e30.wav": (floats(KICK * 1e30), "beyond any sound"),
    "denormal.wav": (floats(np.full(5_000, 1e-40)), "silent"),
    "silent.wav": (sound(np.zeros(5_000)), "silent"),
    "quiet.wav": (sound(KICK * 1e-3, subtype="PCM_24"), "silent"),
    "short.wav": (sound(KICK[:15]), "shorter than 16"),
    "fifo.wav": (os.mkfifo, "regular"),
    "link.wav": (lambda path: path.symlink_to("nowhere.wav"), "No such file"),
    "loop.wav": (lambda path: path.symlink_to("loop.wav"), "symbolic links"),
}
GUID = uuid.UUID("00000001-0000-0010-8000-00aa00389b71").bytes_le
EXTENSIBLE = header(tag=0xFFFE, extra=struct.pack("<HHI", 22, 16, 4) + GUID)
HALF = KICK[: len(KICK) // 2]
LATE = np.r_[np.zeros(RATE), KICK]
WHOLE = (len(KICK), RATE, 1)
ODD_NAMES = [
    *("UPPER.WAV", " leading space.wav", "-rf.wav", "spaces = [1]*?.wav", "100%s_%d.wav", "{0}_{name}.wav", "a,b.wav"),
    *("quote'\".wav", "new\nline.wav", "tab\t.wav", "кик_太鼓_🥁.wav", "a.b.c.wav", "k" * 250 + ".wav"),
    os.fsdecode(b"\xff\xfe.wav"),
]
ENDLESS = riff(header(), chunk(b"data", samples(), size=0xFFFFFFFF), size=0xFFFFFFFF)
LONG_LIST = riff(header(), chunk(b"LIST", b"INFO" + chunk(b"ICMT", b"x" * 100_000)), chunk(b"data", samples()))


def at_rate(rate: int) -> tuple[Make, tuple[int, int, int], str]:
    audio = hit(sampling_rate=rate)
    return sound(audio, rate), (len(audio), rate, 1), f"resampled from {rate} Hz"


# what makes the file; its frames, rate and channels; what the note says
USED: dict[str, tuple[Make, tuple[int, int, int], str]] = {
    **{f"rate_{rate}.wav": at_rate(rate) for rate in (8_000, 11_025, 22_050, 32_000, 44_101)},
    **{f"rate_{rate}.wav": at_rate(rate) for rate in (48_000, 88_200, 96_000, 192_000)},
    **{
        f"{subtype.lower()}.wav": (sound(subtype=subtype), WHOLE, "mono to stereo")
        for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")
    },
    "stereo.wav": (sound(np.stack([KICK, KICK / 2], 1)), (len(KICK), RATE, 2), ""),
    "right_only.wav": (sound(np.stack([0 * KICK, KICK], 1)), (len(KICK), RATE, 2), ""),
    "antiphase.wav": (sound(np.stack([KICK, -KICK], 1)), (len(KICK), RATE, 2), ""),
    "six.wav": (sound(np.stack([KICK] * 6, 1), format="WAVEX"), (len(KICK), RATE, 6), "6 channels to stereo"),
    "extensible.wav": (raw(riff(EXTENSIBLE, chunk(b"data", samples()))), WHOLE, ""),
    "a.flac": (sound(format="FLAC", subtype="PCM_24"), WHOLE, ""),
    "a.Aif": (other("AIFF", "PCM_16"), WHOLE, ""),
    "a.ogg": (other("OGG", "VORBIS"), WHOLE, ""),
    "a.opus": (other("OGG", "OPUS", 48_000), (3_840, 48_000, 1), "resampled"),
    "a.mp3": (other("MP3", "MPEG_LAYER_III"), WHOLE, ""),
    "mp3.wav": (other("MP3", "MPEG_LAYER_III"), WHOLE, ""),
    "flac.wav": (other("FLAC", "PCM_16"), WHOLE, ""),
    "rf64.wav": (other("RF64", "PCM_16"), WHOLE, ""),
    "truncated.wav": (raw(wave()[: 44 + 2_000 + 1]), (1_000, RATE, 1), "its header promises more"),
    "stream.wav": (raw(ENDLESS), WHOLE, ""),
    "long_list.wav": (raw(LONG_LIST), WHOLE, ""),
    "garbage_after.wav": (raw(wave() + np.random.default_rng(1).bytes(2_048)), WHOLE, ""),
    "loud.wav": (floats(KICK * 50), WHOLE, "beyond full scale (+32 dBFS)"),
    "integers.wav": (floats(KICK * 32767), WHOLE, "beyond full scale"),
    "offset.wav": (sound(KICK / 2 + 0.3), WHOLE, ""),
    "clipped.wav": (sound(np.clip(KICK * 20, -1, 1)), WHOLE, "clipped"),
    "faint.wav": (sound(KICK * 4e-3, subtype="PCM_24"), WHOLE, "quiet (-50 dBFS)"),
    "late.wav": (sound(LATE), (len(LATE), RATE, 1), "begins late at 0.998 s"),
    "long.wav": (sound(np.r_[KICK, np.zeros(10 * RATE)]), (len(KICK) + 10 * RATE, RATE, 1), "cut at 0.0929 of 10.1 s"),
    **{name: (raw(wave()), WHOLE, "") for name in ODD_NAMES},
}
IGNORED = {
    "._x.wav": "resource fork", ".hidden.wav": "hidden", "__MACOSX": "hidden folder", ".git": "hidden folder",
    "notes.txt": "no sound", "a.wav.bak": "no sound", "a.wav.asd": "no sound", "wav": "no sound",
    "parent": "read before",
}  # fmt: skip


@pytest.fixture(scope="module")
def awkward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("awkward")
    for name, (make, *_) in {**SKIPPED, **USED}.items():
        make(folder / name)
    for litter in (
        "._x.wav",
        ".hidden.wav",
        "__MACOSX/x.wav",
        ".git/x.wav",
        "notes.txt",
        "a.wav.bak",
        "a.wav.asd",
        "wav",
    ):
        (folder / litter).parent.mkdir(exist_ok=True)
        (folder / litter).write_bytes(wave())
    (folder / "folder.wav").mkdir()
    (folder / "folder.wav" / "parent").symlink_to("..")
    return folder


@pytest.fixture(scope="module")
def report(awkward: Path) -> dict[str, dict[str, str]]:
    open_folder(awkward).write_report(awkward.parent / "report.csv")
    with (awkward.parent / "report.csv").open(newline="", encoding="utf-8") as file:
        return {Path(row["path"]).name: row for row in csv.DictReader(file)}


def test_there_is_a_row_for_every_file(report: dict[str, dict[str, str]]) -> None:
    names = [*SKIPPED, *(printable(name) for name in USED), *IGNORED]
    assert sorted(report) == sorted(names)


@pytest.mark.parametrize("name", SKIPPED)
def test_skipped_with_the_reason(report: dict[str, dict[str, str]], name: str) -> None:
    assert report[name]["status"] == "skipped"
    assert SKIPPED[name][1] in report[name]["note"]


@pytest.mark.parametrize("name", [printable(name) for name in USED])
def test_used_with_true_facts(report: dict[str, dict[str, str]], name: str) -> None:
    _, facts, note = {printable(key): value for key, value in USED.items()}[name]
    row = report[name]
    assert row["status"] == "used", row["note"]
    assert (int(row["frames"]), int(row["sampling_rate"]), int(row["channels"])) == facts
    assert note in row["note"]


@pytest.mark.parametrize("name", IGNORED)
def test_ignored_with_the_reason(report: dict[str, dict[str, str]], name: str) -> None:
    assert report[name]["status"] == "ignored"
    assert IGNORED[name] in report[name]["note"]


def test_what_is_used_can_be_trained_on(awkward: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    dataset = open_folder(awkward, transforms=make_transforms(loudness=-20))
    assert len(dataset) == len(USED)
    for index in range(len(dataset)):
        audio = dataset.prepared.get(index)
        assert audio.shape == (2, LENGTH)
        assert audio.dtype == torch.float32
        assert torch.isfinite(audio).all()
        assert 0.1 < audio.abs().max() <= CEILING, dataset.catalogue.paths[index]
    assert f"{len(SKIPPED)} of {len(SKIPPED) + len(USED)} sound files are skipped" in caplog.text
    assert f"skipped{len(SKIPPED):>18}" in caplog.text
    assert f"{len(IGNORED)}  hidden, litter" in caplog.text


def test_mono_of_opposite_channels(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "opposite.wav", np.stack([KICK, -KICK], 1), RATE)
    soundfile.write(tmp_path / "kick.wav", KICK, RATE)
    dataset = open_folder(tmp_path, transforms=make_transforms(channels=1))
    assert [Path(path).name for path in dataset.catalogue.paths] == ["kick.wav"]
    assert dataset.report.reasons == {"silent in mono": 1}


@pytest.mark.parametrize(
    ("format", "subtype"), [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_16"), ("FLAC", "PCM_24")]
)
def test_random_damage(tmp_path: Path, format: str, subtype: str) -> None:
    path = tmp_path / "sound.wav"
    soundfile.write(path, np.stack([hit(1)[:600], hit(2)[:600]], 1), RATE, format=format, subtype=subtype)
    good = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    random = np.random.default_rng(0)
    transforms = make_transforms(length=512, loudness=-20)
    used = 0
    for _ in range(500):
        damaged = good.copy()
        # half of all damage goes to the header, where it does most
        places = random.integers(0, len(good) if random.random() < 0.5 else 64, random.integers(1, 20))
        damaged[places] = random.integers(0, 256, len(places))
        path.write_bytes(damaged.tobytes()[: random.integers(1, len(good) + 1) if random.random() < 0.2 else None])
        if reason_to_skip(examine(str(path)), transforms):
            continue
        used += 1
        audio = (
            open_folder(tmp_path, transforms=transforms).prepared.get(0)
            if used % 20 == 0
            else prepared(path, transforms)
        )
        assert torch.isfinite(audio).all()
        assert audio.abs().max() <= CEILING
    assert 20 < used < 480


def prepared(path: Path, transforms: object) -> torch.Tensor:
    facts = examine(str(path))
    start = transforms.start(facts.onset, facts.end, facts.frames, facts.sampling_rate)  # type: ignore[attr-defined]
    frames = transforms.frames_needed(facts.sampling_rate)  # type: ignore[attr-defined]
    return transforms(*read(path, start=start, frames=frames))  # type: ignore[operator]


def test_facts_of_a_sound(tmp_path: Path) -> None:
    audio = np.zeros((2_000, 2))
    audio[500:700, 0], audio[600:900, 1] = 0.5, -0.25
    soundfile.write(tmp_path / "a.wav", audio, 48_000, subtype="PCM_24")
    facts = examine(str(tmp_path / "a.wav"))
    assert facts == Facts(
        encoding="WAV PCM_24", sampling_rate=48_000, channels=2, frames=2_000, onset=500, end=900, peak=0.5,
        mono_peak=0.25, digest=facts.digest,
    )  # fmt: skip
    soundfile.write(tmp_path / "b.flac", audio, 48_000, subtype="PCM_24")
    soundfile.write(tmp_path / "c.wav", audio * 0.9, 48_000, subtype="PCM_24")
    assert examine(str(tmp_path / "b.flac")).digest == facts.digest != examine(str(tmp_path / "c.wav")).digest


def test_folders(tmp_path: Path) -> None:
    for index, place in enumerate(("one/deep/a.wav", "one/deep/b.wav", "two/a.wav")):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / place, hit(index), RATE)
    assert len(open_folder([tmp_path / "one", tmp_path / "two"])) == 3
    assert len(open_folder([tmp_path, tmp_path / "two"])) == 3
    with pytest.raises(ValueError, match="no such file found"):
        open_folder(tmp_path / "one", recursive=False)


def test_nothing_usable(tmp_path: Path) -> None:
    for index in range(5):
        (tmp_path / f"{index}.wav").touch()
    with pytest.raises(ValueError, match=r"\.aiff") as error:
        open_folder(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert str(error.value).count("empty") == 3
    assert "2 more" in str(error.value)
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "missing")):
        open_folder(tmp_path / "missing")
    with pytest.raises(ValueError, match=r"0\.wav is a file"):
        open_folder(tmp_path / "0.wav")
    with pytest.raises(ValueError, match=r"datamodule\.dataset\.path"):
        open_folder([])


NOBODY = """
import os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from sounds import open_folder
open_folder(Path({folder!r}, "open"))
if os.geteuid() == 0:  # whom no mode stops
    os.setuid(65534)
for name in ("", "shut"):
    try:
        print(open_folder(Path({folder!r}, name)).report.skipped)
    except ValueError as error:
        print("nothing:", error)
"""


def test_what_may_not_be_read_is_named() -> None:
    with tempfile.TemporaryDirectory() as place:  # not pytest's own, which is for its owner alone
        folder = Path(place)
        folder.chmod(0o755)
        for name in ("open/a.wav", "open/closed.wav", "shut/a.wav"):
            (folder / name).parent.mkdir(exist_ok=True)
            soundfile.write(folder / name, hit(), RATE)
        (folder / "open" / "closed.wav").chmod(0)
        (folder / "shut").chmod(0)
        program = NOBODY.format(tests=str(Path(__file__).parent), folder=place)
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        (folder / "shut").chmod(0o700)
    assert "closed.wav: cannot be opened: Permission denied" in done.stdout, done.stderr
    assert "shut: folder cannot be opened: Permission denied" in done.stdout
    assert "nothing: no usable sound in" in done.stdout


def test_a_link_into_a_class_is_not_a_class(tmp_path: Path) -> None:
    (tmp_path / "snare").mkdir()
    soundfile.write(tmp_path / "snare" / "a.wav", hit(), RATE)
    (tmp_path / "all").symlink_to("snare")
    dataset = open_folder(tmp_path)
    assert (len(dataset), dataset.classes) == (1, ["snare"])
