"""Numbers of how good the sounds are while the model learns: the distance of fresh ones to the validation sounds."""

from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor

from tiny_audio_diffusion import metrics
from tiny_audio_diffusion.callbacks.sampling import Sampling
from tiny_audio_diffusion.data.datamodule import DataModule
from tiny_audio_diffusion.embedder import Embedder
from tiny_audio_diffusion.evaluation.space import Features, Space
from tiny_audio_diffusion.metrics.frechet import frechet_distance
from tiny_audio_diffusion.module import Module
from tiny_audio_diffusion.sampler import Sampler
from tiny_audio_diffusion.schedule import Schedule


class Distance(Sampling):
    """Logs `kernel_distance` with its interval and `frechet_distance` at every so many validations.

    The first training sounds span the space, as in evaluate.py; the validation sounds are what is compared with.
    """

    what = "distance"

    def __init__(
        self,
        *,
        embedder: Embedder,
        every_validations: int,
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
        spanning: int = 256,
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
        if every_validations < 1:
            raise ValueError(f"every_validations must be at least 1, not {every_validations}")
        if count < 2:
            raise ValueError(f"a distance needs at least 2 sounds, not count={count}")
        self.embedder, self.every_validations, self.spanning = embedder, every_validations, spanning
        self.validations = 0  # so far, also before the run was stopped
        self.known: tuple[Space, Features] | None = None  # measured once: these sounds stay the same

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self.validations += 1
        if self.validations % self.every_validations == 0:
            super().on_validation_epoch_end(trainer, pl_module)

    def _sample(self, trainer: pl.Trainer, module: Module) -> None:
        if self.known is None:
            self.known = self._open(cast(DataModule, trainer.datamodule))  # type: ignore[attr-defined]
        space, reference = self.known
        made = space(self.sounds(trainer, module), self.sampling_rate)
        low, high = metrics.bootstrap_interval(reference.sounds, made.sounds)
        figures = {
            "kernel_distance": metrics.kernel_distance(reference.sounds, made.sounds),
            "kernel_distance_low": low,
            "kernel_distance_high": high,
            "frechet_distance": frechet_distance(reference.pooled, made.pooled),
        }
        for name, value in figures.items():
            module.log(name, value, rank_zero_only=True)

    def _open(self, data: DataModule) -> tuple[Space, Features]:
        """The space, and the validation sounds in it: all of them, whatever this process validates with."""
        with torch.inference_mode():
            space = Space(self.embedder, data.training_audio(self.spanning), self.sampling_rate)
            return space, space(_all(data.validation), self.sampling_rate)

    def state_dict(self) -> dict[str, Any]:
        return {"validations": self.validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.validations = state_dict["validations"]


def _all(sounds: Any) -> Tensor:
    """Every sound of a set as [N, C, L]."""
    return torch.stack([sounds[place]["audio"] for place in range(len(sounds))])
