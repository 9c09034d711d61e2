"""A callback for the test of several processes: each writes down what it saw and what weights it ended with."""

import json
from pathlib import Path
from typing import Any

import pytorch_lightning as pl


class Probe(pl.Callback):
    def __init__(self, *, folder: str):
        self.folder, self.seen = Path(folder), []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.seen.append([Path(path).name for path in batch["path"]])

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        weights = sum(parameter.double().abs().sum().item() for parameter in pl_module.parameters())
        report = {"seen": self.seen, "weights": weights, "processes": trainer.world_size}
        (self.folder / f"rank_{trainer.global_rank}.json").write_text(json.dumps(report))
