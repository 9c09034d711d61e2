"""From sounds to batches, in a Trainer and in loader processes."""

import logging
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
import pytorch_lightning as pl
import torch
from sounds import LENGTH, make_augment, make_datamodule, make_sounds, open_folder
from torch import Tensor

from tiny_audio_diffusion import command
from tiny_audio_diffusion.data.datamodule import DataModule


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
@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_few_sounds_train(tmp_path: Path, count: int) -> None:
    dataset = open_folder(make_sounds(tmp_path / "sounds", count))
    datamodule = make_datamodule(dataset, batch_size=8)
    model = train(datamodule, tmp_path, steps=4)
    assert len(model.seen) == 32
    assert len(model.validated) == 2 * len(datamodule.validation) > 0  # type: ignore[arg-type]
    if count > 1:
        assert not set(model.seen) & set(model.validated)
        assert set(model.seen) | set(model.validated) == set(dataset.catalogue.paths)


@quiet_lightning
@pytest.mark.parametrize("workers", [0, 2])
def test_resumed_training_goes_on_with_the_next_sound(tmp_path: Path, workers: int) -> None:
    dataset = open_folder(make_sounds(tmp_path / "sounds", 10), augment=make_augment(shift_seconds=0.01))
    options = {"batch_size": 4, "seed": 5, "num_workers": workers}
    whole = train(make_datamodule(dataset, **options), tmp_path, steps=7)
    first = train(make_datamodule(dataset, **options), tmp_path, steps=3)
    second = train(make_datamodule(dataset, **options), tmp_path, steps=7, checkpoint=tmp_path / "last.ckpt")
    assert first.seen + second.seen == whole.seen


@quiet_lightning
def test_skipped_sounds_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = open_folder(make_sounds(tmp_path / "sounds", 6), memory_gigabytes=0)
    datamodule = make_datamodule(dataset, num_workers=0, on_error="skip")
    first, _ = dataset.training(datamodule.plan).draw(0)
    Path(dataset.catalogue.paths[first]).unlink()
    train(datamodule, tmp_path, steps=15)
    assert "left out:" in caplog.text
    assert "1 sounds could no longer be read" in caplog.text


def test_an_error_in_a_worker_is_one_message(tmp_path: Path) -> None:
    dataset = open_folder(make_sounds(tmp_path, 3), memory_gigabytes=0)
    for path in tmp_path.iterdir():
        path.unlink()
    loader = make_datamodule(dataset, num_workers=1).train_dataloader()
    with pytest.raises(SystemExit, match=r"^error: \S+hit_\d\.wav is gone since .* goes on without it\)$"):
        command.friendly(lambda: next(iter(loader)))()


def test_workers_deliver_the_same(tmp_path: Path) -> None:
    dataset = open_folder(make_sounds(tmp_path, 5), augment=make_augment(gain_decibels=6))
    streams = []
    for workers in (0, 1, 2):
        datamodule = make_datamodule(dataset, batch_size=2, num_workers=workers)
        loader = iter(datamodule.train_dataloader())
        streams.append([next(loader) for _ in range(6)])
    for stream in streams[1:]:
        for one, other in zip(streams[0], stream, strict=True):
            assert one["path"] == other["path"]
            assert torch.equal(one["audio"], other["audio"])


def test_spawned_workers(tmp_path: Path) -> None:
    make_sounds(tmp_path / "sounds", 3)
    program = tmp_path / "spawn.py"
    program.write_text(
        dedent(
            f"""
            import multiprocessing, sys
            from pathlib import Path
            sys.path.insert(0, {str(Path(__file__).parent)!r})
            from sounds import make_datamodule, open_folder

            if __name__ == "__main__":
                multiprocessing.set_start_method("spawn")
                dataset = open_folder(Path({str(tmp_path / "sounds")!r}))
                batches = []
                for workers in (0, 1):
                    loader = make_datamodule(dataset, batch_size=2, num_workers=workers).train_dataloader()
                    batches.append(next(iter(loader)))
                assert batches[0]["path"] == batches[1]["path"]
                assert (batches[0]["audio"] == batches[1]["audio"]).all()
                print("the same")
            """
        )
    )
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "the same", done.stderr


def test_automatic_workers(tmp_path: Path) -> None:
    make_sounds(tmp_path, 2)
    assert make_datamodule(open_folder(tmp_path)).num_workers == 0
    assert 1 <= make_datamodule(open_folder(tmp_path, memory_gigabytes=0)).num_workers <= 4
    with pytest.raises(ValueError, match="num_workers"):
        make_datamodule(open_folder(tmp_path), num_workers="many")
    with pytest.raises(ValueError, match="validation_count"):
        make_datamodule(open_folder(tmp_path), validation_count=0)


def test_reference_sounds(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    dataset = open_folder(make_sounds(tmp_path, 10))
    datamodule = make_datamodule(dataset, batch_size=4, validation_fraction=0.4, validation_count=2)
    count, others = dataset.counts(datamodule.plan)
    assert count + others == 10
    assert datamodule.training_audio(3).shape == (3, 2, LENGTH)
    assert datamodule.training_audio(99).shape == (count, 2, LENGTH)
    batch = next(iter(datamodule.train_dataloader()))
    assert torch.equal(datamodule.training_audio(4), batch["audio"])
    assert f"{count} sounds to train on, 2 of {others} others to validate" in caplog.text
    with pytest.raises(ValueError, match="at least 1"):
        datamodule.training_audio(0)
