"""A training in small: the real module, Trainer and callbacks for two optimizer steps on made-up sounds, no files."""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from tiny_audio_diffusion import finetune, training
from tiny_audio_diffusion.callbacks import Checkpoint, Progress, Summary, Yardstick
from tiny_audio_diffusion.callbacks.sampling import Sampling
from tiny_audio_diffusion.module import Batch, Module

STEPS = 2  # of the optimizer: the first one makes the moments, the second finds them there
ACCUMULATED = 2  # batches per step at most: the second one finds gradients there, and so would all others


class Sounds(pl.LightningDataModule):
    """Batches of noise, of the configured shape."""

    def __init__(self, config: DictConfig, *, batches: int) -> None:
        super().__init__()
        self.shape = (config.batch_size, config.channels, config.length)
        self.batches, self.validated = batches, min(config.batch_size, config.datamodule.validation_count)

    def train_dataloader(self) -> "Batches":
        return Batches(self.shape, self.batches)

    def val_dataloader(self) -> "Batches":
        return Batches((self.validated, *self.shape[1:]), 1)


class Batches:
    """A loader without a dataset."""

    def __init__(self, shape: tuple[int, ...], count: int) -> None:
        self.shape, self.count = shape, count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Batch]:
        for index in range(self.count):
            names = [f"{number}.wav" for number in range(self.shape[0])]
            audio = 0.1 * torch.randn(self.shape)
            yield {"audio": audio, "path": names, "label": [0] * len(names), "position": index, "failed": []}


class Unwritten(pl.Callback):
    """The sounds of a validation, made and forgotten."""

    def __init__(self, samples: Sampling) -> None:
        self.samples = samples
        samples.steps = min(samples.steps, 1 + samples.sampler.evaluations_per_interval)  # two intervals
        samples.count = min(samples.count, samples.batch_size)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.samples.count:
            self.samples.sounds(trainer, cast(Module, pl_module))


def rehearse(
    config: DictConfig, *, accelerator: str, precision: str, watching: Sequence[pl.Callback] = (), steps: int = STEPS
) -> None:
    """Train, validate and sample; callbacks that `watch` come before all others."""
    training.quieten_lightning()
    module = training.build_module(config)
    for name in finetune.frozen_names(module, config.freeze):
        module.get_parameter(name).requires_grad_(False)
    module.validation_levels = module.validation_levels[:1]  # one is like another
    changes = _changes(config.trainer, accelerator=accelerator, precision=precision, steps=steps)
    trainer = instantiate(config.trainer, callbacks=[*watching, *_callbacks(config)], **changes)
    trainer.fit(module, datamodule=Sounds(config, batches=changes["val_check_interval"]))


def _callbacks(config: DictConfig) -> list[pl.Callback]:
    """Those of the run that neither write nor say anything."""
    built = [instantiate(node) for node in config.callbacks.values() if node]
    kept = [each for each in built if not isinstance(each, Progress | Summary | Yardstick | Checkpoint)]
    return [Unwritten(each) if isinstance(each, Sampling) else each for each in kept]


def _changes(settings: DictConfig, *, accelerator: str, precision: str, steps: int) -> dict[str, Any]:
    """What is otherwise than in the run: no end but that of the rehearsal, one device, nothing on the disk."""
    accumulated = min(settings.accumulate_grad_batches, ACCUMULATED)
    return {
        "accelerator": accelerator, "precision": precision, "strategy": "auto", "gpus": None, "devices": 1,
        "num_nodes": 1, "max_steps": steps, "max_time": None, "min_steps": None, "max_epochs": -1, "min_epochs": None,
        "accumulate_grad_batches": accumulated, "val_check_interval": steps * accumulated,
        "check_val_every_n_epoch": None, "num_sanity_val_steps": 0, "log_every_n_steps": 1,
        "limit_train_batches": None, "limit_val_batches": None, "fast_dev_run": False, "profiler": None,
        "enable_checkpointing": False, "enable_progress_bar": False, "logger": False, "compile": False,
    }  # fmt: skip
