"""How the network computes in training, by trainer.memory and trainer.compile; what it computes stays the same."""

from typing import cast

import pytorch_lightning as pl
import torch

from tiny_audio_diffusion.device import compile_network
from tiny_audio_diffusion.module import Module

MEMORIES = ("normal", "low")


class Tuning(pl.Callback):
    """`memory` low keeps little for the way back and computes it once more there; `compile` translates the network."""

    def __init__(self, *, memory: str, compile: bool | str) -> None:
        if memory not in MEMORIES:
            raise ValueError(f"there is no trainer.memory={memory}: choose {' or '.join(MEMORIES)}")
        self.memory, self.compile = memory, compile

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        network = cast(Module, pl_module).diffusion.network
        network.recompute = self.memory == "low"
        if self.compile is not False:
            with torch.device(trainer.strategy.root_device):
                compile_network(network, self.compile, key="trainer.compile")
