"""Sounds judged: against known answers, with every kind of input, and with what cannot be meant."""

import json
import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import models
import numpy as np
import pytest
import soundfile
import torch
from browser import browser
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from playwright.sync_api import expect

import evaluate as script
from tiny_audio_diffusion import command, metrics
from tiny_audio_diffusion.embedder import classifier
from tiny_audio_diffusion.evaluation import charts, evaluate, glossary, request, tasks
from tiny_audio_diffusion.evaluation.copies import Copies
from tiny_audio_diffusion.evaluation.measures import Measure, Value
from tiny_audio_diffusion.evaluation.players import address
from tiny_audio_diffusion.evaluation.split import split
from tiny_audio_diffusion.evaluation.verdict import judge
from tiny_audio_diffusion.metrics.memorisation import Nearest

RATE = 44_100
Judge = Callable[..., dict[str, Any]]


def drum(seed: int, *, pitch: float = 200, rate: int = RATE, seconds: float = 0.1) -> np.ndarray:
    """A decaying tone with some noise in it, another one for each seed."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    tone = np.sin(2 * np.pi * pitch * random.uniform(0.7, 1.4) * time + random.uniform(0, 6))
    return 0.5 * (tone + 0.3 * random.standard_normal(len(time))) * np.exp(-time * random.uniform(20, 60))


def write(folder: Path, count: int, *, first: int = 0, **options: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(first, first + count):
        soundfile.write(folder / f"drum_{seed:03d}.wav", drum(seed, **options), RATE, subtype="FLOAT")
    return folder


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("real"), 48)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn from what the real ones are drawn from."""
    return write(tmp_path_factory.mktemp("fresh"), 24, first=500)


@pytest.fixture
def judged(tmp_path: Path) -> Judge:
    """evaluate.py's work; returns what is in report.json."""

    def run(*overrides: str, **folders: Path) -> dict[str, Any]:
        given = [f"{name}='{folder}'" for name, folder in ({"out": tmp_path / "report"} | folders).items()]
        command.prepare()
        with initialize_config_dir(str(command.ROOT / "configs"), version_base="1.3"):
            folder = evaluate(compose("evaluate", ["shown=1", *given, *overrides]))
        content: dict[str, Any] = json.loads((folder / "report.json").read_text())
        return content

    return run


# Known answers.


def test_fresh_sounds_cannot_be_told_and_others_can(judged: Judge, real: Path, fresh: Path, tmp_path: Path) -> None:
    alike = judged(reference=real, generated=fresh)
    distance = alike["measures"]["kernel_distance"]
    assert distance["generated"]["low"] < 0 < distance["generated"]["high"]
    assert alike["verdict"]["tone"] == "good"
    assert "cannot be told" in alike["verdict"]["sentence"]
    assert alike["copies"] == alike["copies"] | {"count": 0, "files": []}
    others = write(tmp_path / "others", 24, first=500, pitch=2000)
    apart = judged("overwrite=true", reference=real, generated=others)
    assert apart["measures"]["kernel_distance"]["generated"]["low"] > distance["generated"]["high"]
    assert apart["measures"]["kernel_distance"]["real"] == distance["real"]  # the yardstick does not move
    assert apart["verdict"]["tone"] == "poor"
    assert "further from the held-out real ones" in apart["verdict"]["sentence"]


def test_numbers_are_those_of_the_metrics(judged: Judge, real: Path, fresh: Path) -> None:
    report = judged(reference=real, generated=fresh)
    sides = [[real / name for name in report["split"][part]] for part in ("space", "first", "second")]
    read = [np.stack([soundfile.read(path, dtype="float32")[0] for path in paths]) for paths in sides]
    made = np.stack([soundfile.read(path, dtype="float32")[0] for path in sorted(fresh.glob("*.wav"))])
    space, first, second, generated = (metrics.log_mel(torch.from_numpy(some)[:, None], RATE) for some in (*read, made))
    into = metrics.Standardise(space)
    held_out = torch.cat([into(first), into(second)])
    distance = report["measures"]["kernel_distance"]
    assert distance["generated"]["value"] == pytest.approx(metrics.kernel_distance(held_out, into(generated)), rel=1e-4)
    assert distance["real"]["value"] == pytest.approx(metrics.kernel_distance(into(first), into(second)), rel=1e-4)
    tails = metrics.tail_noise(torch.from_numpy(made)[:, None], RATE)
    assert [row["tail"] for row in report["sounds"]] == pytest.approx(tails.tolist(), rel=1e-4)


def test_the_reference_itself_is_near_and_copied(judged: Judge, real: Path) -> None:
    report = judged(reference=real, generated=real)
    assert report["measures"]["kernel_distance"]["generated"]["value"] <= 0
    assert report["copies"]["count"] == 48
    assert report["verdict"]["tone"] == "poor"
    assert "48 of 48 are copies of training sounds" in report["verdict"]["sentence"]
    assert all(row["training_file"] == row["file"] and row["similarity"] > 0.999 for row in report["sounds"])


def test_a_hidden_copy_is_named(judged: Judge, real: Path, fresh: Path, tmp_path: Path) -> None:
    kit = tmp_path / "kit"
    kit.mkdir()
    for path in list(fresh.glob("*.wav"))[:11]:
        (kit / path.name).write_bytes(path.read_bytes())
    hidden = np.pad(-0.3 * drum(7), (200, 0))  # quieter, upside down, 4.5 ms later
    soundfile.write(kit / "hidden.wav", hidden[: len(drum(7))], RATE, subtype="FLOAT")
    report = judged(reference=real, generated=kit)
    assert report["copies"]["files"] == ["hidden.wav"]
    row = next(row for row in report["sounds"] if row["file"] == "hidden.wav")
    assert row["training_file"] == "drum_007.wav"
    assert abs(row["shift_seconds"]) == pytest.approx(200 / RATE, abs=1e-4)
    # with other training sounds it is no copy
    elsewhere = judged("overwrite=true", reference=real, generated=kit, training=write(tmp_path / "t", 20, first=900))
    assert elsewhere["copies"]["count"] == 0


def test_classes_are_judged_one_by_one(judged: Judge, tmp_path: Path) -> None:
    for name, pitch in (("low", 150), ("high", 1500)):
        write(tmp_path / "real" / name, 16, pitch=pitch)
    write(tmp_path / "made" / "low", 8, first=300, pitch=150)
    write(tmp_path / "made" / "high", 8, first=300, pitch=1500, seconds=0.03)
    report = judged(reference=tmp_path / "real", generated=tmp_path / "made")
    low, high = (report["classes"][name]["generated"]["value"] for name in ("low", "high"))
    assert high > low + 20
    assert report["classes"]["low"]["sounds"]["generated"] == 8


def test_a_classifier_says_which_class_where_folders_do_not(
    judged: Judge, real: Path, fresh: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = classifier.ClassifierNetwork(3)
    with torch.no_grad():
        network.classes.weight.zero_()
        network.classes.bias.copy_(torch.tensor([0.0, 1.0, 0.0]))  # it hears a tom in everything
    names = ["kick", "tom", classifier.NONE]
    path = tmp_path / "my ears.safetensors"
    classifier.write(path, network, classes=names, sampling_rate=RATE, accuracy={})
    report = judged("embedder=classifier", f"embedder.path='{path}'", reference=real, generated=fresh)
    assert report["classes_by"] == "classifier"
    assert report["classes"].keys() == {"tom"}
    assert report["classes"]["tom"]["sounds"] == {"generated": 24, "real": 24}
    assert {row["class"] for row in report["sounds"]} == {"tom"}


# The split.


def test_every_sound_has_one_part_and_copies_stay_together() -> None:
    names = [f"{index}.wav" for index in range(40)]
    digests = [str(index // 2) for index in range(40)]  # pairs
    parts = split(names, digests)
    sides = [parts.space, parts.first, parts.second]
    assert sorted([*parts.space, *parts.held_out]) == list(range(40))
    assert [len(side) for side in sides] == pytest.approx([20, 10, 10], abs=2)
    found = [{digests[place] for place in side} for side in sides]
    assert not found[0] & found[1]
    assert not found[1] & found[2]
    assert split([f"other/{name}" for name in names], digests) == parts  # the name decides, not the folder
    with pytest.raises(ValueError, match="7 different sounds; at least 8"):
        split(names[:14], digests[:14])


# Words.


def verdict_of(generated: Value, real: Value, *, copied: int = 0) -> str:
    near = Nearest(torch.zeros(10), torch.zeros(10, dtype=torch.long), torch.zeros(10))
    copies = Copies(near, torch.arange(10) < copied, 0.9, torch.zeros(4))
    return judge(Measure("kernel_distance", generated, real, 10), copies).tone


def test_the_verdict_follows_from_the_intervals() -> None:
    real = Value(0, -2, 3)
    assert verdict_of(Value(1, -0.1, 2), real) == "good"
    assert verdict_of(Value(1, 0.1, 2), real) == "fair"
    assert verdict_of(Value(5, 3.1, 7), real) == "poor"
    assert verdict_of(Value(1, -0.1, 2), real, copied=1) == "poor"


@pytest.mark.parametrize(
    ("value", "name", "text"),
    [(-0.04, "kernel_distance", "0.0"), (-1.26, "kernel_distance", "−1.3"), (None, "recall", "–")],
)
def test_numbers_read_well(value: float | None, name: str, text: str) -> None:
    assert glossary.number(value, glossary.MEASURES[name]) == text


def test_tracks_hold_their_numbers() -> None:
    values = [Value(-3, -5, -1), None, Value(40)]
    ends = charts.scale(values)
    assert ends == (-5, 40)
    for value in values:
        places = re.findall(r"left:([\d.]+)%", charts.track(value, None, ends, words=""))
        assert all(0 <= float(place) <= 100 for place in places)


# Every kind of sound.


def test_any_mix_of_sounds_is_compared(judged: Judge, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    real, made = tmp_path / "real", tmp_path / "made"
    real.mkdir()
    made.mkdir()
    for seed in range(16):
        rate, suffix = ((48_000, "flac"), (22_050, "wav"), (96_000, "aiff"), (44_100, "ogg"))[seed % 4]
        sound = drum(seed, rate=rate, seconds=0.05 + 0.1 * (seed % 3))
        soundfile.write(real / f"{seed}.{suffix}", np.stack([sound] * (1 + seed % 2), axis=1), rate)
        soundfile.write(made / f"{seed}.wav", drum(100 + seed, rate=32_000), 32_000)
    soundfile.write(made / "silent.wav", np.zeros(3200), 32_000)
    soundfile.write(made / "not a number.wav", np.full(3200, np.nan), 32_000, subtype="FLOAT")
    (made / "broken.wav").write_bytes(b"RIFF")
    (made / "manifest.json").write_text("{}")
    soundfile.write(made / "all.wav", np.zeros(32_000), 32_000)
    soundfile.write(real / "silent.wav", np.zeros(3200), 32_000)
    report = judged("seconds=0.2", reference=real, generated=made)
    assert report["compared"] | {"seconds": 0.2, "sampling_rate": 32_000, "channels": 1} == report["compared"]
    assert (report["reference"]["count"], report["generated"]["count"]) == (16, 17)
    skipped = {Path(each["file"]).name: each["reason"] for each in report["generated"]["skipped"]}
    assert skipped.keys() == {"broken.wav", "not a number.wav", "all.wav"}
    assert "NaN" in skipped["not a number.wav"]
    assert "silent" in report["reference"]["skipped"][0]["reason"]
    assert "left out" in caplog.text
    assert "broken.wav" in caplog.text
    assert sum(row["silent"] for row in report["sounds"]) == 1
    page = (tmp_path / "report" / "report.html").read_text()
    assert "3 files of generated were left out" in page


def test_nothing_but_silence_is_judged_too(judged: Judge, real: Path, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    for place in range(6):
        soundfile.write(tmp_path / "made" / f"{place}.wav", np.zeros(4410), RATE)
    report = judged(reference=real, generated=tmp_path / "made")
    assert report["signals"]["silent"]["generated"]["mean"] == 1
    assert report["copies"]["count"] == 0
    assert report["verdict"]["tone"] == "poor"


def test_a_model_makes_the_sounds_first(judged: Judge, real: Path, tmp_path: Path) -> None:
    models.write_own(tmp_path / "last.ckpt", "channels=1")
    report = judged("count=3", "seed=5", "steps=2", "device=cpu", reference=real, ckpt=tmp_path / "last.ckpt")
    kit = tmp_path / "report" / "sounds"
    manifest = json.loads((kit / "manifest.json").read_text())
    assert [each["seed"] for each in manifest["sounds"]] == [5, 6, 7]
    assert manifest["settings"]["steps"] == 2
    assert report["generated"]["count"] == 3
    assert report["compared"]["seconds"] == pytest.approx(1024 / RATE, abs=1e-5)  # the model's own length
    again = judged("seed=5", reference=real, generated=kit, out=tmp_path / "again")
    assert again["measures"]["kernel_distance"]["generated"] == report["measures"]["kernel_distance"]["generated"]


def test_real_sounds_are_prepared_as_the_model_was_trained(judged: Judge, real: Path, tmp_path: Path) -> None:
    models.write_own(tmp_path / "last.ckpt", "channels=1", "datamodule.dataset.transforms.loudness=-30")
    given = ["count=2", "steps=1", "device=cpu"]
    report = judged(*given, reference=real, ckpt=tmp_path / "last.ckpt")
    assert report["compared"]["loudness"] == -30
    louder = judged(*given, "peak=-1", "overwrite=true", reference=real, ckpt=tmp_path / "last.ckpt")
    assert louder["signals"]["peak"]["real"]["least"] == pytest.approx(-1, abs=0.01)


# What cannot be meant.


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["reference=null"], "^reference= needs a folder of real sounds"),
        (["generated=null"], "give the sounds to judge"),
        (["ckpt=last"], "not both"),
        (["count=5"], "^count= is for ckpt="),
        (["schedule@ladder=karras"], "^schedule= is for ckpt="),
        (["out=null"], "^out= needs a folder"),
        (["seconds=0"], "^seconds must lie between 0.05 and 600, not 0$"),
        (["seconds=long"], "^seconds must be a number, not long$"),
        (["most=3"], "^most must be a whole number, at least 8, not 3$"),
        (["seed=1.5"], "^seed must be"),
        (["overwrite=perhaps"], "^overwrite must be true or false"),
        (["trim_silence=perhaps"], "^trim_silence must be true or false"),
        (["loudness=-20", "peak=-1"], "one level"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_told(overrides: list[str], message: str, judged: Judge, real: Path, fresh: Path) -> None:
    with pytest.raises(ValueError, match=message) as told:
        judged(*overrides, reference=real, generated=fresh)
    assert len(str(told.value).splitlines()) == 1


def test_folders_that_do_not_serve_are_named(judged: Judge, real: Path, fresh: Path, tmp_path: Path) -> None:
    one, empty = write(tmp_path / "one", 1), tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="reference=: 1 different sounds; at least 8"):
        judged(reference=one, generated=fresh)
    with pytest.raises(ValueError, match="generated=: 1 sound; at least 2"):
        judged(reference=real, generated=one)
    with pytest.raises(ValueError, match=r"generated=: no usable sound in .*empty"):
        judged(reference=real, generated=empty)
    with pytest.raises(FileNotFoundError, match=r"training=: there is no folder .*missing"):
        judged(reference=real, generated=fresh, training=tmp_path / "missing")
    with pytest.raises(ValueError, match="cannot be made: Not a directory"):
        judged(reference=real, generated=fresh, out=one / "drum_000.wav" / "report")
    assert not (tmp_path / "report" / "report.json").exists()


def test_a_report_is_replaced_only_when_asked(judged: Judge, real: Path, fresh: Path) -> None:
    judged(reference=real, generated=fresh)
    with pytest.raises(ValueError, match="already holds a report: choose another out=, or overwrite=true"):
        judged(reference=real, generated=fresh)


def run_here(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", [script.__file__, *arguments])
    GlobalHydra.instance().clear()
    script.main()


def test_the_command_takes_paths_as_they_are(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = write(tmp_path / "my kit [1] a=b", 6, first=700)
    (made / "drum_700.wav").rename(made / "<img src=x onerror=alert(1)>.wav")
    out = tmp_path / "out = (new) {x}"
    run_here(monkeypatch, f"reference={real}", f"generated={made}", f"out={out}", "embedder=log_mel")
    said = capsys.readouterr().out
    assert "6 generated sounds against 24 held-out ones of 48: 0.1 s, 44100 Hz, mono" in said
    assert "6 sounds a side are few" in said
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page
    assert not re.search(r"(src|href)=.?(https?:|//)", page)
    with pytest.raises(SystemExit):
        run_here(monkeypatch, f"refrence={real}")
    assert "Could not override 'refrence'" in capsys.readouterr().err
    with pytest.raises(SystemExit, match=r"^error: write reference="):
        run_here(monkeypatch, f"--reference={real}")


def test_ctrl_c_leaves_no_half_report(real: Path, fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tasks, "judge", interrupt)
    with pytest.raises(SystemExit) as stopped:
        run_here(monkeypatch, f"reference={real}", f"generated={fresh}", f"out={tmp_path / 'report'}")
    assert stopped.value.code == 130
    assert not (tmp_path / "report").exists()


def test_generation_is_asked_for_as_generate_py_would_be(tmp_path: Path) -> None:
    command.prepare()
    with initialize_config_dir(str(command.ROOT / "configs"), version_base="1.3"):
        asked = compose("evaluate", ["reference=a", "ckpt=b", "sampler=heun", "steps=7", "schedule@ladder=karras"])
        usual = compose("generate", ["ckpt=b", "sampler=heun", "steps=7", "schedule@ladder=karras"])
    given = request.generation(asked, tmp_path)
    assert given == OmegaConf.merge(usual, {"count": request.COUNT, "bits": 32, "out": str(tmp_path)})


# The page.


class Nesting(HTMLParser):
    """Follows which elements are open."""

    ALONE = ("meta", "link", "img", "wbr", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in self.ALONE:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()


def test_what_is_opened_is_closed(judged: Judge, real: Path, fresh: Path, tmp_path: Path) -> None:
    judged(reference=real, generated=fresh)
    nesting = Nesting()
    nesting.feed((tmp_path / "report" / "report.html").read_text(encoding="utf-8"))
    nesting.close()
    assert nesting.open == []


def test_a_played_sound_is_the_sound_without_its_silence() -> None:
    sound = torch.zeros(1, RATE)
    sound[0, :4410] = torch.from_numpy(drum(1).astype(np.float32))
    assert len(address(sound, RATE)) < 4410 * 2 * 4 / 3
    assert len(address(torch.zeros(2, RATE), RATE)) < 1000


def test_the_page_in_a_browser(judged: Judge, real: Path, fresh: Path, tmp_path: Path) -> None:
    judged("shown=2", reference=real, generated=fresh)
    faults: list[str] = []
    with browser() as running:
        page = running.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if said.type in ("error", "warning") else None)
        page.on("request", lambda asked: None if asked.url.startswith(("data:", "file:")) else faults.append(asked.url))
        page.goto((tmp_path / "report" / "report.html").as_uri())
        cards = page.locator("button[data-sound]")
        assert cards.count() == 8  # two of the furthest, two of the nearest, two pairs
        cards.first.focus()
        page.keyboard.press("Enter")
        expect(page.locator("html[data-played='1']")).to_be_attached()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Space")
        expect(page.locator("html[data-played='2'][data-failed='0']")).to_be_attached()
        player = page.locator("audio").first
        assert player.evaluate("one => one.duration") == pytest.approx(0.1, abs=0.005)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert faults == []
