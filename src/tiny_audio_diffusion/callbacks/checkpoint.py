"""Checkpoints: the last two and the best by validation, by steps and by the clock, and whenever a run is stopped.

All are taken between optimizer steps: what one holds is always the state after a whole step.
"""

import logging
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint as LightningCheckpoint
from pytorch_lightning.loggers import WandbLogger
from torch.optim import Optimizer

from tiny_audio_diffusion import storage
from tiny_audio_diffusion.loggers import Forgiving

LAST, PREVIOUS, NEXT = "last.ckpt", "previous.ckpt", "next.ckpt"
STOPPING = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}  # the latter from clusters and Colab before they kill

logger = logging.getLogger(__name__)


class Checkpoint(LightningCheckpoint):
    """`last.ckpt`, `previous.ckpt` and `best-step_<n>.ckpt`, in names that every shell and Hydra can take."""

    def __init__(self, *, folder: str, monitor: str, every_steps: int | None, every_minutes: float | None) -> None:
        for name, value in (("every_steps", every_steps), ("every_minutes", every_minutes)):
            if value is not None and not value > 0:
                raise ValueError(f"callbacks.checkpoint.{name} must be above 0, or null for never, not {value}")
        self.folder, self.monitor = Path(folder), monitor
        self.every_steps, self.every_seconds = every_steps, None if every_minutes is None else 60 * every_minutes
        self.best_score, self.best_model_path, self.last_model_path = float("inf"), "", ""
        self.saved_step = -1  # of the newest that was written, or could not be
        self.saved_time = time.monotonic()
        self.stepping = False  # in the middle of an optimizer step
        self.stopped_by: signal.Signals | None = None
        self.handlers: dict[signal.Signals, Any] = {}

    # When to save.

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.saved_step, self.saved_time = trainer.global_step, time.monotonic()
        self.handlers = {number: signal.signal(number, self._note) for number in STOPPING}

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        self.stepping = True

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.stepping:  # a step was made, and the average has followed: others may be in the middle of none
            self.stepping = False
            if trainer.strategy.reduce_boolean_decision(self.stopped_by is not None, all=False):
                trainer.should_stop = True

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Here and not at the end of the step, so that its validation is over."""
        if trainer.global_step == self.saved_step or batch_idx % trainer.accumulate_grad_batches:
            return
        if trainer.strategy.reduce_boolean_decision(self._is_due(trainer.global_step), all=False):
            self._save_last(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        score = trainer.callback_metrics.get(self.monitor)
        if trainer.sanity_checking or score is None or not float(score) < self.best_score:
            return
        self.best_score, before = float(score), self.best_model_path
        path = self.folder / f"best-step_{trainer.global_step}.ckpt"
        trainer.save_checkpoint(path)
        if trainer.is_global_zero and path.exists():
            self.best_model_path = str(path)
            if before and Path(before) != path:
                Path(before).unlink(missing_ok=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._save_last(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if trainer.world_size == 1 and trainer.global_step > 0 and not self.stepping:
            self._save_last(trainer)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        self.handlers = {}

    # What is saved.

    def state_dict(self) -> dict[str, Any]:
        return {"best_score": self.best_score, "best_model_path": self.best_model_path, "folder": str(self.folder)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """A run that goes on in a folder of its own keeps its own best there."""
        if state_dict["folder"] == str(self.folder):
            self.best_score, self.best_model_path = state_dict["best_score"], state_dict["best_model_path"]

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        for each in trainer.loggers:
            if isinstance(each, Forgiving) and isinstance(each.inner, WandbLogger):
                checkpoint["wandb_id"] = each.version

    def _is_due(self, step: int) -> bool:
        by_steps = self.every_steps is not None and step - self.saved_step >= self.every_steps
        return by_steps or (self.every_seconds is not None and time.monotonic() - self.saved_time >= self.every_seconds)

    def _save_last(self, trainer: pl.Trainer) -> None:
        """Write the new one, and only then let the last become the previous."""
        if trainer.global_step == self.saved_step and (self.folder / LAST).exists():
            return
        for each in trainer.loggers:
            each.save()  # a run that goes on from here has every line up to here
        trainer.save_checkpoint(self.folder / NEXT)
        self.saved_step, self.saved_time = trainer.global_step, time.monotonic()
        if trainer.is_global_zero and (self.folder / NEXT).exists():
            if (self.folder / LAST).exists():
                storage.rename(self.folder / LAST, self.folder / PREVIOUS)
            storage.rename(self.folder / NEXT, self.folder / LAST)
            self.last_model_path = str(self.folder / LAST)

    def _note(self, number: int, frame: FrameType | None) -> None:
        """The first signal ends the run after this step; a second Ctrl-C ends it at once."""
        if self.stopped_by is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.stopped_by = signal.Signals(number)
        logger.info("%s: stopping after this step (Ctrl-C once more stops at once)", STOPPING[self.stopped_by])
