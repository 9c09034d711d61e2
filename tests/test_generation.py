"""From a checkpoint to a folder of sounds, and what is refused before any work is done."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
import torch
from hydra import compose, initialize_config_dir
from runs import tiny_config

from tiny_audio_diffusion import command, device
from tiny_audio_diffusion.generation import generate
from tiny_audio_diffusion.training import build_module

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a model that has learned nothing."""
    folder = tmp_path_factory.mktemp("model")
    module = build_module(tiny_config(folder, folder, "representation.level=1.0"))
    torch.save({"config": module.config, "state_dict": module.state_dict()}, folder / "last.ckpt")
    return folder / "last.ckpt"


@pytest.fixture
def make(model: Path, tmp_path: Path) -> Make:
    """generate.py's work with the overrides given, into `kit` unless they say something else."""

    def run(*overrides: str) -> Path:
        places = [f"ckpt='{model}'", f"out='{tmp_path / 'kit'}'", "device=cpu"]
        with initialize_config_dir(str(command.ROOT / "configs"), version_base="1.3"):
            return generate(compose("generate", [*places, *overrides]))

    return run


def test_sounds_sheet_and_manifest(make: Make) -> None:
    folder = make("count=3", "seed=7", "steps=2", "seconds=0.05", "sampler=heun", "schedule@ladder=karras")
    files = {path.name for path in folder.iterdir()}
    assert files == {"sound_000.wav", "sound_001.wav", "sound_002.wav", "sheet.png", "manifest.json"}
    assert soundfile.info(folder / "sound_002.wav").frames == 2205
    manifest = json.loads((folder / "manifest.json").read_text())
    asked = manifest["settings"]
    assert (asked["count"], asked["seed"], asked["steps"]) == (3, 7, 2)
    assert (manifest["sampler"], manifest["ladder"]) == ("Heun", "Karras")
    assert manifest["finished"]
    assert [sound["seed"] for sound in manifest["sounds"]] == [7, 8, 9]


def test_overwriting_leaves_no_sound_of_before(make: Make) -> None:
    folder = make("count=3")
    (folder / "mine.wav").write_bytes(b"")
    with pytest.raises(ValueError, match="already holds sounds"):
        make("count=1")
    make("count=1", "overwrite=true")
    assert sorted(path.name for path in folder.glob("*.wav")) == ["mine.wav", "sound_000.wav"]
    assert json.loads((folder / "manifest.json").read_text())["settings"]["count"] == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("count=0", "^count must be a whole number, at least 1, not 0$"),
        ("count=2.5", "^count must be a whole number, at least 1, not 2.5$"),
        ("count=true", "^count must be"),
        ("seed=-1", "^seed must be a whole number, at least 0"),
        ("steps=0", "^steps must be a whole number, at least 1, not 0$"),
        ("batch_size=0", "^batch_size must be a whole number, at least 1, not 0$"),
        ("batch_size=few", "^batch_size must be a whole number, at least 1, not few$"),
        ("seconds=abc", "^seconds must be a number above 0, not abc$"),
        ("seconds=0", "^seconds must be a number above 0, not 0$"),
        ("seconds=inf", "^seconds must be a number above 0, not inf$"),
        ("seconds=nan", "^seconds must be"),
        ("seconds=1e-6", "^seconds=1e-06 is less than one sample at 44100 Hz$"),
        ("threshold=2", "^threshold must be a number from 0 to 1, not 2$"),
        ("threshold=high", "^threshold must be"),
        ("overwrite=perhaps", "^overwrite must be true or false, not perhaps$"),
        ("out=null", "^out= needs a folder$"),
        ("ckpt=", "^ckpt= needs a checkpoint"),
        ("device=gpu", "^there is no device=gpu: choose auto, cpu, cuda or mps$"),
        ("device=0", "^there is no device=0"),
    ],
)
def test_mistakes_are_told_before_any_work(override: str, message: str, make: Make, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as told:
        make(override)
    assert len(str(told.value).splitlines()) == 1
    assert not (tmp_path / "kit").exists()


def test_a_place_that_cannot_be_written_is_told_before_sampling(make: Make, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(ValueError, match=r"taken is a file: give a folder"):
        make(f"out='{tmp_path / 'taken'}'")
    with pytest.raises(NotADirectoryError, match="taken"):
        make(f"out='{tmp_path / 'taken' / 'kit'}'")
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_takes_the_fastest_device(cuda: bool, mps: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: mps)
    assert device.pick("auto").type == expected


def test_a_device_that_is_not_there_is_told() -> None:
    with pytest.raises(ValueError, match=r"^device=cuda:99 cannot be used here \(.+\): choose auto, cpu, cuda or mps$"):
        device.pick("cuda:99")
