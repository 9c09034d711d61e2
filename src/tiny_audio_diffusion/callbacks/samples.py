"""Hear it train: sounds from the averaged weights at every validation, as files and in every logger that takes them."""

from pathlib import Path

import pytorch_lightning as pl

from tiny_audio_diffusion import audio, plot
from tiny_audio_diffusion.callbacks.sampling import Sampling
from tiny_audio_diffusion.loggers import log_sounds
from tiny_audio_diffusion.module import Module
from tiny_audio_diffusion.sampler import Sampler
from tiny_audio_diffusion.schedule import Schedule


class Samples(Sampling):
    """`count` sounds in `<folder>/step_<n>/`, with a contact sheet."""

    what = "samples"

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
        super().__init__(
            count=count,
            seed=seed,
            steps=steps,
            sampler=sampler,
            ladder=ladder,
            sampling_rate=sampling_rate,
            channels=channels,
            length=length,
            batch_size=batch_size,
            threshold=threshold,
        )
        self.folder = Path(folder)

    def _sample(self, trainer: pl.Trainer, module: Module) -> None:
        sounds = self.sounds(trainer, module)
        folder = self.folder / f"step_{trainer.global_step:06d}"
        audio.write_all(folder, sounds, self.sampling_rate)
        plot.contact_sheet(sounds, self.sampling_rate, folder / "sheet.png")
        log_sounds(trainer.loggers, sounds, self.sampling_rate, step=trainer.global_step)
