"""From sounds to batches."""

import logging
import math
import pickle
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import soundfile
import torch
from torch import Tensor

from tiny_audio_diffusion.data.datamodule import DataModule, EndlessSampler, SoundFolder, split
from tiny_audio_diffusion.data.transforms import Transforms, measure_loudness

RATE = 44_100
LENGTH = 4_096


def hit(index: int) -> np.ndarray:
    time = np.arange(round(0.08 * RATE)) / RATE
    return 0.8 * np.cos(2 * np.pi * (200 + 40 * index) * time) * np.exp(-time * 40)


def make_sounds(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        soundfile.write(folder / f"hit_{index}.wav", hit(index), RATE)
    return folder


def make_dataset(folder: Path, count: int, *, cache_gigabytes: float = 1.0) -> SoundFolder:
    transforms = Transforms(sampling_rate=RATE, length=LENGTH, channels=2)
    return SoundFolder(make_sounds(folder, count), transforms, recursive=True, cache_gigabytes=cache_gigabytes)


def make_datamodule(dataset: SoundFolder, **options: Any) -> DataModule:
    usual = {"seed": 0, "num_workers": "auto", "validation_fraction": 0.1, "validation_count": 64}
    return DataModule(dataset, **usual | options)


def noise(length: int, *, channels: int = 2) -> Tensor:
    return 0.1 * torch.randn(channels, length, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("length", [1_000, 17_640, 32_768, 60_000])
@pytest.mark.parametrize("level", [1e-2, 1.0])
def test_loudness(length: int, level: float) -> None:
    transforms = Transforms(sampling_rate=RATE, length=length, channels=2, loudness=-20)
    audio = transforms(noise(max(length // 2, 1_000)) * level, RATE)
    assert audio.dtype == torch.float32
    if audio.abs().max() < 0.89:
        assert measure_loudness(audio, RATE) == pytest.approx(-20, abs=0.1)
    else:
        assert length == 1_000  # so short that the ceiling comes first


def test_loudness_stops_at_the_ceiling() -> None:
    click = torch.zeros(2, 2_000)
    click[:, 50], click[1, 51] = 0.5, 0.25
    audio = Transforms(sampling_rate=RATE, length=32_768, channels=2, loudness=-20)(click, RATE)
    assert audio.abs().max() == pytest.approx(10 ** (-1 / 20), abs=1e-6)
    assert audio[1, 51] / audio[0, 50] == pytest.approx(0.5)  # the sides keep their ratio


def test_peak_and_no_level() -> None:
    options = {"sampling_rate": RATE, "length": 1_000, "channels": 1}
    assert Transforms(**options, peak=-6)(noise(900), RATE).abs().max() == pytest.approx(10 ** (-6 / 20))
    quiet = noise(1_000, channels=1)
    assert torch.equal(Transforms(**options)(quiet, RATE), quiet)
    assert Transforms(**options)(quiet * 1_000, RATE).abs().max() == pytest.approx(1)
    silence = torch.full((1, 500), 1e-9)
    assert Transforms(**options, peak=-6)(silence, RATE).abs().max() <= 1e-9


def test_fade_only_where_cut() -> None:
    transforms = Transforms(sampling_rate=RATE, length=2_000, channels=1)
    fade_length = round(0.005 * RATE)
    constant = torch.full((1, 2_001), 0.5)
    cut = transforms(constant, RATE)[0]
    assert torch.equal(cut[:-fade_length], constant[0, : 2_000 - fade_length])
    assert cut[-1].abs() < 1e-6
    assert (cut[-fade_length:].diff() < 0).all()
    assert torch.equal(transforms(constant[:, :2_000], RATE), constant[:, :2_000])
    assert transforms(constant[:, :700], RATE)[0].tolist() == [0.5] * 700 + [0.0] * 1_300


@pytest.mark.parametrize("sampling_rate", [22_050, 44_100, 96_000])
def test_reading_no_further_than_needed_changes_nothing(sampling_rate: int) -> None:
    transforms = Transforms(sampling_rate=RATE, length=LENGTH, channels=2)
    audio = noise(2 * sampling_rate)
    needed = audio[:, : transforms.frames_needed(sampling_rate)]
    torch.testing.assert_close(transforms(needed, sampling_rate), transforms(audio, sampling_rate), atol=1e-7, rtol=0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"channels": 3}, "channels must be 1 or 2"),
        ({"length": 0}, "length must be positive"),
        ({"loudness": -20, "peak": -1}, "not both"),
        ({"peak": 3}, "peak must lie"),
        ({"loudness": math.nan}, "loudness must lie"),
    ],
)
def test_wrong_transforms(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Transforms(**{"sampling_rate": RATE, "length": LENGTH, "channels": 2, **wrong})


def test_labels(tmp_path: Path) -> None:
    transforms = Transforms(sampling_rate=RATE, length=LENGTH, channels=1)
    make_sounds(tmp_path / "snare" / "rim", 1)
    make_sounds(tmp_path / "kick", 2)
    dataset = SoundFolder(tmp_path, transforms, recursive=True, cache_gigabytes=1.0)
    assert (dataset.classes, dataset.labels) == (["kick", "snare"], [0, 0, 1])
    make_sounds(tmp_path, 1)
    assert SoundFolder(tmp_path, transforms, recursive=True, cache_gigabytes=1.0).labels == [-1, 0, 0, 1]
    assert SoundFolder(tmp_path / "kick", transforms, recursive=True, cache_gigabytes=1.0).labels == [0, 0]


def test_cache_changes_nothing(tmp_path: Path) -> None:
    cached = make_dataset(tmp_path, 3)
    direct = make_dataset(tmp_path, 3, cache_gigabytes=0)
    assert cached.cache is not None
    assert direct.cache is None
    for one, other in zip(cached, direct, strict=True):
        assert torch.equal(one["audio"], other["audio"])
        assert one["path"] == other["path"]
    assert torch.equal(pickle.loads(pickle.dumps(direct))[2]["audio"], cached[2]["audio"])


def test_later_read_error_names_the_file(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, 2, cache_gigabytes=0)
    (tmp_path / "hit_1.wav").write_text("gone")
    with pytest.raises(ValueError, match=r"hit_1\.wav"):
        dataset[1]


def test_split_is_stable() -> None:
    paths = [f"/sounds/{index}.wav" for index in range(400)]
    training, validation = split(paths, 0.1)
    assert sorted(training + validation) == list(range(400))
    assert 20 <= len(validation) <= 60
    held_out = {Path(paths[index]).name for index in validation}
    elsewhere = [f"/other/place/{index}.wav" for index in range(399, -1, -3)]
    again = {Path(elsewhere[index]).name for index in split(elsewhere, 0.1)[1]}
    assert again == held_out & {Path(path).name for path in elsewhere}


@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.999])
@pytest.mark.parametrize("count", [2, 3, 9])
def test_split_leaves_no_side_empty(count: int, fraction: float) -> None:
    training, validation = split([f"{index}.wav" for index in range(count)], fraction)
    assert training
    assert validation
    assert not set(training) & set(validation)


def test_split_of_one(caplog: pytest.LogCaptureFixture) -> None:
    assert split(["a.wav"], 0.1) == ([0], [0])
    assert "one sound only" in caplog.text
    for fraction in (0, 1, -0.1):
        with pytest.raises(ValueError, match="validation_fraction"):
            split(["a.wav", "b.wav"], fraction)


def test_sampler_passes() -> None:
    stream = list(islice(EndlessSampler(7, seed=3), 28))
    passes = [stream[start : start + 7] for start in range(0, 28, 7)]
    assert all(sorted(one) == list(range(7)) for one in passes)
    assert passes[0] != passes[1]
    assert stream == list(islice(EndlessSampler(7, seed=3), 28))
    assert stream != list(islice(EndlessSampler(7, seed=30), 28))
    assert stream[11:] == list(islice(EndlessSampler(7, seed=3, start=11), 17))
    with pytest.raises(TypeError):
        len(EndlessSampler(7, seed=3))  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [1, 3, 8])
def test_sampler_processes_take_turns(count: int) -> None:
    whole = list(islice(EndlessSampler(count, seed=0), 24))
    ranks = [list(islice(EndlessSampler(count, seed=0, rank=rank, world_size=2), 12)) for rank in (0, 1)]
    assert ranks == [whole[0::2], whole[1::2]]
    if count == 8:
        assert sorted(ranks[0][:4] + ranks[1][:4]) == list(range(8))


class Recorder(pl.LightningModule):
    """Trains one number and remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.seen: list[str] = []
        self.validated: list[str] = []

    def training_step(self, batch: dict, index: int) -> Tensor:
        self.seen += batch["path"]
        assert batch["audio"].shape[1:] == (2, LENGTH)
        assert batch["label"].dtype == torch.int64
        return (self.scale * batch["audio"]).square().mean()

    def validation_step(self, batch: dict, index: int) -> None:
        self.validated += batch["path"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def train(datamodule: DataModule, folder: Path, *, steps: int, checkpoint: Path | None = None) -> Recorder:
    model = Recorder()
    trainer = pl.Trainer(
        use_distributed_sampler=False, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, default_root_dir=folder, max_steps=steps,
        val_check_interval=2, check_val_every_n_epoch=None, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(model, datamodule=datamodule, ckpt_path=checkpoint)
    trainer.save_checkpoint(folder / "last.ckpt")
    return model


quiet_lightning = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*LeafSpec.*deprecated:FutureWarning"
)


@quiet_lightning
@pytest.mark.parametrize("count", [1, 3, 10])
def test_few_sounds_train(tmp_path: Path, count: int) -> None:
    datamodule = make_datamodule(make_dataset(tmp_path / "sounds", count), batch_size=8, seed=0)
    model = train(datamodule, tmp_path, steps=4)
    assert len(model.seen) == 32
    assert len(model.validated) == 2 * len(datamodule.validation) > 0
    if count > 1:
        assert not set(model.seen) & set(model.validated)
        assert set(model.seen) | set(model.validated) == set(datamodule.dataset.paths)


@quiet_lightning
def test_resumed_training_goes_on_with_the_next_sound(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "sounds", 10)
    whole = train(make_datamodule(dataset, batch_size=4, seed=5), tmp_path, steps=7)
    first = train(make_datamodule(dataset, batch_size=4, seed=5), tmp_path, steps=3)
    second = train(make_datamodule(dataset, batch_size=4, seed=5), tmp_path, steps=7, checkpoint=tmp_path / "last.ckpt")
    assert first.seen + second.seen == whole.seen


def test_workers_deliver_the_same(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, 3, cache_gigabytes=0)
    batches = []
    for workers in (0, 1):
        datamodule = make_datamodule(dataset, batch_size=2, seed=0, num_workers=workers)
        batches.append(next(iter(datamodule.train_dataloader())))
    assert batches[0]["path"] == batches[1]["path"]
    assert torch.equal(batches[0]["audio"], batches[1]["audio"])


def test_automatic_workers(tmp_path: Path) -> None:
    assert make_datamodule(make_dataset(tmp_path, 2), batch_size=1, seed=0).num_workers == 0
    assert 1 <= make_datamodule(make_dataset(tmp_path, 2, cache_gigabytes=0), batch_size=1, seed=0).num_workers <= 4
    with pytest.raises(ValueError, match="num_workers"):
        make_datamodule(make_dataset(tmp_path, 2), batch_size=1, seed=0, num_workers="many")


def test_reference_sounds(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    datamodule = make_datamodule(
        make_dataset(tmp_path, 10), batch_size=4, seed=0, validation_fraction=0.4, validation_count=2
    )
    count = len(datamodule.training)
    assert datamodule.training_audio(3).shape == (3, 2, LENGTH)
    assert datamodule.training_audio(99).shape == (count, 2, LENGTH)
    batch = next(iter(datamodule.train_dataloader()))
    assert torch.equal(datamodule.training_audio(4), batch["audio"])
    assert f"{count} sounds to train on, 2 to validate" in caplog.text
