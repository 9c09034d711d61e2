"""The parts of the page that need no page: fields, visitors, work in a thread, pictures, the command."""

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import models
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from tiny_audio_diffusion import command, picture
from tiny_audio_diffusion.app import ask, cards, gate, serve, session, studio, work
from tiny_audio_diffusion.watch import Watch

COMMON: dict[str, Any] = {"batch_size": 4, "device": "cpu", "precision": "auto", "allow_pickle": False}


def settings(*overrides: str) -> DictConfig:
    command.prepare()
    with initialize_config_dir(str(command.ROOT / "configs"), version_base="1.3"):
        return compose("app", list(overrides))


# Fields.


def test_fields_become_the_settings_of_the_command() -> None:
    given = {"count": 3.0, "steps": 5, "seed": 2, "sampler": "heun", "ladder": ask.OWN, "strength": 0.4, "seconds": 0}
    config = ask.compose("generate", given, common=COMMON)
    assert (config.task, config.count, config.steps, config.seed, config.seconds) == ("generate", 3, 5, 2, None)
    assert config.sampler == {"_target_": "tiny_audio_diffusion.sampler.Heun"}
    assert (config.ladder, config.strength) == (None, None)  # what a task does not take is not told to it


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"count": 17}, "count is a whole number from 1 to 16, not 17"),
        ({"count": 1.5}, "count is a whole number"),
        ({"count": True}, "count has to be a number"),
        ({"steps": float("nan")}, "steps has to be a number"),
        ({"seed": -1}, "seed is a whole number from 0"),
        ({"seconds": 7}, "seconds is a number from 0 to 6"),
        ({"sampler": "../heun"}, "there is no sampler ../heun: choose as trained, adpm2"),
        ({"ladder": "log_normal"}, "there is no ladder log_normal"),
    ],
)
def test_fields_out_of_bounds_are_told(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ask.compose("generate", {"count": 1, "steps": 1, "seed": 0, **given}, common=COMMON)


@pytest.mark.parametrize(
    ("begin", "end", "keep"),
    [(0.2, 0.5, "0-0.2000,0.5000-"), (0.5, 0.2, "0-0.2000,0.5000-"), (0, 0.5, "0.5000-"), (0.25, 9, "0-0.2500")],
)
def test_a_gap_leaves_the_rest(begin: float, end: float, keep: str) -> None:
    assert ask.gap(begin, end, 1.0) == keep


# Visitors.


def test_a_visitor_goes_with_their_folder(tmp_path: Path) -> None:
    visitors = session.Sessions(tmp_path)
    one, other = visitors.get("one"), visitors.get("other")
    assert visitors.get("one") is one
    assert one.token != other.token
    assert visitors.find(one.token) is one
    assert visitors.find("ä" * 5) is None
    _, folder = one.room()
    visitors.drop("one")
    assert not folder.exists()
    assert visitors.find(one.token) is None
    with pytest.raises(ValueError, match="reload"):
        visitors.get(None)


def test_visitors_who_stay_away_are_forgotten_but_not_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "VISITORS", 3)
    visitors = session.Sessions(tmp_path)
    first, second = visitors.get("first"), visitors.get("second")
    with first.busy():
        for name in ("third", "fourth", "fifth"):
            visitors.get(name)
        assert not first.closed
    assert second.closed
    assert len(visitors.by_key) == 3
    monkeypatch.setattr(session, "IDLE_SECONDS", -1.0)
    visitors.get("sixth")
    assert first.closed


def test_takes_of_long_ago_go(tmp_path: Path) -> None:
    visitor = session.Sessions(tmp_path).get("one")
    for _ in range(session.TAKES + 2):
        number, folder = visitor.room()
        take = session.Take(number, "x", folder, {}, 44100, [0, 1], {})
        take.add(torch.rand(2, 1, 64))
        visitor.keep(take)
    assert sorted(visitor.takes) == list(range(3, session.TAKES + 3))
    assert len(list(visitor.folder.iterdir())) == session.TAKES


# Work in a thread.


def steps(watch: Watch, *, count: int = 200, seconds: float = 0.01) -> None:
    watch.begin(count)
    for place in range(count):
        time.sleep(seconds)
        watch.evaluated(1)
        if place % 10 == 9:
            watch.made(torch.full((1, 1, 4), place))


def test_work_is_followed_to_its_end() -> None:
    seen = list(work.follow(lambda watch: steps(watch, count=40), threading.Event()))
    assert [progress.done for progress in seen] == sorted(progress.done for progress in seen)
    assert len(seen) > 2
    assert (seen[-1].done, seen[-1].total) == (40, 40)
    assert [int(sounds[0, 0, 0]) for progress in seen for sounds in progress.sounds] == [9, 19, 29, 39]


def test_work_can_be_stopped_and_keeps_what_is_done() -> None:
    stop, sounds = threading.Event(), []

    def look() -> None:
        for progress in work.follow(steps, stop):
            sounds.extend(progress.sounds)
            if progress.done > 20:
                stop.set()

    with pytest.raises(work.Stopped):
        look()
    assert 2 <= len(sounds) < 20


def test_an_error_of_the_work_is_raised() -> None:
    def fail(watch: Watch) -> None:
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        list(work.follow(fail, threading.Event()))


def test_a_page_that_closes_ends_the_work() -> None:
    looking = work.follow(steps, threading.Event())
    next(looking)
    looking.close()
    assert "task" not in [thread.name for thread in threading.enumerate()]


# Words and pictures.


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("steps must be 1"), "Steps must be 1"),
        (ValueError("cannot read /srv/ann/my sounds/a b.wav: no sound"), "Cannot read a b.wav: no sound"),
        (FileNotFoundError("there is no checkpoint /a/b.ckpt; and/or c"), "There is no checkpoint b.ckpt; and/or c"),
        (OSError(28, "No space left on device", "/var/tmp/x/kit.zip"), "[Errno 28] No space left on device: 'kit.zip'"),
        (KeyError("/a/secret"), "Something went wrong here. The terminal that runs app.py says what."),
        (
            torch.OutOfMemoryError("CUDA"),
            "Not enough memory for so much at once: take a shorter sound or fewer of them.",
        ),
    ],
    ids=str,
)
def test_errors_are_told_without_folders(error: Exception, told: str) -> None:
    assert studio.tell(error) == told


def test_what_people_write_is_no_markup() -> None:
    assert "<script>" not in cards.line("<script>alert(1)</script>", share=0.5)


@pytest.mark.parametrize("sound", [torch.zeros(1, 5), torch.zeros(2, 3000), torch.rand(2, 4000), torch.ones(1, 1) * 9])
def test_every_sound_has_a_picture(sound: torch.Tensor) -> None:
    path = picture.outline(sound)
    assert path.startswith("M")
    assert path.endswith("Z")
    assert "nan" not in path
    assert picture.spectrogram(sound, 44100).startswith("data:image/png;base64,")


@pytest.mark.parametrize(
    "path", ["/gradio_api/file=http://a", "/gradio_api/FILE=https://a", "/file=ftp://a", "/gradio_api/proxy=a"]
)
def test_what_would_fetch_from_elsewhere_is_closed(path: str) -> None:
    assert gate.CLOSED.match(path)
    assert not gate.CLOSED.match("/gradio_api/file=/opt/a.wav")


# The command.


def test_models_are_offered_by_name(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "drums" / "2026-01-01"
    models.write_own(run / "checkpoints" / "last.ckpt")
    models.write_own(tmp_path / "mine" / "model.ckpt")
    places = [f"logs_dir='{tmp_path}'", "hub=false"]
    assert list(serve.models(settings(*places))) == ["drums 2026-01-01"]
    given = serve.models(settings(*places, f"ckpt='{tmp_path / 'mine' / 'model.ckpt'}'"))
    assert list(given) == ["mine", "drums 2026-01-01"]
    assert "kicks" in serve.models(settings(*places[:1]))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("port=0", "^port must be a whole number from 1 to 65535"),
        ("queue=0", "^queue must be a whole number, at least 1, not 0$"),
        ("share=yes please", "^share must be true or false"),
        ("host=", "^host= needs an address"),
        ("steps=0", "^steps must be a whole number"),
        ("steps=900", "^steps must be a whole number"),
    ],
)
def test_settings_that_cannot_be_meant_are_told(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        serve.check(settings(override))


def test_without_gradio_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ValueError, match=r"^the page needs gradio, .* pip install -e '\.\[app\]'$"):
        serve.start(settings(), tmp_path)


def test_importing_the_command_loads_no_gradio() -> None:
    code = "import sys, tiny_audio_diffusion.app.serve; sys.exit('gradio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=command.ROOT).returncode == 0
