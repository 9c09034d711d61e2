"""The commands as users type them: from any folder, with mistakes, in several processes, with W&B offline."""

import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import InstantiationException
from runs import QUIET, TINY, write_sounds

import generate
import train
from tiny_audio_diffusion import command


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sounds(tmp_path_factory.mktemp("my sounds"))


def run_here(script: object, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """A command in this process: as quick as a function call, with the exit code as SystemExit."""
    monkeypatch.setattr(sys, "argv", [script.__file__, *arguments])
    GlobalHydra.instance().clear()
    script.main()


def run_process(
    *arguments: str, folder: Path, script: str = "train.py", **environment: str
) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, started from `folder`."""
    return subprocess.run(
        [sys.executable, str(command.ROOT / script), *arguments],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["exp=drums"], r"drum_diffusion"),
        (["exp=quickstart", "sampler=hein"], r"heun"),
        (["exp=quickstart", "lenght=32768"], r"lenght"),
        (["exp=quickstart", "datamodule.dataset.path=/no/such folder"], r"/no/such folder"),
        (["exp=quickstart", "length=32767"], r"length 32767 is not a multiple of 1024: use 31744 or 32768"),
        (["exp=quickstart", "channels=3"], r"channels"),
        (["exp=quickstart", "channels=0"], r"channels"),
        (["exp=quickstart", "sampling_rate=0"], r"sampling_rate"),
        (["exp=quickstart", "trainer.gpus=1"], r"sees no GPU|trainer.gpus"),
        (["exp=quickstart", "trainer.max_stepz=1"], r"max_stepz"),
        (["exp=quickstart", "+trainer.max_stepz=1"], r"^error: .*unexpected keyword argument 'max_stepz'"),
        (["batch_size=4"], r"^error: no experiment is chosen: add one of exp=drum_diffusion, exp=finetune, "),
        (["--exp=quickstart"], r"^error: write exp=quickstart, without dashes"),
        (["exp=quickstart", "noise=log_normal"], r"^error: write schedule@noise=log_normal instead of"),
        (["exp=quickstart", "ckpt=/no/such.ckpt"], r"no checkpoint /no/such.ckpt"),
        (["exp=quickstart", "loggers.wandb=true"], r"loggers.wandb=true, but"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_get_one_message(
    arguments: list[str],
    message: str,
    sounds: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    places = [f"hydra.run.dir='{tmp_path / 'run'}'"]
    if not any("dataset.path" in argument for argument in arguments):
        places.append(f"datamodule.dataset.path='{sounds}'")
    with pytest.raises(SystemExit) as stop:
        run_here(train, monkeypatch, *arguments, *places)
    said = str(stop.value) + capfd.readouterr().err
    assert stop.value.code not in (0, None)
    assert re.search(message, said), said
    assert "Traceback" not in said
    assert len(str(stop.value).splitlines()) <= 8


def failing(error: BaseException, cause: BaseException | None = None) -> None:
    raise error from cause


@pytest.mark.parametrize(
    ("error", "cause", "message"),
    [
        (ValueError("ours"), None, "error: ours"),
        (ValueError("ours"), KeyError("inner"), "error: ours"),  # what we say outranks what made us say it
        (FileNotFoundError("no file"), RuntimeError("inner"), "error: no file"),
        (InstantiationException("Hydra's"), ValueError("ours"), "error: ours"),
        (InstantiationException("Hydra's"), TypeError("no such key"), "error: no such key (TypeError; HYDRA_FULL_"),
        (InstantiationException("Hydra's"), None, "error: Hydra's"),
        (torch.OutOfMemoryError("CUDA ran out"), None, "error: out of memory: take fewer sounds at a time"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), None, "error: out of memory"),
        (InstantiationException("Hydra's"), torch.OutOfMemoryError("CUDA"), "error: out of memory"),
    ],
    ids=repr,
)
def test_a_users_mistake_is_one_message(
    error: Exception, cause: Exception | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    with pytest.raises(SystemExit, match="^" + re.escape(message)):
        command.friendly(failing)(error, cause)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(type(error)):
        command.friendly(failing)(error, cause)


@pytest.mark.parametrize(
    "error", [KeyError("x"), TypeError("x"), AttributeError("x"), AssertionError(), RuntimeError()]
)
def test_a_bug_keeps_its_traceback(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    with pytest.raises(type(error)):
        command.friendly(failing)(error)


def test_empty_folder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "nothing here"
    empty.mkdir()
    with pytest.raises(SystemExit, match="nothing here"):
        run_here(
            train,
            monkeypatch,
            "exp=quickstart",
            f"datamodule.dataset.path='{empty}'",
            f"hydra.run.dir='{tmp_path / 'run'}'",
        )


@QUIET
def test_folders_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spaces, brackets, quotes and signs of Hydra's grammar, unquoted as a shell or a script hands them over."""
    home = tmp_path / "someone's home"
    sounds = write_sounds(home / "my drums (1), a=b [Übung] {x}")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    given = [f"datamodule.dataset.path=~/{sounds.name}", 'hydra.run.dir=runs, (all)/of "one" = 1']
    run_here(train, monkeypatch, "exp=one_shots", *TINY, "trainer.max_steps=1", *given)
    run = home / "runs, (all)" / 'of "one" = 1'
    last = (run / "checkpoints" / "last.ckpt").relative_to(home)
    run_here(generate, monkeypatch, f"ckpt={last}", "count=1", "out=~/kit [a=1, b]", "device=cpu")
    assert {path.name for path in home.iterdir()} == {sounds.name, "runs, (all)", "kit [a=1, b]"}
    assert {path.name for path in (home / "kit [a=1, b]").iterdir()} == {"sound_000.wav", "sheet.png", "manifest.json"}


def test_published_command_from_any_folder(sounds: Path, tmp_path: Path) -> None:
    """The README's command of the published project, its doubled exp included, from a folder with a space."""
    elsewhere = tmp_path / "some where"
    elsewhere.mkdir()
    done = run_process(
        "exp=drum_diffusion",
        "trainer.gpus=0",
        "exp=drum_diffusion",
        f"datamodule.dataset.path={sounds}",
        "trainer.max_steps=2",
        *[value for value in TINY if not value.startswith(("trainer.max_steps", "val_log"))],
        "val_log_every_n_steps=2",
        f"logs_dir='{elsewhere}'",
        folder=elsewhere,
    )
    assert done.returncode == 0, done.stderr
    (run,) = (elsewhere / "runs" / "drum_diffusion").iterdir()
    assert (run / "metrics.csv").exists()
    assert str(run / "checkpoints" / "last.ckpt") in done.stdout
    assert "2 steps in" in done.stdout
    again = run_process("count=2", "out=kit", f"logs_dir='{elsewhere}'", folder=elsewhere, script="generate.py")
    assert again.returncode == 0, again.stderr
    assert sorted(path.name for path in (elsewhere / "kit").iterdir()) == [
        "manifest.json",
        "sheet.png",
        "sound_000.wav",
        "sound_001.wav",
    ]
    refused = run_process("count=2", "out=kit", f"logs_dir='{elsewhere}'", folder=elsewhere, script="generate.py")
    assert refused.returncode == 1
    assert "already holds sounds" in refused.stderr


def test_generate_without_a_model_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="make quickstart"):
        run_here(generate, monkeypatch, f"logs_dir={tmp_path}")


def test_two_processes_share_the_work(sounds: Path, tmp_path: Path) -> None:
    run = tmp_path / 'run "1" (of 2)'
    done = run_process(
        "exp=one_shots",
        *TINY,
        f"datamodule.dataset.path={sounds}",
        f"hydra.run.dir={run}",
        "trainer.gpus=null",
        "trainer.accelerator=cpu",
        "trainer.devices=2",
        "trainer.strategy=ddp",
        "+callbacks.probe._target_=ddp_probe.Probe",
        f"+callbacks.probe.folder='{tmp_path}'",
        folder=tmp_path,
        PYTHONPATH=str(Path(__file__).parent),
    )
    assert done.returncode == 0, done.stderr
    reports = [json.loads((tmp_path / f"rank_{rank}.json").read_text()) for rank in (0, 1)]
    assert [report["processes"] for report in reports] == [2, 2]
    assert reports[0]["weights"] == reports[1]["weights"]
    for mine, other in zip(reports[0]["seen"], reports[1]["seen"], strict=True):
        assert not set(mine) & set(other)
    assert "16 sounds seen" in done.stdout
    assert [path.name for path in run.glob("*.log")] == ["train.log"]
    assert {path.name for path in tmp_path.iterdir()} == {run.name, "rank_0.json", "rank_1.json"}


def test_weights_and_biases_offline_holds_numbers_sounds_and_pictures(sounds: Path, tmp_path: Path) -> None:
    done = run_process(
        "exp=one_shots",
        *TINY,
        f"datamodule.dataset.path={sounds}",
        f"hydra.run.dir='{tmp_path / 'run'}'",
        folder=tmp_path,
        WANDB_MODE="offline",
        WANDB_SILENT="true",
    )
    assert done.returncode == 0, done.stderr
    assert "W&B offline" in done.stdout
    (record,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    keys = history_keys(record)
    for wanted in ("train_loss", "valid_loss", "samples/sound_0/", "samples/spectrogram_1/"):
        assert any(key.startswith(wanted) for key in keys), wanted
    media = record.parent / "files" / "media"
    assert len(list(media.rglob("*.wav"))) == len(list(media.rglob("*.png"))) == 4


def history_keys(file: Path) -> set[str]:
    """Every key that an offline run of W&B has logged: records of protobuf in LevelDB's log format."""
    from wandb.proto import wandb_internal_pb2

    content, position, record, keys = file.read_bytes(), 7, b"", set()  # the first 7 bytes say what the file is
    while position + 7 <= len(content):
        if 32768 - position % 32768 < 7:  # a block's rest is too short for a header
            position += 32768 - position % 32768
            continue
        _checksum, length, kind = struct.unpack_from("<IHB", content, position)
        record += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            message = wandb_internal_pb2.Record()
            message.ParseFromString(record)
            keys |= {item.key or "/".join(item.nested_key) for item in message.history.item}
            record = b""
    return keys
