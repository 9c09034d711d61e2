"""Stops a run at the first number that is not finite, before it reaches weights, average or checkpoint."""

import math
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer


class FiniteGuard(pl.Callback):
    """Checks every loss and the gradient before the optimizer step: all at once, since a device is waited for there."""

    def __init__(self) -> None:
        self.files: list[str] = []  # since the last optimizer step
        self.losses: list[Tensor] = []  # likewise
        self.stepped = False

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, index: int) -> None:
        if self.stepped:
            self.files, self.losses, self.stepped = [], [], False
        self.files += batch["path"]

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        self.losses.append(loss.detach())

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        gradients = [parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        *losses, length = torch.stack([*self.losses, norm.to(self.losses[0])]).tolist()
        if strange := [loss for loss in losses if not math.isfinite(loss)]:
            self._stop(trainer, f"the loss is {strange[0]}")
        if scaler is None and not math.isfinite(length):
            self._stop(trainer, f"the gradient's norm is {length}")
        if scaler is not None and scaler.get_scale() < 1:  # it skips such steps and halves its scale each time
            self._stop(trainer, "the gradients overflow fp16 at every loss scale")
        self.stepped = True
        pl_module.log("gradient_norm", norm)

    def _stop(self, trainer: pl.Trainer, what: str) -> None:
        files = "\n  ".join(sorted(set(self.files)))
        raise FloatingPointError(
            f"{what} at step {trainer.global_step + 1}; weights, average and checkpoints are as they were before it.\n"
            f"The sounds of this step:\n  {files}\n"
            "A lower learning rate or trainer.precision=32 often helps; if it is always the same files, listen to them."
        )
