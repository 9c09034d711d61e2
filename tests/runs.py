"""Small runs for tests: synthesised sounds, a tiny network, a configuration composed as on the command line."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig

from tiny_audio_diffusion import audio, command, finetune, training

# Lightning 2.6 asks torch 2.11 for something that torch now calls deprecated
QUIET = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")

TINY = [
    "network.channels=[8,16]",
    "network.factors=[1,4]",
    "network.items=[1,1]",
    "network.attentions=[0,1]",
    "network.attention_heads=2",
    "network.attention_features=8",
    "network.modulation_features=16",
    "network.patch=4",
    "length=1024",
    "batch_size=2",
    "accumulate_grad_batches=1",
    "num_workers=0",
    "steps=3",
    "sample_count=2",
    "log_every_n_steps=1",
    "val_log_every_n_steps=2",
    "trainer.max_steps=4",
    "trainer.gpus=0",
    "trainer.precision=32",
    "datamodule.dataset.transforms.loudness=null",
    "datamodule.dataset.cache_folder=null",
]


def write_sounds(folder: Path, count: int = 10, *, seconds: float = 0.1) -> Path:
    """Decaying sines of rising pitch, 44.1 kHz mono."""
    folder.mkdir(parents=True, exist_ok=True)
    time = torch.arange(round(44100 * seconds)) / 44100
    for index in range(count):
        sound = 0.5 * torch.sin(2 * torch.pi * (80 + 40 * index) * time) * torch.exp(-30 * time)
        audio.write(folder / f"sound_{index:02d}.wav", sound[None], 44100)
    return folder


def train(config: DictConfig) -> pl.Trainer:
    """What train.py does with a configuration."""
    if config.init is not None:
        config = finetune.adopt(config)
    return training.train(config, instantiate(config.datamodule.dataset))


def tiny_config(sounds: Path, run_folder: Path, *overrides: str, experiment: str = "one_shots") -> DictConfig:
    """The configuration of an experiment at tiny size."""
    command.prepare()
    places = [
        f"datamodule.dataset.path='{sounds}'",
        f"run_folder='{run_folder}'",
        "experiment=test",
        f"logs_dir='{run_folder.parent}'",
        "loggers.tensorboard=false",
        "loggers.wandb=false",
    ]
    with initialize_config_dir(str(command.ROOT / "configs"), version_base="1.3"):
        return compose("config", [f"exp={experiment}", *TINY, *places, *overrides])
