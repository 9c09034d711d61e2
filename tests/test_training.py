"""Whole runs at tiny size: what they leave behind, that they repeat, resume, switch parts and stop in time."""

import csv
from pathlib import Path

import pytest
import soundfile
import torch
from hydra.errors import InstantiationException
from omegaconf import OmegaConf
from runs import QUIET, tiny_config, train, write_sounds

from tiny_audio_diffusion import audio, checkpoint
from tiny_audio_diffusion.callbacks import Samples
from tiny_audio_diffusion.diffusion import Diffusion
from tiny_audio_diffusion.trainer import best_precision
from tiny_audio_diffusion.trainer import build as build_trainer

pytestmark = QUIET


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sounds(tmp_path_factory.mktemp("some sounds (1)=x"))


@pytest.fixture(scope="module")
def finished(sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of 4 steps, validated every 2."""
    folder = tmp_path_factory.mktemp("run")
    train(tiny_config(sounds, folder))
    return folder


def metric(folder: Path, name: str) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def test_a_run_leaves_everything_in_its_folder(finished: Path) -> None:
    assert len(metric(finished, "train_loss")) == 4
    assert len(metric(finished, "valid_loss")) == 2
    assert len(metric(finished, "valid_loss_sigma_0.01")) == 2
    for step in ("step_000002", "step_000004"):
        assert (finished / "samples" / step / "sheet.png").stat().st_size > 10_000
        for name in ("sound_000.wav", "sound_001.wav"):
            info = soundfile.info(finished / "samples" / step / name)
            assert (info.samplerate, info.channels, info.frames) == (44100, 2, 1024)
    files = {path.name for path in finished.iterdir()}
    assert files >= {"config.yaml", "data_report.csv", "metrics.csv", "checkpoints", "samples"}
    assert (finished / "checkpoints" / "last.ckpt").exists()
    assert list((finished / "checkpoints").glob("best-step_*.ckpt"))


def test_a_checkpoint_explains_itself_and_makes_sounds(finished: Path) -> None:
    path = finished / "checkpoints" / "last.ckpt"
    model = checkpoint.read(path)
    assert model.config.length == 1024
    assert model.step == model.content["global_step"] == 4
    pipeline = checkpoint.load_pipeline(path)
    assert pipeline.representation.level > 0
    first = pipeline.generate(3, seed=5, batch_size=2)
    assert first.shape == (3, 2, 1024)
    torch.testing.assert_close(pipeline.generate(1, seed=7), first[2:], rtol=0, atol=1e-5)
    assert pipeline.generate(1, length=1000).shape[-1] == 1000


def test_samples_and_checkpoints_use_the_average(finished: Path) -> None:
    content = checkpoint.read(finished / "checkpoints" / "last.ckpt").content
    average, current = content["state_dict"], content["current_model_state"]
    name = "diffusion.network.levels.0.upsample.weight"
    assert not torch.equal(average[name], current[name])
    pipeline = checkpoint.load_pipeline(finished / "checkpoints" / "last.ckpt")
    sound = soundfile.read(finished / "samples" / "step_000004" / "sound_000.wav", dtype="float32")[0].T
    made = pipeline.generate(2, seed=0, batch_size=2)[0]
    if made.abs().max() > 1:
        made = made.clamp(-audio.CEILING, audio.CEILING)
    torch.testing.assert_close(torch.from_numpy(sound.copy()), made, rtol=0, atol=1e-4)


def test_one_seed_gives_one_run(sounds: Path, finished: Path, tmp_path: Path) -> None:
    train(tiny_config(sounds, tmp_path))
    assert metric(tmp_path, "train_loss") == metric(finished, "train_loss")
    assert metric(tmp_path, "valid_loss") == metric(finished, "valid_loss")
    train(tiny_config(sounds, tmp_path / "other", "seed=1"))
    assert metric(tmp_path / "other", "train_loss") != metric(finished, "train_loss")


@pytest.mark.parametrize("plus", ["", "+"])
def test_a_resumed_run_is_the_run_that_never_stopped(sounds: Path, tmp_path: Path, plus: str) -> None:
    constant = "module.decay_to=1.0"
    train(tiny_config(sounds, tmp_path / "whole", constant, "trainer.max_steps=6"))
    train(tiny_config(sounds, tmp_path / "first", constant))
    trainer = train(
        tiny_config(sounds, tmp_path / "rest", constant, f"{plus}ckpt='{tmp_path / 'first'}'", "trainer.max_steps=6")
    )
    assert trainer.global_step == 6
    assert metric(tmp_path / "rest", "train_loss") == metric(tmp_path / "whole", "train_loss")
    assert metric(tmp_path / "rest", "valid_loss") == metric(tmp_path / "whole", "valid_loss")
    ends = [checkpoint.read(tmp_path / name / "checkpoints" / "last.ckpt").content for name in ("whole", "rest")]
    for weights in ("state_dict", "current_model_state"):
        assert all(torch.equal(ends[0][weights][name], ends[1][weights][name]) for name in ends[0][weights])
    assert ends[1]["optimizer_states"][0]["state"][0]["step"] == 6
    assert ends[1]["averaging_state"]["n_averaged"] == 6


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.max_steps=4", "already at step 4"),
        ("objective=k", "another objective"),
        ("channels=1", "another network, channels"),
    ],
)
def test_what_cannot_go_on_is_told(sounds: Path, finished: Path, tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train(tiny_config(sounds, tmp_path, f"ckpt='{finished}'", "trainer.max_steps=6", override))


def test_files_that_are_no_checkpoints_are_told(sounds: Path, finished: Path, tmp_path: Path) -> None:
    whole = (finished / "checkpoints" / "last.ckpt").read_bytes()
    torch.save({"weights": torch.zeros(1)}, tmp_path / "foreign.ckpt")
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    (tmp_path / "torn.ckpt").write_bytes(whole[: len(whole) // 2])
    for name, what in (("foreign", "holds no network"), ("text", "is cut off or damaged"), ("torn", "is cut off")):
        with pytest.raises(ValueError, match=rf"{name}\.ckpt.*{what}"):
            checkpoint.load_pipeline(tmp_path / f"{name}.ckpt")
    model = checkpoint.read(finished / "checkpoints" / "last.ckpt")
    model.config.objective._target_ = "os.system"
    torch.save(model.content | {"config": OmegaConf.to_yaml(model.config)}, tmp_path / "trojan.ckpt")
    with pytest.raises(ValueError, match=r"code from elsewhere.*os\.system"):
        checkpoint.load_pipeline(tmp_path / "trojan.ckpt")


def test_ctrl_c_while_sampling_keeps_both_sets_of_weights(
    sounds: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupt(self: Samples, trainer: object, module: object) -> None:
        if trainer.global_step == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(Samples, "_sample", interrupt)
    caplog.set_level("INFO", logger="tiny_audio_diffusion")
    with pytest.raises(SystemExit):
        train(tiny_config(sounds, tmp_path))
    assert "stopped at step 4" in caplog.text
    stopped, whole = (checkpoint.read(run / "checkpoints" / "last.ckpt").content for run in (tmp_path, finished))
    for weights in ("state_dict", "current_model_state"):
        assert all(torch.equal(stopped[weights][name], whole[weights][name]) for name in whole[weights])


def test_a_short_run_still_makes_sounds(sounds: Path, tmp_path: Path) -> None:
    train(tiny_config(sounds, tmp_path, "trainer.max_steps=2", "val_log_every_n_steps=1000"))
    assert (tmp_path / "samples" / "step_000002" / "sound_000.wav").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("accumulate_grad_batches=0", "accumulate_grad_batches must be at least 1"),
        ("val_log_every_n_steps=0", "val_log_every_n_steps must be at least 1"),
        ("steps=0", "steps must be at least 1"),
        ("threshold=95", "quantile must lie in"),
        ("trainer.gpus=auto", "choose 0"),
        ("trainer.devices=2", "not both"),
        ("level_sounds=0", "at least 1"),
        ("sampling_rate=44.1", "sampling_rate"),
        ("batch_size=0", "at least 1"),
    ],
)
def test_impossible_numbers_are_refused(sounds: Path, tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises((ValueError, InstantiationException)) as error:
        train(tiny_config(sounds, tmp_path, override))
    assert message in str(error.value)


@pytest.mark.parametrize(
    "switch",
    [
        ["objective=k"],
        ["objective=flow"],
        ["objective=flow", "schedule@noise=logit_normal"],
        ["sampler=heun"],
        ["sampler=dpm2m_sde", "schedule@ladder=karras"],
        ["representation=soft_companded"],
        ["threshold=0.95", "accumulate_grad_batches=3"],
        ["channels=1", "sampling_rate=22050"],
    ],
    ids=" ".join,
)
def test_one_override_switches_a_part(sounds: Path, tmp_path: Path, switch: list[str]) -> None:
    trainer = train(tiny_config(sounds, tmp_path, *switch, experiment="drum_diffusion"))
    assert trainer.global_step == 4
    assert all(0 < loss < 10 for loss in metric(tmp_path, "train_loss"))
    assert (tmp_path / "samples" / "step_000002" / "sound_000.wav").exists()


@pytest.mark.parametrize("count", [1, 3, 10])
def test_few_files_train_and_validate(count: int, tmp_path: Path) -> None:
    sounds = write_sounds(tmp_path / "sounds", count)
    train(tiny_config(sounds, tmp_path / "run", "batch_size=4"))
    assert len(metric(tmp_path / "run", "valid_loss")) == 2


def test_a_bad_loss_stops_before_it_does_harm(sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loss, calls = Diffusion.loss, []

    def breaking(self: Diffusion, *args: torch.Tensor, **options: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return loss(self, *args, **options) * (float("nan") if len(calls) == 4 else 1)

    monkeypatch.setattr(Diffusion, "loss", breaking)
    with pytest.raises(FloatingPointError, match=r"loss is nan at step 4(.|\n)*sound_\d\d.wav"):
        train(tiny_config(sounds, tmp_path))
    content = checkpoint.read(tmp_path / "checkpoints" / "last.ckpt").content
    assert content["global_step"] == 3
    for weights in (content["state_dict"], content["current_model_state"]):
        assert all(value.isfinite().all() for value in weights.values())


def test_bad_gradients_stop_too(sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loss = Diffusion.loss

    def breaking(self: Diffusion, *args: torch.Tensor, **options: torch.Tensor) -> torch.Tensor:
        value = loss(self, *args, **options)
        value.register_hook(lambda gradient: gradient * float("inf"))
        return value

    monkeypatch.setattr(Diffusion, "loss", breaking)
    with pytest.raises(FloatingPointError, match="gradient's norm is"):
        train(tiny_config(sounds, tmp_path))


def test_a_run_by_the_clock_ends_in_time_and_slowly(sounds: Path, tmp_path: Path) -> None:
    limits = ["trainer.max_steps=-1", "trainer.max_time=00:00:00:03", "val_log_every_n_steps=10000"]
    train(tiny_config(sounds, tmp_path, *limits, "module.warmup_steps=0"))
    content = checkpoint.read(tmp_path / "checkpoints" / "last.ckpt").content
    assert content["global_step"] > 4
    assert 0.04e-3 < content["lr_schedulers"][0]["_last_lr"][0] < 0.2e-3  # from 1e-3 down to a twentieth


def test_gpus_are_lightnings_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert build_trainer(gpus=0, logger=False).accelerator.__class__.__name__ == "CPUAccelerator"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ValueError, match="sees no GPU"):
        build_trainer(gpus=1)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match="0 to 2"):
        build_trainer(gpus=3)


@pytest.mark.parametrize(
    ("device", "supported", "expected"),
    [
        ("cuda", True, "bf16-mixed"),
        ("cuda", False, "16-mixed"),
        ("cpu", True, "bf16-mixed"),
        ("cpu", False, "32-true"),
    ],
)
def test_precision_fits_the_device(
    monkeypatch: pytest.MonkeyPatch, device: str, supported: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: supported)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: supported)
    assert best_precision(device) == expected
