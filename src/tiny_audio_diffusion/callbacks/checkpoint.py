"""Checkpoints: the best by validation and the last one, also at the very end and on Ctrl-C."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint


class Checkpoint(ModelCheckpoint):
    """`best-step_<n>.ckpt` and `last.ckpt`, in names that every shell and Hydra can take."""

    def __init__(self, *, folder: str, monitor: str):
        super().__init__(
            dirpath=folder,
            filename="best-step_{step}",
            monitor=monitor,
            mode="min",
            save_top_k=1,
            save_last=True,
            auto_insert_metric_name=False,
            enable_version_counter=False,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """A run that goes on in a folder of its own keeps its own best there."""
        if state_dict["dirpath"] == self.dirpath:
            super().load_state_dict(state_dict)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        self._save_last(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if isinstance(exception, KeyboardInterrupt) and trainer.global_step > 0:
            self._save_last(trainer)

    def _save_last(self, trainer: pl.Trainer) -> None:
        if self._last_global_step_saved != trainer.global_step or not self.last_model_path:
            assert self.dirpath is not None
            self.last_model_path = str(Path(self.dirpath) / "last.ckpt")
            trainer.save_checkpoint(self.last_model_path)
