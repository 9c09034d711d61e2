"""The LightningModule: training and validation steps, optimizer, and what travels in a checkpoint."""

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Timer
from torch import Tensor, nn
from torch.optim import Optimizer

from tiny_audio_diffusion.diffusion import Diffusion
from tiny_audio_diffusion.representation import Raw

Batch = dict[str, Any]  # {"audio": [B, C, L], "path": list of B names, "label": [B], "position": in the order of all}


@dataclass(frozen=True)
class Loaded:
    """What fine-tuning has brought from another model, besides the weights that it has put into the module."""

    names: frozenset[str]  # of the parameters; all others are new
    lr_factor: float  # learning rate of these, relative to that of new ones
    average: dict[str, Tensor]  # the averaged weights, for whoever goes on averaging
    updates: int  # that this average counts as made of

    def __deepcopy__(self, memo: dict[int, Any]) -> "Loaded":
        """Copies of a module share it: nobody needs the average twice."""
        return self


class Module(pl.LightningModule):
    """Trains a diffusion on represented sounds."""

    loaded: Loaded | None = None  # where training begins from another model

    def __init__(
        self,
        *,
        diffusion: Diffusion,
        representation: Raw,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        warmup_steps: int,
        decay_to: float,
        validation_levels: Sequence[float],
    ):
        super().__init__()
        self.diffusion, self.representation = diffusion, representation
        self.optimizer, self.warmup_steps, self.decay_to = optimizer, warmup_steps, decay_to
        self.validation_levels = list(validation_levels)
        self.seed = 0  # of the noise in training; the run sets it
        self.config = ""  # the resolved configuration as text: a checkpoint says what it is

    def training_step(self, batch: Batch, index: int) -> Tensor:
        # Noise depends on the seed and on the batch's place in the order of sounds, and on nothing that came before:
        # a run that was stopped draws the same, and so does each of several processes.
        torch.manual_seed(_mixed(self.seed, batch["position"]))
        loss = self.diffusion.loss(self.representation.encode(batch["audio"]))
        self.log("train_loss", loss, batch_size=len(batch["audio"]))
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        """Error of the clean estimate at fixed levels and with fixed noise, per level.

        Divided by sigma² / (1 + sigma²), the error of the best estimate that knows only the sounds' level: 1 means that
        nothing was learned, at every level and for every objective.
        """
        clean = self.representation.encode(batch["audio"])
        noise = torch.stack([_noise_of(path, clean[0]) for path in batch["path"]])
        errors = []
        for level in self.validation_levels:
            sigma = torch.full((len(clean),), level, dtype=torch.float64)
            error = (self.diffusion.denoise(clean + level * noise, sigma) - clean).square().mean()
            errors.append(error * (1 + level**2) / level**2)
            self.log(f"valid_loss_sigma_{level:g}", errors[-1], batch_size=len(clean), sync_dist=True)
        self.log("valid_loss", torch.stack(errors).mean(), batch_size=len(clean), sync_dist=True)

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self._parameter_groups())
        for group in optimizer.param_groups:
            group["lr"] *= group.pop("factor")
            if "fused" in group:
                group["fused"] = True  # one pass over the weights instead of ten
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._learning_rate_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _parameter_groups(self) -> Any:
        """What is trained: new parameters, and loaded ones at a learning rate of their own; nothing that is frozen."""
        names, factor = (self.loaded.names, self.loaded.lr_factor) if self.loaded else (frozenset(), 1.0)
        groups: dict[float, list[nn.Parameter]] = {1.0: [], factor: []}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                groups[factor if name in names else 1.0].append(parameter)
        return [{"params": group, "factor": each} for each, group in groups.items() if group]

    def _learning_rate_factor(self, step: int) -> float:
        """Linear warm-up, then a straight line down to `decay_to` at the end (constant in a run without an end)."""
        warmup = min(1.0, (step + 1) / (self.warmup_steps + 1))
        return warmup * (1 - (1 - self.decay_to) * self._share_done(step))

    def _share_done(self, step: int) -> float:
        """How much of the run is over, by trainer.max_steps or trainer.max_time, whichever ends it first."""
        limit = self.trainer.max_steps or 0
        by_steps = step / limit if limit > 0 else 0.0
        timer = next((some for some in self.trainer.callbacks if isinstance(some, Timer)), None)  # type: ignore[attr-defined]
        remaining = timer.time_remaining() if timer else None
        if timer is None or remaining is None:
            return min(1.0, by_steps)
        by_clock = timer.time_elapsed() / (timer.time_elapsed() + remaining)
        # clocks differ between processes, and weights must not
        return float(self.trainer.strategy.broadcast(min(1.0, max(by_steps, by_clock))))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self.config


def _mixed(*numbers: int) -> int:
    """One seed from several numbers, far from that of any others."""
    return int(numpy.random.SeedSequence(numbers).generate_state(1, numpy.uint64)[0] >> numpy.uint64(1))


def _noise_of(path: str, like: Tensor) -> Tensor:
    """The same noise for the same file name in every run."""
    generator = torch.Generator().manual_seed(zlib.crc32(Path(path).name.encode()))
    return torch.randn(like.shape, generator=generator).to(like)
