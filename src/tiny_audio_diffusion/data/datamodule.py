"""From a set of sounds to training and validation batches; a resumed run goes on with the next sound."""

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from tiny_audio_diffusion.data.folder import Batch, Sound
from tiny_audio_diffusion.data.order import Plan

MOST_WORKERS = 4

logger = logging.getLogger(__name__)


class SoundSet(Protocol):
    """What can be trained on: a folder of files, or shards."""

    classes: list[str]

    @property
    def in_memory(self) -> bool:
        """Whether a batch costs nothing but copying."""

    def training(self, plan: Plan) -> IterableDataset[Batch]:
        """The endless batches of one process."""

    def validation(self, plan: Plan, count: int) -> Dataset[Sound] | Sequence[Sound]:
        """At most `count` of the sounds that training never meets."""

    def counts(self, plan: Plan) -> tuple[int, int]:
        """How many sounds there are to train on, and to validate with."""

    def training_audio(self, plan: Plan, count: int) -> Tensor:
        """The first sounds that training meets [at most count, channels, length]."""

    def write_report(self, path: str | os.PathLike[str]) -> None:
        """Write what was found as CSV."""


class DataModule(pl.LightningDataModule):
    """Endless training batches and a fixed validation set."""

    def __init__(
        self,
        dataset: SoundSet,
        *,
        batch_size: int,
        seed: int,
        num_workers: int | str,
        balance: bool,
        on_error: str,
        validation_fraction: float,
        validation_count: int,
        pin_memory: bool | str = "auto",
    ) -> None:
        super().__init__()
        if validation_count < 1:
            raise ValueError("validation_count must be at least 1")
        if num_workers == "auto":
            num_workers = 0 if dataset.in_memory else min(os.cpu_count() or 1, MOST_WORKERS)
        if not isinstance(num_workers, int) or num_workers < 0:
            raise ValueError(f'num_workers must be "auto" or a number from 0 on, not {num_workers!r}')
        self.dataset = dataset
        self.plan = Plan(
            batch_size=batch_size,
            seed=seed,
            balance=balance,
            on_error=on_error,
            validation_fraction=validation_fraction,
        )
        self.num_workers = num_workers
        self.pin_memory = torch.cuda.is_available() if pin_memory == "auto" else bool(pin_memory)
        self.validation = dataset.validation(self.plan, validation_count)
        self.start, self.first_step = 0, 0  # sounds that all processes had used when this run began, and its step then
        self.failed: Counter[str] = Counter()  # sounds that could no longer be read, and how often
        self._say(*dataset.counts(self.plan))

    def train_dataloader(self) -> DataLoader[Batch]:
        rank, world_size = self._place_among_processes()
        plan = replace(self.plan, rank=rank, world_size=world_size, start=self.start)
        return self._loader(self.dataset.training(plan), batch_size=None)

    def val_dataloader(self) -> DataLoader[Sound]:
        rank, world_size = self._place_among_processes()
        count = len(self.validation)  # type: ignore[arg-type] # no dataset of torch promises a length
        # Every process gets as many sounds as the others: one batch fewer on one of them would leave the rest waiting.
        share = max(count // world_size, 1)
        own = [(rank + world_size * turn) % count for turn in range(share)]
        return self._loader(torch.utils.data.Subset(self.validation, own), batch_size=self.plan.batch_size)  # type: ignore[arg-type]

    def training_audio(self, count: int) -> Tensor:
        """The first sounds that training meets, as one tensor [at most count, channels, length]."""
        return self.dataset.training_audio(self.plan, count)

    def on_before_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        if self.trainer and self.trainer.training:
            for message in batch["failed"]:
                if message not in self.failed:
                    logger.warning("left out: %s", message)
                self.failed[message] += 1
        return batch

    @property
    def drawn(self) -> int:
        """Training sounds that all processes together have used up to the last whole optimizer step."""
        if not self.trainer:
            return self.start
        batches = (self.trainer.global_step - self.first_step) * self.trainer.accumulate_grad_batches
        return self.start + batches * self.plan.batch_size * self.trainer.world_size

    def state_dict(self) -> dict[str, int]:
        return {"drawn": self.drawn, "step": self.trainer.global_step if self.trainer else self.first_step}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.start, self.first_step = state_dict["drawn"], state_dict["step"]

    def teardown(self, stage: str) -> None:
        if self.failed:
            logger.warning(
                "%d sounds could no longer be read, %d draws left out", len(self.failed), self.failed.total()
            )
            self.failed.clear()

    def _loader(self, sounds: Any, *, batch_size: int | None) -> DataLoader[Any]:
        return DataLoader(
            sounds,
            batch_size=batch_size,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=self.pin_memory,
            # a stream of its own: opening a loader must not move the noise of training
            generator=torch.Generator().manual_seed(self.plan.seed),
        )

    def _place_among_processes(self) -> tuple[int, int]:
        """This process's rank and the number of processes."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _say(self, training: int, validation: int) -> None:
        used = len(self.validation)  # type: ignore[arg-type]
        logger.info("%d sounds to train on, %d of %d others to validate", training, used, validation)
        if validation > training:
            logger.warning(
                "WARNING: more sounds to validate than to train on: names decide, and many files here have the same name"
            )
