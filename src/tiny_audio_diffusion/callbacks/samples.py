"""Hear it train: sounds from the averaged weights at every validation, as files and in every logger that takes them."""

from pathlib import Path
from typing import cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from torch import Tensor

from tiny_audio_diffusion import audio, plot
from tiny_audio_diffusion.diffusion import dynamic_threshold
from tiny_audio_diffusion.loggers import log_sounds
from tiny_audio_diffusion.module import Module
from tiny_audio_diffusion.pipeline import Pipeline
from tiny_audio_diffusion.sampler import Sampler
from tiny_audio_diffusion.schedule import Schedule


class Samples(pl.Callback):
    """`count` sounds from the same seeds each time, in `<folder>/step_<n>/`, with a contact sheet.

    Must stand before the average among the callbacks: it swaps its weights back when validation ends.
    """

    def __init__(
        self,
        *,
        folder: str,
        count: int,
        seed: int,
        steps: int,
        sampler: Sampler,
        ladder: Schedule,
        sampling_rate: int,
        channels: int,
        length: int,
        batch_size: int,
        threshold: float | None,
    ):
        self.folder, self.count, self.seed, self.batch_size = Path(folder), count, seed, batch_size
        sampler.intervals(steps)  # refuses what is no number of steps
        if threshold is not None:
            dynamic_threshold(torch.zeros(1, 1), threshold)  # and what is no quantile
        self.steps, self.sampler, self.ladder, self.threshold = steps, sampler, ladder, threshold
        self.sampling_rate, self.channels, self.length = sampling_rate, channels, length

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero or self.count == 0:
            return
        try:
            self._write(trainer, self.make(trainer, cast(Module, pl_module)))
        except Exception as error:  # noqa: BLE001 - a picture, a disk or a logger must not cost the training
            rank_zero_warn(f"no samples at step {trainer.global_step}: {type(error).__name__}: {error}")

    def make(self, trainer: pl.Trainer, module: Module) -> Tensor:
        """The sounds [count, C, L] of the weights that the module has now."""
        pipeline = Pipeline(
            diffusion=module.diffusion,
            representation=module.representation,
            sampler=self.sampler,
            ladder=self.ladder,
            steps=self.steps,
            sampling_rate=self.sampling_rate,
            channels=self.channels,
            length=self.length,
            threshold=self.threshold,
        )
        with torch.inference_mode(), trainer.precision_plugin.forward_context():
            return pipeline.generate(self.count, seed=self.seed, batch_size=self.batch_size)

    def _write(self, trainer: pl.Trainer, sounds: Tensor) -> None:
        folder = self.folder / f"step_{trainer.global_step:06d}"
        audio.write_all(folder, sounds, self.sampling_rate)
        plot.contact_sheet(sounds, self.sampling_rate, folder / "sheet.png")
        log_sounds(trainer.loggers, sounds, self.sampling_rate, step=trainer.global_step)
