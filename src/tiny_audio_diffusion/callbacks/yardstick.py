"""Too early, or broken? Counts the sounds seen and says at each validation where a recorded run was by then."""

from typing import Any, cast

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf

from tiny_audio_diffusion import pace
from tiny_audio_diffusion.command import ROOT, say
from tiny_audio_diffusion.module import Module

RISE = 1.05  # times the best validation loss is more than chance
PATIENCE = 3  # validations without a new best, before a rise is told


class Yardstick(pl.Callback):
    """Logs `sounds_seen` and `learning_rate` and, beside `valid_loss`, `valid_loss_expected`: the recorded run's.

    `recorded` is a file of `utils/record_pace.py`, seen from the project; an experiment without one has no expectation.
    """

    def __init__(self, *, recorded: str) -> None:
        self.file = ROOT / recorded
        self.pace: pace.Pace | None = None
        self.seen = 0
        self.best, self.best_seen, self.since_best = float("inf"), 0, 0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        module = cast(Module, pl_module)
        if not self.file.is_file() or module.loaded is not None:  # whoever begins with a trained model is ahead
            return
        recorded, settings = pace.read(self.file), pace.settings_of(_config(module))
        if other := recorded.differences(settings, pace.MEANING):
            say(f"no expected valid_loss: the recorded run had another {' and '.join(other)}")
            return
        self.pace = recorded
        if other := recorded.differences(settings, pace.PACE):
            say(f"the expected valid_loss was recorded with another {', '.join(other)}: read it with care")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # The place in the order of all sounds is the same however often the run was stopped.
        size = len(batch["path"])
        self.seen = batch["position"] - trainer.global_rank + size * trainer.world_size
        pl_module.log("sounds_seen", float(self.seen), batch_size=size)
        pl_module.log("learning_rate", trainer.optimizers[0].param_groups[0]["lr"], batch_size=size)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or self.pace is None:
            return
        expected = self.pace.curve.loss_after(self.seen)
        if expected is not None:
            pl_module.log("valid_loss_expected", expected, batch_size=1)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or "valid_loss" not in trainer.callback_metrics:
            return
        loss = trainer.callback_metrics["valid_loss"].item()
        lines = [f"step {trainer.global_step}: valid_loss {loss:.3f} after {self.seen:,} sounds"]
        if self.pace is not None:
            lines.append(self.pace.verdict(self.seen, loss))
        if loss < self.best:
            self.best, self.best_seen, self.since_best = loss, self.seen, 0
        else:
            self.since_best += 1
        if loss > RISE * self.best and self.since_best >= PATIENCE:
            lines.append(
                f"it was {self.best:.3f} after {self.best_seen:,} and has risen since: the model learns its sounds by "
                "heart, and best-step_….ckpt is the one to take"
            )
        say("; ".join(lines))

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen, "best": self.best, "best_seen": self.best_seen, "since_best": self.since_best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seen, self.best = state_dict["seen"], state_dict["best"]
        self.best_seen, self.since_best = state_dict["best_seen"], state_dict["since_best"]


def _config(module: Module) -> DictConfig:
    config = OmegaConf.create(module.config)
    assert isinstance(config, DictConfig)
    return config
