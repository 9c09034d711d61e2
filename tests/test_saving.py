"""What is saved when, what happens on signals and full disks, and what a run that goes on tells."""

import logging
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from runs import QUIET, tiny_config, train, write_sounds
from test_kill import OPTIONS, start, wait_for

from tiny_audio_diffusion import storage
from tiny_audio_diffusion.callbacks import Checkpoint

pytestmark = QUIET


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sounds(tmp_path_factory.mktemp("sounds"), 7)


@pytest.fixture(scope="module")
def finished(sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    train(tiny_config(sounds, folder, "trainer.max_steps=7", "callbacks.checkpoint.every_steps=2", "sample_count=0"))
    return folder


def content(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def test_the_last_two_and_the_best_stay(finished: Path) -> None:
    files = {path.name: content(path)["global_step"] for path in (finished / "checkpoints").iterdir()}
    (best,) = [name for name in files if name.startswith("best-step_")]
    assert best == f"best-step_{files[best]}.ckpt"
    assert files == {"last.ckpt": 7, "previous.ckpt": 6, best: files[best]}
    assert all(storage.damage(path) == "" for path in (finished / "checkpoints").iterdir())


def test_saving_by_the_clock(sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    monkeypatch.setattr(Checkpoint, "_save_last", lambda self, trainer: saved.append(trainer.global_step))
    settings = ["callbacks.checkpoint.every_steps=null", "callbacks.checkpoint.every_minutes=1e-9", "sample_count=0"]
    train(tiny_config(sounds, tmp_path, *settings))
    assert saved == [1, 2, 3, 4]
    with pytest.raises(Exception, match="every_minutes must be above 0"):
        train(tiny_config(sounds, tmp_path, "callbacks.checkpoint.every_minutes=0"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_stop_after_a_whole_step(sounds: Path, tmp_path: Path, number: signal.Signals, code: int) -> None:
    options = ["accumulate_grad_batches=3", "callbacks.checkpoint.every_steps=null"]
    (process,) = start(sounds, tmp_path / "run", options, processes=1, begun=tmp_path / "begun")
    wait_for(tmp_path / "begun", [process])
    time.sleep(0.2)
    assert process.pid
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == code
    stopped = content(tmp_path / "run" / "checkpoints" / "last.ckpt")
    step = stopped["global_step"]
    assert 0 < step < 16
    assert stopped["DataModule"] == {"drawn": step * 3 * 2, "step": step}
    whole = tiny_config(
        sounds, tmp_path / "whole", *OPTIONS, *options, f"trainer.max_steps={step}", "module.decay_to=1"
    )
    rest = tiny_config(
        *(sounds, tmp_path / "rest", *OPTIONS, *options, f"ckpt='{tmp_path / 'run'}'", f"trainer.max_steps={step + 2}")
    )
    train(whole)
    assert train(rest).global_step == step + 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 6 MB, where the tests may mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("these tests may not mount a disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_costs_neither_training_nor_the_last_checkpoint(
    sounds: Path, small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = ["callbacks.checkpoint.every_steps=1", "trainer.max_steps=10"]
    first = train(tiny_config(sounds, small_disk / "first", *settings, "trainer.max_steps=2"))
    assert first.global_step == 2
    good = (small_disk / "first" / "checkpoints" / "last.ckpt").read_bytes()
    filler = small_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free))
    going_on = f"ckpt='{small_disk / 'first'}'"
    with pytest.warns(UserWarning, match="no samples at step|could not be written"):
        trainer = train(tiny_config(sounds, small_disk / "first", *settings, going_on))
    assert trainer.global_step == 10
    assert "no checkpoint of step 10" in caplog.text
    assert "No space left" in caplog.text
    assert (small_disk / "first" / "checkpoints" / "last.ckpt").read_bytes() == good
    filler.unlink()
    assert train(tiny_config(sounds, small_disk / "first", *settings, going_on)).global_step == 10
    assert content(small_disk / "first" / "checkpoints" / "last.ckpt")["global_step"] == 10


def test_what_changed_is_told_and_done(
    sounds: Path, finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="tiny_audio_diffusion")
    other = write_sounds(tmp_path / "other", 9)
    constant = ["module.decay_to=1.0", "module.warmup_steps=0"]
    changes = ["trainer.max_steps=9", "module.optimizer.lr=5e-4", "batch_size=3", "accumulate_grad_batches=2"]
    trainer = train(tiny_config(other, tmp_path / "run", f"ckpt='{finished}'", *changes, *constant))
    for line in ("module.optimizer.lr was 0.001, is 0.0005", "batch_size was 2, is 3", "trainer.max_steps was 7, is 9"):
        assert line in caplog.text
    assert str(other) in caplog.text
    assert trainer.global_step == 9
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(5e-4)
    saved = content(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert saved["DataModule"]["drawn"] == 7 * 2 + 2 * 2 * 3
    caplog.clear()
    train(tiny_config(sounds, tmp_path / "same", f"ckpt='{finished}'", "trainer.max_steps=8", "sample_count=0"))
    told = caplog.text[caplog.text.index("going on from step 7") :].splitlines()
    assert [line.split()[0] for line in told[1:] if " was " in line] == [
        "callbacks.checkpoint.every_steps", "trainer.max_steps",
    ]  # fmt: skip


def test_a_run_that_is_over_by_the_clock(sounds: Path, tmp_path: Path) -> None:
    limits = ["trainer.max_steps=-1", "trainer.max_time=00:00:00:01", "sample_count=0", "val_log_every_n_steps=10000"]
    train(tiny_config(sounds, tmp_path / "run", *limits))
    with pytest.raises(ValueError, match=r"has trained for .* minutes already"):
        train(tiny_config(sounds, tmp_path / "more", *limits, f"ckpt='{tmp_path / 'run'}'"))


def test_damage_is_seen(finished: Path, tmp_path: Path) -> None:
    whole = (finished / "checkpoints" / "last.ckpt").read_bytes()
    path = tmp_path / "a.ckpt"
    for bad in (b"", b"text", whole[: len(whole) // 2], whole[:-1], whole[:5000] + b"\x00\xff" + whole[5002:]):
        path.write_bytes(bad)
        assert storage.damage(path)
    path.write_bytes(whole)
    assert not storage.damage(path)


def test_an_interrupted_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.write({"a": 1}, tmp_path / "a.ckpt")

    def fail(content: object, stream: object) -> None:
        stream.write(b"half")  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.torch, "save", fail)  # type: ignore[attr-defined]
    with pytest.raises(OSError, match="No space"):
        storage.write({"a": 2}, tmp_path / "a.ckpt")
    assert content(tmp_path / "a.ckpt") == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]
