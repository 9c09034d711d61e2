"""From a checkpoint to a folder of sounds, and what is refused before any work is done."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from hydra import compose, initialize_config_dir
from runs import tiny_config

from tiny_audio_diffusion import audio, command, device
from tiny_audio_diffusion.generation import Kit, generate
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
        ("seconds=abc", "^seconds must be a number above 0, at most 600, not abc$"),
        ("seconds=0", "^seconds must be a number above 0, at most 600, not 0$"),
        ("seconds=inf", "^seconds must be a number above 0, at most 600, not inf$"),
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


@pytest.fixture
def snare(tmp_path: Path) -> Path:
    """A sound of other rate and channels than the model's."""
    time = torch.arange(2205) / 22050
    path = tmp_path / "my snare [1].wav"
    audio.write(path, (0.5 * torch.sin(2000 * time) * torch.exp(-20 * time))[None], 22050)
    return path


def manifest_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return content


@pytest.mark.parametrize(
    ("asked", "count", "length"),
    [
        (["task=vary", "strength=0.5"], 8, 4410),
        (["task=inpaint", "keep='0-0.02,0.05-'", "repeats=2"], 4, 4410),
        (["task=extend", "spans=2", "overlap=0.01", "direction=backward"], 4, 4410 + 2 * (1024 - 441)),
        (["task=interpolate", "second=3"], 8, 4410),
        (["task=remix", "strength=0.5", "overlap=0.01", "match=false"], 1, 4410),
        (["task=invert"], 1, 4410),
        (["task=vary", "strength=0", "seconds=0.2"], 8, 8820),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_every_task_and_the_same_again(
    asked: list[str],
    count: int,
    length: int,
    make: Make,
    snare: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = make(*asked, f"input='{snare}'", "seed=5")
    assert "my snare [1].wav: 22050 Hz to 44100 Hz, 1 channel to 2" in capsys.readouterr().out
    files = sorted(folder.glob("sound_*.wav"))
    assert len(files) == count
    assert {soundfile.info(file).frames for file in files} == {length}
    assert (folder / "sheet.png").stat().st_size > 1000
    said = manifest_of(folder)
    assert said["finished"]
    assert len(said["sounds"]) == count
    again = make(f"manifest='{folder / 'manifest.json'}'", f"out='{tmp_path / 'again'}'")
    assert [file.read_bytes() for file in sorted(again.glob("sound_*.wav"))] == [file.read_bytes() for file in files]


def test_a_manifest_repeats_sampler_ladder_and_files(make: Make, tmp_path: Path) -> None:
    folder = make(
        "count=2", "sampler=ancestral", "schedule@ladder=karras", "steps=4", "level=peak", "format=flac", "all=true"
    )
    assert {path.name for path in folder.iterdir()} == {
        "sound_000.flac", "sound_001.flac", "all.flac", "sheet.png", "manifest.json",
    }  # fmt: skip
    again = make(f"manifest='{folder / 'manifest.json'}'", f"out='{tmp_path / 'again'}'")
    for name in ("sound_000.flac", "sound_001.flac", "all.flac"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()
    assert manifest_of(again)["ladder"] == "Karras"
    for sound in manifest_of(again)["sounds"]:
        assert sound["peak"] == pytest.approx(10 ** (-1 / 20), abs=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda said: said["sha256"].update(ckpt="0" * 64), "^ckpt= is another file than the manifest's, which was"),
        (lambda said: said["settings"].update(sampler={"_target_": "os.system"}), "asks for code from elsewhere"),
        (lambda said: said["settings"].update(colour="red"), "decides what this version does not know: colour"),
        (lambda said: said["settings"].update(steps=0), "^steps must be a whole number"),
        (lambda said: said.pop("files"), "is no manifest of this project's sounds"),
        (lambda said: said.update(settings=[1]), "is no manifest of this project's sounds"),
    ],
)  # fmt: skip
def test_a_manifest_that_was_changed(change: Callable[[Any], Any], message: str, make: Make, tmp_path: Path) -> None:
    said = manifest_of(make("count=1"))
    change(said)
    (tmp_path / "changed.json").write_text(json.dumps(said))
    with pytest.raises(ValueError, match=message):
        make(f"manifest='{tmp_path / 'changed.json'}'", f"out='{tmp_path / 'again'}'")
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["task=vari"], "^there is no task=vari: choose generate, vary, inpaint, extend, interpolate, remix, invert$"),
        (["task=vary", "strength=1.5"], "^strength must be a number from 0 to 1, not 1.5$"),
        (["task=vary"], "^task=vary needs input= and strength=: strength= is missing$"),
        (["task=inpaint", "keep=5"], r"^the range 0-5 lies outside the sound, which lasts 0.100 seconds$"),
        (["task=inpaint", "keep='0.02-0.01'"], "^a range runs from one second to a later one"),
        (["task=inpaint", "keep=most"], r"^keep=most is neither seconds \(0.2\), ranges of seconds"),
        (["task=inpaint", "keep='0-'"], "^nothing is to be made: keep a part of the sound$"),
        (["task=extend", "overlap=1"], "^an overlap of 1.000 seconds does not fit: above 0, at most 0.023 here$"),
        (["task=extend", "spans=0"], "^spans must be a whole number, at least 1"),
        (["task=extend", "direction=up"], "^there is no direction=up: choose forward, backward, both$"),
        (["task=interpolate", "second=3", "count=1"], "^task=interpolate needs a count of 2 or more"),
        (["task=invert", "count=4"], "^task=invert makes one sound"),
        (
            ["task=invert", "sampler=ancestral"],
            "^task=invert finds its way back with sampler=euler, heun or dpm2m, not ",
        ),
        (["seed=99999999999999999999"], "^seed must be at most 4611686018427387904"),
        (["seconds=1e9"], "^seconds must be a number above 0, at most 600, not 1000000000.0$"),
        (["task=generate", "strength=0.5"], "^strength= is for task=vary, task=remix, not for task=generate$"),
        (["label=kick"], "^label=kick asks for a class of sounds, and models have no classes"),
        (["guidance=2"], "^guidance=2 asks for a class"),
        (["format=mp3"], "^there is no format=mp3: choose wav, flac$"),
        (["format=flac", "bits=32"], "^format=flac has no bits=32: choose 24$"),
        (["level=loud"], "^there is no level=loud: choose own, peak$"),
        (["precision=8"], "^there is no precision=8: choose auto, 32, bf16, 16$"),
        (["precision=16"], "^precision=16 is for GPUs: on a CPU choose 32 or bf16$"),
        (["manifest=none.json"], "^there is no manifest none.json$"),
        (["ckpt=/no/such.ckpt"], "^there is no checkpoint /no/such.ckpt"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_tasks_that_cannot_be_meant(asked: list[str], message: str, make: Make, snare: Path, tmp_path: Path) -> None:
    edits = any(argument.startswith("task=") and argument != "task=generate" for argument in asked)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as told:
        make(*([f"input='{snare}'"] if edits else []), *asked)
    assert len(str(told.value).splitlines()) == 1
    assert not (tmp_path / "kit").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"this is no sound", "^cannot read bad.wav|^cannot read .*bad.wav"),
        (b"", "^cannot read .*bad.wav"),
        (None, "^there is no sound .*bad.wav$"),
        (torch.zeros(1, 0), "^bad.wav holds no sound: it is empty$"),
        (torch.full((1, 100), torch.nan), "^bad.wav holds values that are no numbers"),
        (
            torch.zeros(1, 20 * 60 * 100),
            "^bad.wav is too long: task=vary takes 0.4 seconds of this model's sounds; ",
        ),
    ],
    ids=["text", "no bytes", "missing", "empty", "not finite", "20 minutes"],
)
@pytest.mark.parametrize("task", ["vary", "remix"])
def test_inputs_that_are_no_sounds(task: str, content: Any, message: str, make: Make, tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    if isinstance(content, bytes):
        bad.write_bytes(content)
    elif content is not None:
        soundfile.write(bad, content.T.numpy(), 100, subtype="FLOAT")
    with pytest.raises((ValueError, FileNotFoundError), match=message.replace("vary takes 0.4", f"{task} takes .*")):
        make(f"task={task}", f"input='{bad}'", "strength=0.5")
    assert not (tmp_path / "kit").exists()


def test_a_checkpoint_that_is_none(make: Make, tmp_path: Path) -> None:
    torch.save({"state_dict": {"of.another": torch.zeros(3)}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=r"other\.ckpt"):
        make(f"ckpt='{tmp_path / 'other.ckpt'}'")
    assert not (tmp_path / "kit").exists()


def test_a_mask_file_says_what_to_keep(make: Make, snare: Path, tmp_path: Path) -> None:
    mask = torch.zeros(1, 441)  # 4410 Hz: ten samples of the model for one of the mask
    mask[:, 100:300] = 1
    audio.write(tmp_path / "mask.wav", mask, 4410)
    folder = make("task=inpaint", f"input='{snare}'", f"keep='{tmp_path / 'mask.wav'}'", "bits=32", "repeats=1")
    source = audio.resample(audio.to_channels(audio.read(snare)[0], 2), 22050, 44100)
    made, _ = audio.read(folder / "sound_000.wav")
    assert torch.equal(made[:, 1000:3000], source[:, 1000:3000])
    assert not torch.isclose(made[:, :1000], source[:, :1000]).all()
    audio.write(tmp_path / "mask.wav", torch.ones(1, 500), 4410)
    with pytest.raises(ValueError, match=r"^the mask mask.wav lasts 0.113 seconds, longer than the sound with 0.100$"):
        make("task=inpaint", f"input='{snare}'", f"keep='{tmp_path / 'mask.wav'}'", "overwrite=true")


def test_what_is_done_stays_when_stopped(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Kit.made

    def stopped(kit: Kit, sounds: torch.Tensor) -> None:
        made(kit, sounds)
        if len(kit.sounds) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(Kit, "made", stopped)
    with pytest.raises(KeyboardInterrupt):
        make("count=7", "batch_size=2")
    said = manifest_of(tmp_path / "kit")
    assert not said["finished"]
    assert [sound["file"] for sound in said["sounds"]] == [
        path.name for path in sorted((tmp_path / "kit").glob("*.wav"))
    ]
    assert len(said["sounds"]) == 4
    assert (tmp_path / "kit" / "sheet.png").exists()


def test_a_disk_that_fills_up_costs_no_sound_that_is_there(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.name.startswith("sound_002"):
            write(path, content[:100])
            raise OSError(28, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"sound_002.wav could not be written: No space left"):
        make("count=5", "batch_size=1")
    assert sorted(path.name for path in (tmp_path / "kit").iterdir()) == [
        "manifest.json", "sheet.png", "sound_000.wav", "sound_001.wav",
    ]  # fmt: skip
    assert not manifest_of(tmp_path / "kit")["finished"]


def test_sounds_of_before_stay_until_there_are_new_ones(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make("count=3")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr("tiny_audio_diffusion.walk.Walk.down", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make("count=1", "overwrite=true")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_floating_point_files_hold_what_full_scale_cannot(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    loud = torch.tensor([[0.5, -1.7, 0.2]])
    assert audio.write(tmp_path / "loud.wav", loud, 8000, subtype="FLOAT") == pytest.approx(1.7)
    assert torch.equal(audio.read(tmp_path / "loud.wav")[0], loud)
    assert caplog.text == ""
    audio.write(tmp_path / "limited.wav", loud, 8000)
    assert "limited.wav: peak 1.700 limited to 0.989" in caplog.text


def test_all_but_silence_is_told_and_not_brought_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kit = Kit(tmp_path / "kit", {}, sampling_rate=8000, seeds=[0, 1], level="peak")
    kit.open()
    kit.made(torch.stack([torch.full((1, 100), 0.001), torch.full((1, 100), 0.1)]))
    kit.close()
    assert "sound_000 is all but silent: its peak is -60 dB" in caplog.text
    assert [sound["peak"] for sound in manifest_of(tmp_path / "kit")["sounds"]] == [0.001, pytest.approx(0.8913)]


def test_a_place_that_cannot_be_written_is_told_before_sampling(make: Make, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(ValueError, match=r"taken is a file: give a folder"):
        make(f"out='{tmp_path / 'taken'}'")
    with pytest.raises(ValueError, match="taken"):
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
