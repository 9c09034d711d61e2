"""Where numbers, sounds and pictures go: always files in the run's folder; TensorBoard and W&B when they are there."""

import csv
import importlib.util
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only, rank_zero_warn

from tiny_audio_diffusion import plot
from tiny_audio_diffusion.command import say


def build(
    *,
    folder: str,
    name: str,
    tensorboard: bool | str,
    wandb: bool | str,
    project: str | None,
    entity: str | None,
    wandb_id: str | None,
) -> list[Logger]:
    """The loggers of a run; `auto` means: if it is installed and, for W&B, configured. One line says which are on.

    With `wandb_id` a run of W&B goes on.
    """
    loggers: list[Logger] = [MetricsFile(save_dir=folder, name="", version="")]
    lines = [f"metrics.csv in {folder}"]
    if _installed("tensorboard") if tensorboard == "auto" else tensorboard:
        loggers.append(Forgiving(TensorBoardLogger(save_dir=folder, name="", version="tensorboard")))
        lines.append("TensorBoard")
    state = _wandb_state() if wandb else "off (loggers.wandb=false)"
    if wandb is True and state.startswith("off ("):
        raise ValueError(f"loggers.wandb=true, but W&B is {state}")
    if not state.startswith("off ("):
        logger = _open_wandb(folder, name, project, entity, wandb_id)
        if logger is None:
            state = "off (it does not answer)"
        else:
            loggers.append(Forgiving(logger))
    say(f"loggers: {', '.join(lines)}; W&B {state}")
    return loggers


class MetricsFile(CSVLogger):
    """metrics.csv; a disk that takes no more costs some of its lines, aloud, and not the training."""

    told = False

    @rank_zero_only
    def go_on(self, before: Path, *, step: int) -> None:
        """Begin with the lines that another run wrote before `step`, where this one takes over."""
        with before.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if int(row["step"]) < step]
        self.experiment.metrics += [{name: value for name, value in row.items() if value} for row in rows]
        self.save()

    @rank_zero_only
    def save(self) -> None:
        try:
            super().save()
        except OSError as error:
            if not self.told:
                rank_zero_warn(f"metrics.csv could not be written: {error}")
            self.told = True


class Forgiving(Logger):
    """A logger whose failures are told once and then ignored: they never stop training."""

    def __init__(self, inner: Any):
        super().__init__()
        self.inner, self.broken = inner, False

    @property
    def name(self) -> str | None:
        return self.inner.name

    @property
    def version(self) -> int | str | None:
        return self.inner.version

    @property
    def save_dir(self) -> str | None:
        return self.inner.save_dir

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.attempt(lambda: self.inner.log_metrics(metrics, step))

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **options: Any) -> None:
        self.attempt(lambda: self.inner.log_hyperparams(params))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.attempt(lambda: self.inner.finalize(status))

    def attempt(self, action: Callable[[], Any]) -> None:
        """Do it, or say once why it failed and leave this logger alone from then on."""
        if self.broken:
            return
        try:
            action()
        except Exception as error:  # noqa: BLE001 - whatever a logging service throws
            self.broken = True
            rank_zero_warn(f"{type(self.inner).__name__} failed and is now off: {type(error).__name__}: {error}")


@rank_zero_only
def log_sounds(loggers: Sequence[Logger], sounds: torch.Tensor, sampling_rate: int, *, step: int) -> None:
    """Sounds [N, C, L] and their spectrograms, to every logger that can take them."""
    for logger in loggers:
        if isinstance(logger, Forgiving):
            send: Callable[..., None] = _to_wandb if isinstance(logger.inner, WandbLogger) else _to_tensorboard
            logger.attempt(partial(send, logger.inner, sounds, sampling_rate, step))


def _to_wandb(logger: WandbLogger, sounds: torch.Tensor, sampling_rate: int, step: int) -> None:
    import wandb

    media: dict[str, Any] = {}
    for index, sound in enumerate(sounds):
        samples = sound.clamp(-1, 1).T.numpy()
        media[f"samples/sound_{index}"] = wandb.Audio(samples, sample_rate=sampling_rate, caption=f"step {step}")
        media[f"samples/spectrogram_{index}"] = wandb.Image(plot.mel_image(sound, sampling_rate))
    logger.experiment.log(media | {"trainer/global_step": step})


def _to_tensorboard(logger: TensorBoardLogger, sounds: torch.Tensor, sampling_rate: int, step: int) -> None:
    for index, sound in enumerate(sounds):
        mono = sound.mean(0).clamp(-1, 1)  # TensorBoard plays one channel
        logger.experiment.add_audio(f"samples/sound_{index}", mono, step, sample_rate=sampling_rate)
        image = plot.mel_image(sound, sampling_rate)
        logger.experiment.add_image(f"samples/spectrogram_{index}", image, step, dataformats="HWC")


def _open_wandb(
    folder: str, name: str, project: str | None, entity: str | None, wandb_id: str | None
) -> WandbLogger | None:
    """W&B's run, or a warning: a service that is down must not cost the training."""
    logger = WandbLogger(
        save_dir=folder, name=name, project=project, entity=entity, job_type="train", id=wandb_id, resume="allow"
    )
    try:
        _ = logger.experiment  # opens the run now, so that a wrong key shows before training
    except Exception as error:  # noqa: BLE001 - whatever a logging service throws
        rank_zero_warn(f"W&B is configured but does not answer; training goes on without it: {error}")
        return None
    return logger


def _wandb_state() -> str:
    """On or offline where W&B can log without asking a question, else off and why."""
    mode = os.environ.get("WANDB_MODE")
    if not _installed("wandb"):
        return "off (not installed)"
    if mode == "disabled":
        return "off (WANDB_MODE=disabled)"
    if mode in ("offline", "dryrun"):
        return "offline"
    import wandb

    if wandb.login(prompt=False, verify=False):
        return "on"
    return "off (no key: set WANDB_API_KEY in .env, run `wandb login`, or set WANDB_MODE=offline)"


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
