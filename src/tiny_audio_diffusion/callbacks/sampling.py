"""What callbacks that make sounds have in common: when, with which weights, and that a failure costs no training."""

from typing import cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from torch import Tensor

from tiny_audio_diffusion.diffusion import dynamic_threshold
from tiny_audio_diffusion.module import Module
from tiny_audio_diffusion.pipeline import Pipeline
from tiny_audio_diffusion.sampler import Sampler
from tiny_audio_diffusion.schedule import Schedule


class Sampling(pl.Callback):
    """Makes `count` sounds from the averaged weights when validation ends, from the same seeds each time.

    Must stand before the average among the callbacks: it swaps its weights back when validation ends.
    No dataclass, which would spare subclasses their constructors: Hydra takes one among a Trainer's callbacks for a
    configuration.
    """

    what = "sounds"  # that are missing when something fails

    def __init__(
        self,
        *,
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
        self.count, self.seed, self.batch_size = count, seed, batch_size
        sampler.intervals(steps)  # refuses what is no number of steps
        if threshold is not None:
            dynamic_threshold(torch.zeros(1, 1), threshold)  # and what is no quantile
        self.steps, self.sampler, self.ladder, self.threshold = steps, sampler, ladder, threshold
        self.sampling_rate, self.channels, self.length = sampling_rate, channels, length

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        stopped = getattr(trainer.checkpoint_callback, "stopped_by", None)  # whoever stops a run wants it to end soon
        if trainer.sanity_checking or not trainer.is_global_zero or self.count == 0 or stopped:
            return
        try:
            self._sample(trainer, cast(Module, pl_module))
        except Exception as error:  # noqa: BLE001 - a picture, a disk or a logger must not cost the training
            rank_zero_warn(f"no {self.what} at step {trainer.global_step}: {type(error).__name__}: {error}")

    def _sample(self, trainer: pl.Trainer, module: Module) -> None:
        """What this callback is for."""
        raise NotImplementedError

    def pipeline(self, module: Module) -> Pipeline:
        """The weights that the module has at this moment, with the sampling of the run."""
        return Pipeline(
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

    def sounds(self, trainer: pl.Trainer, module: Module) -> Tensor:
        """Sounds [count, C, L] in the precision of the training."""
        with torch.inference_mode(), trainer.precision_plugin.forward_context():
            return self.pipeline(module).generate(self.count, seed=self.seed, batch_size=self.batch_size)
