"""A run from its configuration: build, measure the level of the sounds, train, say what came out."""

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf

from tiny_audio_diffusion import checkpoint, finetune, resume
from tiny_audio_diffusion.callbacks import Checkpoint, Summary
from tiny_audio_diffusion.command import say
from tiny_audio_diffusion.data.datamodule import DataModule, SoundSet
from tiny_audio_diffusion.module import Module


def train(config: DictConfig, dataset: SoundSet) -> pl.Trainer:
    """Train as configured, or go on from `config.ckpt`; returns the trainer with everything that happened."""
    quieten_lightning()
    if config.init is None:
        finetune.adopt(config)  # refuses what is only about fine-tuning
    before = open_before(config) if config.ckpt else None
    pl.seed_everything(config.seed, workers=True, verbose=False)
    folder = Path(config.run_folder)
    folder.mkdir(parents=True, exist_ok=True)
    module = build_module(config)
    datamodule = build_datamodule(config, dataset)
    module.representation.measure(datamodule.training_audio(config.level_sounds))
    begun = finetune.initialise(module, config)
    trainer = build_trainer(config, before)
    if trainer.is_global_zero:
        OmegaConf.save(OmegaConf.create(module.config), folder / "config.yaml")
        dataset.write_report(folder / "data_report.csv")
    say(_opening(config, module, trainer))
    if begun and not before:
        say("\n  ".join(begun))
    if before:
        say("\n  ".join([f"going on from step {before.step} of {before.path}", *before.changes]))
    try:
        trainer.fit(module, datamodule=datamodule, ckpt_path=before.path if before else None, weights_only=True)
    finally:
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Summary) and callback.started:
                say(callback.report(trainer))
    saver = trainer.checkpoint_callback
    if isinstance(saver, Checkpoint) and saver.stopped_by:
        raise SystemExit(128 + saver.stopped_by)
    return trainer


@dataclass(frozen=True)
class Before:
    """The run that goes on."""

    path: Path
    step: int
    changes: list[str]  # of the configuration
    wandb_id: str | None


def open_before(config: DictConfig) -> Before:
    """The checkpoint that `config.ckpt` means, checked against the configuration."""
    path = checkpoint.find(config.ckpt, logs=config.logs_dir)
    model = checkpoint.read_run(path)
    changes = resume.check(path, model.content, model.config, config)
    return Before(path, model.content["global_step"], changes, model.content.get("wandb_id"))


def quieten_lightning() -> None:
    """Our own lines say what matters; these are Lightning's about itself."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated", category=FutureWarning)
    # the run's folder holds its configuration before the first line of metrics.csv
    warnings.filterwarnings("ignore", message="Experiment logs directory .* exists and is not empty")
    # prepared sounds lie in memory: workers would only copy them
    warnings.filterwarnings("ignore", message=".*does not have many workers")


def build_module(config: DictConfig) -> Module:
    """The LightningModule with the resolved configuration inside, as text."""
    module: Module = instantiate(config.module)
    module.diffusion.network.check_length(config.length)
    module.seed = config.seed
    module.config = OmegaConf.to_yaml(config, resolve=True)
    return module


def build_datamodule(config: DictConfig, dataset: SoundSet) -> DataModule:
    """The datamodule around a set of sounds that is open already."""
    settings = {name: value for name, value in config.datamodule.items() if name not in ("_target_", "dataset")}
    return get_class(config.datamodule._target_)(dataset, **settings)


def build_trainer(config: DictConfig, before: Before | None = None) -> pl.Trainer:
    """The Lightning Trainer with the configured callbacks and loggers, which go on where another run stopped."""
    callbacks = [instantiate(node) for node in config.callbacks.values() if node]
    loggers = instantiate(config.loggers, wandb_id=config.loggers.wandb_id or (before and before.wandb_id))
    if before:
        callbacks.append(resume.Resume())
        history = before.path.parent.parent / "metrics.csv"
        if history.is_file():
            loggers[0].go_on(history, step=before.step)
    for logger in loggers[1:]:  # the first writes into the run's folder, where config.yaml is already
        logger.log_hyperparams(OmegaConf.to_container(config, resolve=True))
    return instantiate(config.trainer, callbacks=callbacks, logger=loggers, default_root_dir=config.run_folder)


def _opening(config: DictConfig, module: Module, trainer: pl.Trainer) -> str:
    parameters = sum(parameter.numel() for parameter in module.diffusion.parameters())
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return (
        f"{parameters:,} parameters on {name}, {trainer.precision}, "
        f"{trainer.world_size} process{'es' if trainer.world_size > 1 else ''}; "
        f"level of the sounds {module.representation.level.item():.4f}\nrun folder {Path(config.run_folder).resolve()}"
    )
