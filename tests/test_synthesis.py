"""Synthesised drums."""

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import open_folder

from tiny_audio_diffusion.data.synthesis import SAMPLING_RATE, VOICES, main, render, synthesise


def centre_of_spectrum(sound: np.ndarray) -> float:
    power = np.abs(np.fft.rfft(sound)) ** 2
    return float((power * np.fft.rfftfreq(len(sound), 1 / SAMPLING_RATE)).sum() / power.sum())


@pytest.mark.parametrize("name", VOICES)
def test_drums_end_by_themselves(name: str) -> None:
    for index in range(20):
        sound = render(name, index, seed=0)
        peak = np.abs(sound).max()
        fade_length = round(0.005 * SAMPLING_RATE)
        before_fade = sound[-2 * fade_length : -fade_length]
        assert 0.05 < len(sound) / SAMPLING_RATE < 0.7
        assert -6.001 < 20 * np.log10(peak) < -0.999
        assert np.abs(before_fade).max() < peak * 10 ** (-70 / 20)
        assert abs(sound[-1]) < 1e-12
        assert abs(sound[0]) < 0.1


def test_drums_are_what_they_are_called() -> None:
    centres = {name: [centre_of_spectrum(render(name, index, seed=0)) for index in range(20)] for name in VOICES}
    assert max(centres["kick"]) < 300
    assert max(centres["tom"]) < 500
    assert min(centres["hihat"]) > 5_000
    assert all(400 < centre < 5_000 for centre in centres["clap"])
    assert np.median(centres["kick"]) < np.median(centres["tom"]) < np.median(centres["snare"])


def test_seed_and_index_decide() -> None:
    first = render("snare", 3, seed=1)
    assert np.array_equal(first, render("snare", 3, seed=1))
    for other in (render("snare", 4, seed=1), render("snare", 3, seed=2)):
        assert len(other) != len(first) or not np.array_equal(first, other)


def test_folder(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "drums"
    assert synthesise(folder, count=12, seed=0)
    sounds = open_folder(folder).catalogue
    names = {str(Path(path).relative_to(folder)) for path in sounds.paths}
    assert {"kick/kick_000.wav", "hihat/hihat_002.wav"} <= names
    assert len(names) == 12
    assert set(sounds.sampling_rates) == {44_100}
    sound, _ = soundfile.read(folder / "kick" / "kick_000.wav")
    assert sound[-1] == 0
    assert np.abs(sound - render("kick", 0, seed=0)).max() < 1e-6
    assert not [path for path in folder.parent.iterdir() if path != folder]


def test_existing_folders_are_left_alone(tmp_path: Path) -> None:
    synthesise(tmp_path / "drums", count=5, seed=0)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "drums").rglob("*")}
    assert not synthesise(tmp_path / "drums", count=5, seed=0)
    with pytest.raises(ValueError, match="something else"):
        synthesise(tmp_path / "drums", count=5, seed=1)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "drums").rglob("*")}
    with pytest.raises(ValueError, match="at least 5"):
        synthesise(tmp_path / "few", count=4, seed=0)


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["synthesis", str(tmp_path / "drums"), "--count", "6"])
    main()
    main()
    wrote, kept = capsys.readouterr().out.splitlines()
    assert wrote.startswith("wrote 6 drums")
    assert kept.startswith("nothing to do")
    monkeypatch.setattr(sys, "argv", ["synthesis", str(tmp_path), "--count", "6"])
    with pytest.raises(SystemExit, match="1"):
        main()
    assert str(tmp_path) in capsys.readouterr().err
