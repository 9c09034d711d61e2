"""Stops a run at the first number that is not finite, before it reaches weights, average or checkpoint."""

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer


class FiniteGuard(pl.Callback):
    """Checks every loss before the backward pass and every gradient before the optimizer step."""

    def __init__(self) -> None:
        self.files: list[str] = []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, index: int) -> None:
        self.files = list(batch["path"])

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        if not loss.isfinite():
            self._stop(trainer, f"the loss is {loss.item()}")

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        gradients = [parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        scales_loss = getattr(trainer.precision_plugin, "scaler", None) is not None
        if not scales_loss and not norm.isfinite():  # under fp16 the loss scaler skips such a step and lowers the scale
            self._stop(trainer, f"the gradient's norm is {norm.item()}")
        pl_module.log("gradient_norm", norm)

    def _stop(self, trainer: pl.Trainer, what: str) -> None:
        files = "\n  ".join(self.files[:8])
        raise FloatingPointError(
            f"{what} at step {trainer.global_step + 1}; weights, average and checkpoints are as they were before it.\n"
            f"The sounds in this batch:\n  {files}\n"
            "A lower learning rate or trainer.precision=32 often helps; if it is always the same files, listen to them."
        )
