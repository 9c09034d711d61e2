"""Go on from a checkpoint as if nothing had happened, or with what the user has changed since."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Timer
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

# What a run cannot change when it goes on: the weights, or the optimizer's, mean something else under another value.
FIXED = ("network", "objective", "representation", "channels", "sampling_rate", "freeze", "loaded_lr_factor")
# What is another for every run, and what follows from other keys.
OWN = (
    "ckpt",
    "init",
    "run_folder",
    "logs_dir",
    "data_dir",
    "experiment",
    "estimate",
    "limit",
    "pick",
    "module.diffusion",
    "module.representation",
    "callbacks.yardstick",
)


def check(path: Path, content: dict[str, Any], saved: DictConfig, config: DictConfig) -> list[str]:
    """What has changed since a checkpoint was written, a line each; ValueError where a run cannot go on from it."""
    different = [name for name in FIXED if saved.get(name) != config.get(name)]
    if different:
        raise ValueError(
            f"{path} was trained with another {', '.join(different)}; its experiment was {saved.get('experiment')}"
        )
    step, last = content["global_step"], config.trainer.max_steps
    if last is not None and 0 <= last <= step:
        raise ValueError(f"{path} is already at step {step}: set trainer.max_steps above it to go on")
    elapsed = content.get("callbacks", {}).get("Timer", {}).get("time_elapsed", {}).get("train", 0.0)
    limit = config.trainer.max_time
    if limit is not None and elapsed >= Timer(duration=limit).time_remaining():
        raise ValueError(f"{path} has trained for {elapsed / 60:.1f} minutes already: set trainer.max_time above it")
    now, folder = _flat(config), str(saved.run_folder)
    before = {
        name: value.replace(folder, str(config.run_folder)) if isinstance(value, str) else value
        for name, value in _flat(saved).items()
    }
    names = [name for name in now if not name.startswith(OWN) and before.get(name) != now[name]]
    return [f"{name} was {before.get(name)}, is {now[name]}" for name in names]


class Resume(pl.Callback):
    """Puts Lightning's counters where the last whole step left them, and what the user has set into the optimizer."""

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Count as after the last whole step: batches that were meant for the next one are drawn again."""
        step, batches = checkpoint["global_step"], checkpoint["global_step"] * trainer.accumulate_grad_batches
        loop = checkpoint["loops"]["fit_loop"]
        loop["epoch_loop.state_dict"]["_batches_that_stepped"] = step
        _set(loop["epoch_loop.batch_progress"], batches)
        loop["epoch_loop.batch_progress"]["is_last_batch"] = False
        _set(loop["epoch_loop.scheduler_progress"], step)
        steps = loop["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]
        _set(steps["step"], step)
        _set(steps["zero_grad"], step)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A checkpoint brings its learning rate and decays; those of the configuration replace them."""
        built: Any = pl_module.configure_optimizers()
        (optimizer,), (schedule,) = trainer.optimizers, [each.scheduler for each in trainer.lr_scheduler_configs]
        assert isinstance(schedule, LambdaLR)
        groups = built["optimizer"].param_groups
        schedule.base_lrs = [group["initial_lr"] for group in groups]
        for group, wanted, factor in zip(optimizer.param_groups, groups, schedule.lr_lambdas, strict=True):
            rate = wanted["initial_lr"] * factor(schedule.last_epoch)
            group |= {name: value for name, value in wanted.items() if name != "params"} | {"lr": rate}
        for parameter, state in optimizer.state.items():
            if isinstance(state.get("step"), Tensor):  # of an optimizer that was not fused it lies on the host
                state["step"] = state["step"].to(parameter.device)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, index: int) -> None:
        # Lightning counts one more for loggers where a run goes on at a validation.
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step


def _set(progress: dict[str, Any], count: int) -> None:
    """All of a loop's counters to one number."""
    for part in ("total", "current"):
        if part in progress:
            progress[part] = dict.fromkeys(progress[part], count)


def _flat(config: DictConfig) -> dict[str, Any]:
    """Every value by its dotted name."""
    flat: dict[str, Any] = {}

    def collect(node: Any, name: str) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                collect(value, f"{name}.{key}" if name else str(key))
        else:
            flat[name] = node

    collect(OmegaConf.to_container(config, resolve=True), "")
    return flat
