"""Averages of the weights over training, updated once per optimizer step; validation and sounds use the average.

Lightning's own WeightAveraging swaps the two sets around validation and keeps both in the checkpoint
(`state_dict` is the average, `current_model_state` the weights in training); here are the two decays, and where an
average begins that was loaded.
"""

from typing import cast

import numpy
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor

from tiny_audio_diffusion.module import Module


class _Average(WeightAveraging):
    def __init__(self, *, device: str | None) -> None:
        super().__init__(use_buffers=False, multi_avg_fn=self._update)
        self.place = device  # null: where the weights are, or on the host with trainer.memory=low
        self.swapped = False

    def decay(self, step: int) -> float:
        """How much of the average stays at its update number `step`, counted from 1."""
        raise NotImplementedError

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Fine-tuning goes on with the average that it has loaded; a checkpoint to go on from comes later and wins."""
        if self.place is None and cast(Module, pl_module).diffusion.network.recompute:
            self.place = "cpu"
        self._device = torch.device(self.place) if self.place else trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)
        if self._average_model is not None:
            self._average_model.n_averaged = self._average_model.n_averaged.cpu()  # to be read without waiting
        loaded = cast(Module, pl_module).loaded
        if stage == "fit" and loaded is not None and loaded.average:
            assert self._average_model is not None
            average = self._average_model.module
            average.load_state_dict(average.state_dict() | loaded.average)
            self._average_model.n_averaged.fill_(loaded.updates)
            loaded.average.clear()  # its work is done, and its memory of use

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_epoch_start(trainer, pl_module)
        self.swapped = True

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_epoch_end(trainer, pl_module)
        self.swapped = False

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Put the weights back where they belong before a checkpoint is written, which Lightning does last."""
        if self.swapped:
            self.on_validation_epoch_end(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The module keeps the weights in training: checkpoints hold both sets, and a later fit goes on from these."""

    @torch.no_grad()
    def _update(self, averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        assert self._average_model is not None
        step = int(self._average_model.n_averaged) + 1  # not of `count`, which lies on the device
        torch._foreach_lerp_(averaged, current, 1 - self.decay(step))


class ExponentialAverage(_Average):
    """Decay that rises from 0 to `beta` as 1 - (1 + k / inv_gamma)^-power, k steps after `update_after_step`."""

    def __init__(
        self,
        *,
        beta: float,
        power: float,
        device: str | None,
        inv_gamma: float = 1.0,
        update_after_step: int = 100,
    ):
        super().__init__(device=device)
        self.beta, self.power, self.inv_gamma, self.update_after_step = beta, power, inv_gamma, update_after_step

    def decay(self, step: int) -> float:
        since = max(0, step - self.update_after_step - 1)
        return min(self.beta, 1 - (1 + since / self.inv_gamma) ** -self.power)


class PowerAverage(_Average):
    """A profile as wide as `relative_width` of the steps so far, at any time (Karras et al., 2024)."""

    def __init__(self, *, relative_width: float, device: str | None):
        super().__init__(device=device)
        if not 0 < relative_width < 0.28:
            raise ValueError(f"relative_width must lie in (0, 0.28), not {relative_width}")
        # relative_width = sqrt(g + 1) / ((g + 2) sqrt(g + 3)), solved for the exponent g
        squared = relative_width**-2
        self.exponent = float(numpy.roots([1, 7, 16 - squared, 12 - squared]).real.max())

    def decay(self, step: int) -> float:
        return (1 - 1 / step) ** (self.exponent + 1)
