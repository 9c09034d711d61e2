"""Looking at a set before training: what is told is true, what is advised applies, and the command can be pasted."""

import csv
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from matplotlib.image import imread
from matplotlib.patches import Rectangle
from omegaconf import DictConfig, OmegaConf
from sounds import RATE, hit, make_sounds, make_transforms, open_folder

from tiny_audio_diffusion import arguments, command, plot
from tiny_audio_diffusion.data import scan
from tiny_audio_diffusion.data.statistics import (
    Statistics,
    describe,
    gather,
    highest_frequency,
    measure,
    mixed,
    own_loudness,
)
from utils.check_data import configured, hydra_value, main, possible_lengths, recommend, training_command

LENGTHS = possible_lengths(32_768, multiple=1024)
AUGMENT = "datamodule.dataset.augment."
TRANSFORMS = "datamodule.dataset.transforms."


@pytest.fixture(autouse=True)
def _cache_in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DIR_LOGS", "WANDB_API_KEY", "WANDB_MODE", "PROJECT_ROOT"):
        monkeypatch.setenv(name, "")  # so that all of them are put back afterwards
    monkeypatch.setenv("DIR_DATA", os.path.relpath(tmp_path / "data", command.ROOT))


def write(path: Path, audio: np.ndarray, sampling_rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, sampling_rate, subtype="FLOAT")


def noise(seconds: float, seed: int = 0, *, channels: int = 1) -> np.ndarray:
    """Noise of every frequency, as loud at its end as at its start [frames, channels]."""
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (round(seconds * RATE), channels))


def look(folder: Path, **options: object) -> Statistics:
    dataset = open_folder(folder, memory_gigabytes=0, transforms=make_transforms(length=32_768, **options))
    return gather(dataset, None)


def advised(found: Statistics, *overrides: str) -> dict[str, object]:
    """What is to be set, augmentation apart: sets of tests are small."""
    return {key: value for key, value in everything_advised(found, *overrides).items() if AUGMENT not in key}


def everything_advised(found: Statistics, *overrides: str) -> dict[str, object]:
    settings = recommend(found, configuration(*overrides), LENGTHS)
    assert all(setting.reason for setting in settings)
    return {setting.key: setting.value for setting in settings}


@cache
def configuration(*overrides: str) -> DictConfig:
    command.prepare()
    return configured(*overrides)


def many(found: Statistics, count: int) -> Statistics:
    """The same statistics as of so many different sounds."""
    arrays = (np.resize(values, count) for values in (found.durations, found.onsets, found.ends, found.peaks))
    durations, onsets, ends, peaks = arrays
    return replace(found, copies=0, durations=durations, onsets=onsets, ends=ends, peaks=peaks)


# The command.


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    """Stereo sounds of two classes, a loose copy, one unreadable file and some litter."""
    folder = tmp_path / "my kit [1], it's"
    for index in range(4):
        write(folder / "kick" / f"{index}.wav", noise(0.3, index, channels=2))
    write(folder / "hat" / "a.wav", noise(0.6, 9, channels=2))
    write(folder / "copy.wav", noise(0.6, 9, channels=2))
    (folder / "kick" / "broken.wav").write_text("<html>")
    (folder / "notes.txt").write_text("")
    return folder


def test_everything_is_told_and_written(kit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in kit.rglob("*")}
    out = tmp_path / "out"
    main([str(kit), "--output", str(out)])
    printed = capsys.readouterr().out
    for line in (
        "  skipped                 1  1 a web page, not a sound",
        "  sounds            6, 2.4 s in all",
        "  sampling rate     6 at 44100 Hz",
        "  channels          6 stereo",
        "  format            6 WAV FLOAT",
        "  classes           4 kick, 1 without a class, 1 hat",
        "  copies            1 (the same sound as another file)",
    ):
        assert line in printed.splitlines()
    assert {path.name for path in out.iterdir()} == {"data_report.csv", "statistics.png", "sheet.png"}
    with (out / "data_report.csv").open() as file:
        statuses = sorted(row["status"] for row in csv.DictReader(file))
    assert statuses == ["ignored", "skipped", *["used"] * 6]
    for name in ("statistics.png", "sheet.png"):
        picture = imread(out / name)
        assert min(picture.shape[:2]) > 300
        assert 0.05 < (picture[..., :3].min(axis=2) < 0.9).mean() < 0.95  # neither blank nor black
    assert {path: path.stat().st_mtime_ns for path in kit.rglob("*")} == before


def test_the_last_line_is_a_command_that_trains(
    kit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    main(
        [str(kit), str(kit / "hat"), "--output", str(tmp_path / "out"), "--length", "8192", "--sampling-rate", "48000"]
    )
    python, script, *given = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert (python, script) == ("python", "train.py")
    read = arguments.for_training(given, experiments=["one_shots"])
    with initialize_config_dir(str(command.ROOT / "configs"), version_base="1.3"):
        config = compose("config", read)
    assert config.datamodule.dataset.path == [str(kit), str(kit / "hat")]
    # asked for and not found wanting; found wanting, so replaced; found
    assert (config.sampling_rate, config.length, config.datamodule.balance) == (44_100, 32_768, True)
    assert [argument.partition("=")[0] for argument in given].count("length") == 1
    # Training finds in the cache what the check found: no file is read again.
    monkeypatch.setattr(scan, "examine", lambda path: pytest.fail(f"{path} is read again"))
    main([str(kit), "--output", str(tmp_path / "out"), "--overwrite"])


def test_what_was_asked_for_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "sounds" / "a.wav", noise(0.5, channels=2))
    main([str(tmp_path / "sounds"), "--output", str(tmp_path / "out"), "--channels", "1"])
    given = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert given[3:5] == [f"datamodule.dataset.path={tmp_path / 'sounds'}", "channels=1"]
    assert not [argument for argument in given if "swap" in argument]


@pytest.mark.parametrize(
    "name",
    [
        "my drums (1)",
        "[old]",
        "a=b,c",
        "{x: 1}",
        "it's",
        'a "b"',
        "太鼓",
        "back\\slash\\",
        "$HOME",
        "${x}",
        "\\${x}",
        "null",
        "~",
    ],
)
@pytest.mark.parametrize("count", [1, 2])
def test_any_folder_can_be_pasted(name: str, count: int) -> None:
    roots = [Path("/x", name), Path("/x/other")][:count]
    (_, _, *given) = shlex.split(training_command(roots, ["length=8192"]))
    exp, path, length = arguments.for_training(given, experiments=["one_shots"])
    assert (exp, length) == ("exp=one_shots", "length=8192")
    (override,) = OverridesParser.create().parse_overrides([path])
    understood = OmegaConf.create({"path": override.value()}).path
    assert ([understood] if count == 1 else list(understood)) == [str(root) for root in roots]


def test_ordinary_folders_stay_readable() -> None:
    assert hydra_value([Path("/x/my drums (1)")]) == "/x/my drums (1)"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["missing"], "error: there is no folder .*missing$"),
        (["empty"], "error: no usable sound in .*empty\nlooked for .wav .*no such file found$"),
        (["sounds/hit_0.wav"], "error: .*hit_0.wav is a file: give the folder that holds it$"),
        (
            ["sounds", "--output", "full"],
            "error: --output full is not empty: choose another folder, or add --overwrite$",
        ),
        (["sounds", "--output", "full/a"], "error: --output full/a is a file: choose a folder$"),
        (
            ["sounds", "--output", "sounds/out"],
            "error: --output sounds/out lies among the sounds in .*: choose another$",
        ),
        (["sounds", "--output", "sounds", "--overwrite"], "lies among the sounds"),
        (["sounds", "--length", "33000"], "error: length 33000 is not a multiple of 1024: use 32768 or 33792$"),
        (["sounds", "--channels", "3"], "error: channels must be 1 or 2, not 3"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_told(given: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_sounds(tmp_path / "sounds", 1)
    for name in ("empty", "full"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "a").write_text("")
    before = sorted(tmp_path.glob("[!d]*/**/*"))
    with pytest.raises(SystemExit, match=message) as stopped:
        main(given)
    assert isinstance(stopped.value.code, str)  # Python prints it and exits with 1
    assert sorted(tmp_path.glob("[!d]*/**/*")) == before


def test_a_mistake_ends_with_code_1(tmp_path: Path) -> None:
    script = command.ROOT / "utils" / "check_data.py"
    ended = subprocess.run([sys.executable, str(script), "missing"], cwd=tmp_path, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"error: there is no folder {tmp_path / 'missing'}\n"


# What to set.


def test_nothing_is_advised_to_a_set_that_fits(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", noise(0.6, channels=2))
    assert everything_advised(many(look(tmp_path), 100)) == {}
    assert len(everything_advised(many(look(tmp_path), 99))) == 5


def test_one_channel_is_enough_where_the_sides_are_equal(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", noise(0.6))
    assert advised(look(tmp_path)) == {"channels": 1}
    write(tmp_path / "b.wav", np.repeat(noise(0.6, 1), 2, axis=1))
    assert advised(look(tmp_path)) == {"channels": 1}
    assert advised(look(tmp_path, channels=1), "channels=1") == {}
    # Both sides peak at the same sample, and differ elsewhere.
    sides = noise(0.6, 2, channels=2)
    sides[1000] = 0.8
    write(tmp_path / "c.wav", sides)
    found = look(tmp_path)
    assert found.equal_peaks
    assert not found.are_mono
    assert advised(found) == {}


def test_a_lower_rate_is_enough(tmp_path: Path) -> None:
    for index, rate in enumerate((22_050, 16_000)):
        audio = np.random.default_rng(index).uniform(-0.5, 0.5, (round(0.6 * rate), 2))
        write(tmp_path / f"{index}.wav", audio, rate)
    assert advised(look(tmp_path)) == {"sampling_rate": 22_050, "length": 16_384}
    write(tmp_path / "2.wav", noise(0.6, channels=2))
    assert advised(look(tmp_path)) == {}


@pytest.mark.parametrize(("hertz", "rate"), [(5_000, 11_025), (10_500, 22_050), (21_500, None)])
def test_what_is_not_heard_needs_no_rate(hertz: float, rate: int | None, tmp_path: Path) -> None:
    spectrum = np.fft.rfft(noise(0.6, channels=2), axis=0)
    spectrum[int(0.6 * hertz) :] = 0  # bins are 1/0.6 Hz apart
    audio = np.fft.irfft(spectrum, axis=0)
    ramp = np.minimum(1, np.arange(len(audio)) / 2000)[:, None]
    write(tmp_path / "a.wav", audio * ramp * ramp[::-1])
    assert advised(look(tmp_path)).get("sampling_rate") == rate


def test_a_late_start_is_trimmed(tmp_path: Path) -> None:
    late = np.concatenate([np.zeros((2205, 2)), noise(0.6, channels=2)])
    write(tmp_path / "a.wav", late)
    assert advised(look(tmp_path)) == {f"{TRANSFORMS}trim_silence": True}
    assert advised(look(tmp_path, trim_silence=True), f"{TRANSFORMS}trim_silence=true") == {}
    for index in range(1, 12):
        write(tmp_path / f"{index}.wav", noise(0.6, index, channels=2))
    assert advised(look(tmp_path)) == {}


def test_silence_that_will_be_trimmed_needs_no_room(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", np.concatenate([np.zeros((22_050, 2)), noise(0.6, channels=2)]))
    assert advised(look(tmp_path)) == {f"{TRANSFORMS}trim_silence": True}


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([0.1], {"length": 8_192}),
        ([0.3], {"length": 16_384}),
        ([0.7], {}),
        ([0.8], {"length": 65_536}),
        ([1.5], {"length": 131_072}),
        ([0.7] * 19 + [2.0], {}),  # 95 % are held
        ([0.7] * 18 + [2.0] * 2, {"length": 131_072}),
        ([4.0], {f"{TRANSFORMS}random_crop": True}),
        ([0.7] * 3 + [4.0], {f"{TRANSFORMS}random_crop": True}),
        ([1.2] * 4 + [4.0], {"length": 65_536}),  # no length in reach holds the last
    ],
    ids=str,
)
def test_a_length_holds_nearly_all(seconds: list[float], expected: dict[str, object], tmp_path: Path) -> None:
    for index, duration in enumerate(seconds):
        write(tmp_path / f"{index}.wav", noise(duration, index, channels=2))
    assert advised(look(tmp_path)) == expected


def test_a_faint_end_is_not_worth_a_longer_crop(tmp_path: Path) -> None:
    audio = noise(1.2, channels=2)
    audio[30_000:] *= 0.05  # 26 dB lower, and heard to its end
    write(tmp_path / "a.wav", audio)
    found = look(tmp_path)
    assert found.held(32_768 / RATE, trim_silence=False) == 0
    assert 0 < found.lost[0] < 0.01
    assert advised(found) == {}


def test_a_longer_length_than_any_of_ours_may_be_right(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", noise(5, channels=2))
    assert advised(look(tmp_path), "length=262144") == {}


def test_uneven_classes_are_balanced(tmp_path: Path) -> None:
    for index in range(5):
        write(tmp_path / ("kick" if index < 4 else "hat") / f"{index}.wav", noise(0.6, index, channels=2))
    assert advised(look(tmp_path)) == {"datamodule.balance": True}
    assert advised(look(tmp_path), "datamodule.balance=true") == {}
    write(tmp_path / "hat" / "5.wav", noise(0.6, 5, channels=2))
    assert advised(look(tmp_path)) == {}


def test_few_sounds_are_augmented(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", noise(0.6, channels=2))
    found = look(tmp_path)
    usual = {"gain_decibels", "polarity_probability", "swap_probability", "shift_seconds", "pitch_semitones"}
    assert {key.removeprefix(AUGMENT) for key in everything_advised(found)} == usual
    one = everything_advised(found, "channels=1", f"{AUGMENT}gain_decibels=6")
    assert {key.removeprefix(AUGMENT) for key in one} == usual - {"swap_probability", "gain_decibels"}
    assert everything_advised(many(found, 200)) == {}
    assert len(everything_advised(replace(many(found, 200), copies=101))) == 5


def test_memory_is_given_where_little_is_missing(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", noise(0.6, channels=2))
    found = look(tmp_path)  # 262,144 bytes each once prepared
    key = "datamodule.dataset.memory_gigabytes"
    assert [advised(many(found, count)) for count in (3_800, 5_000, 20_000)] == [{}, {key: 1.4}, {}]
    assert advised(many(found, 5_000), "channels=1") == {}


def test_lengths_suit_the_network() -> None:
    assert LENGTHS == [8_192, 16_384, 32_768, 65_536, 131_072]
    assert possible_lengths(32_768, multiple=3 * 1024) == [12_288, 24_576, 49_152, 98_304]


# The figures.


def test_figures_are_true(tmp_path: Path) -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(65_536) / RATE)
    write(tmp_path / "a.wav", 0.5 * tone[:, None])
    write(tmp_path / "b.wav", np.concatenate([np.zeros(4410), 0.125 * tone[:22_050], np.zeros(22_050)])[:, None])
    found = look(tmp_path)
    assert found.peaks == pytest.approx([-6.02, -18.06], abs=0.01)
    assert found.durations == pytest.approx([65_536 / RATE, 1.1])
    assert found.onsets == pytest.approx([0, 0.1], abs=1e-3)
    assert found.ends == pytest.approx([65_536 / RATE, 0.6], abs=1e-3)
    assert sorted(found.lost) == pytest.approx([0, 0.5], abs=1e-3)
    assert found.held(1.0, trim_silence=False) == 0.5
    assert found.heard(crop_seconds=1.0, trim_silence=True)[1] == pytest.approx(0.502, abs=1e-3)
    described = describe(found, make_transforms(length=32_768))
    assert "cuts 100.0% of the sounds, 50.0% before they end; 25.00% of the energy is lost" in described
    assert "length            1.1 to 1.49 s, median 1.29, 95 % below 1.47" in described
    assert "peak              -18.1 to -6.02 dBFS, median -12" in described


def test_a_sample_is_measured_of_a_large_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiny_audio_diffusion.data.statistics.MOST_MEASURED", 3)
    found = look(make_sounds(tmp_path, 8))
    assert len(found.measured) == 3
    assert found.measured == look(tmp_path).measured
    assert describe(found, make_transforms()).count("(measured on 3 of them)") == 2


def test_loudness_is_that_of_the_standard() -> None:
    tone = torch.sin(2 * torch.pi * 997 * torch.arange(48_000) / 48_000)[None]
    same = make_transforms(sampling_rate=48_000, length=48_000)
    # BS.1770: a full-scale sine of 997 Hz in one channel reads -3.01 LUFS, in both 0 LUFS.
    assert own_loudness(tone, 48_000, same) == pytest.approx(0, abs=0.05)
    assert own_loudness(0.1 * tone, 48_000, same) == pytest.approx(-20, abs=0.05)
    assert own_loudness(torch.cat([tone, 0 * tone]), 48_000, same) == pytest.approx(-3.01, abs=0.05)
    assert own_loudness(tone, 48_000, make_transforms(length=44_100, channels=1)) == pytest.approx(-3.01, abs=0.05)
    assert own_loudness(0 * tone, 48_000, same) == -float("inf")


@pytest.mark.parametrize("hertz", [500, 5_000, 15_000])
@pytest.mark.parametrize("frames", [20_000, 300])
def test_the_highest_frequency_of_a_tone(hertz: float, frames: int) -> None:
    fade = torch.hann_window(frames, periodic=False)
    tone = torch.sin(2 * torch.pi * hertz / RATE * torch.arange(frames, dtype=torch.float64)).float() * fade
    found = highest_frequency(torch.stack([tone, 0 * tone]) / tone.abs().max(), RATE)
    assert hertz < found < hertz + 30 * RATE / min(frames, 1024)
    assert highest_frequency(tone[None] * 1e-5, RATE) == 0


def test_what_is_beyond_the_crop_is_measured_without_being_kept(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", noise(20))
    sound = measure(str(tmp_path / "a.wav"), make_transforms(length=44_100), start=0)
    assert sound.lost == pytest.approx(0.95, abs=0.005)
    later = measure(str(tmp_path / "a.wav"), make_transforms(length=44_100), start=18 * RATE)
    assert later.lost == pytest.approx(0.5, abs=0.02)


def test_the_sheet_mixes_the_classes() -> None:
    labels = np.array([0] * 100 + [1] * 3 + [-1] * 2 + [2] * 50, dtype=np.int32)
    chosen = mixed(labels, 32)
    assert len(set(chosen)) == 32
    assert {int(labels[index]) for index in chosen[:4]} == {-1, 0, 1, 2}
    assert np.bincount(labels[chosen] + 1).tolist() in ([2, 14, 3, 13], [2, 13, 3, 14])
    assert mixed(labels, 32) == chosen
    assert sorted(mixed(labels[:5], 32)) == [0, 1, 2, 3, 4]


# The pictures.


def test_bars_and_their_words_stay_in_their_panel() -> None:
    figure, (one, two, three) = plot.panels(["files", "classes", "more files"])
    plot.bars(one, {"44.1 kHz": 1_000_000, "48 kHz": 1}, {"mono": 999_999, "stereo": 2}, {"WAV PCM_16": 1_000_001})
    plot.bars(two, {"W" * 200: 7, "ドラム太鼓" * 9: 6, "$x_1": 5} | {f"class {index}": 4 for index in range(40)})
    plot.bars(three, {f"{rate} kHz": 3 for rate in range(20)}, {"mono": 60}, {f"WAV {index}": 3 for index in range(20)})
    figure.canvas.draw()
    for axes, lines in ((one, 5), (two, 14), (three, 13)):
        assert len(axes.patches) == lines
        panel = axes.get_window_extent()
        for word in axes.texts:
            box = word.get_window_extent()
            assert panel.x0 < box.x0 < box.x1 < panel.x1
            assert panel.y0 < box.y0 < box.y1 < panel.y1
    assert [word.get_text() for word in two.texts[-2:]] == ["30 others", "120"]


def test_a_histogram_shows_every_sound() -> None:
    figure, axes = plot.panels(["a", "b", "c", "d"], columns=2)
    values = np.array([0.0, 0.001, 0.3, 0.31, 50.0])
    plot.histogram(axes[0], values, unit="s", logarithmic_from=0.1, mark=(900.0, "crop"))
    plot.histogram(axes[1], values, unit="s", mark=(-5.0, "aim"))
    plot.histogram(axes[2], values[:1], unit="s")
    plot.histogram(axes[3], hit(), unit="s")
    figure.canvas.draw()
    counts = [sum(patch.get_height() for patch in panel.patches if isinstance(patch, Rectangle)) for panel in axes]
    assert counts == [5, 5, 1, len(hit())]
    for panel, place in ((axes[0], 900), (axes[1], -5)):
        low, high = panel.get_xlim()
        assert low < place < high
        assert panel.texts[0].get_window_extent().x1 < panel.get_window_extent().x1
        assert panel.texts[0].get_window_extent().x0 > panel.get_window_extent().x0
