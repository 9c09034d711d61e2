"""The Lightning Trainer, with `gpus` as people know it and a precision that fits the device."""

import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from tiny_audio_diffusion import storage
from tiny_audio_diffusion.callbacks.tuning import Tuning

logger = logging.getLogger(__name__)


class Storage(TorchCheckpointIO):
    """Lightning's way to disk: what takes the name of a checkpoint is complete and lies on the disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """A disk that takes no more costs this checkpoint, aloud, and neither the training nor what was there."""
        try:
            storage.write(checkpoint, Path(path))
        except OSError as error:
            logger.warning(
                "WARNING: no checkpoint of step %s: %s; training goes on, and older checkpoints stay",
                checkpoint["global_step"],
                error,
            )


def build(
    *,
    gpus: int | None = None,
    precision: str | int = "auto",
    memory: str = "normal",
    compile: bool | str = False,
    **options: Any,
) -> pl.Trainer:
    """A Trainer; `gpus` 0 is the CPU, -1 all GPUs, null whatever there is. The other keys below are Lightning's own."""
    options["callbacks"] = [Tuning(memory=memory, compile=compile), *(options.get("callbacks") or [])]
    if gpus is not None:
        if options.get("devices", 1) != 1 or options.get("accelerator", "auto") != "auto":
            raise ValueError("give trainer.gpus, or trainer.accelerator and trainer.devices, not both")
        options |= _devices(gpus)
    _check_intervals(options)
    on_gpu = options.get("accelerator", "auto") in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    if precision == "auto":
        precision = best_precision("cuda" if on_gpu else "cpu")
    # Sounds are split over the processes by the datamodule's own sampler, which can go on where it stopped.
    return pl.Trainer(precision=precision, use_distributed_sampler=False, plugins=[Storage()], **options)  # type: ignore[arg-type]


def best_precision(device: str) -> str:
    """bf16 where the hardware computes in it, else fp16 with loss scaling on a GPU, else float32."""
    if device == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    return "bf16-mixed" if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "32-true"


def _check_intervals(options: dict[str, Any]) -> None:
    """Refuse counts below 1, and validate at least once in a short run: it is where the sounds come from."""
    accumulation, interval = options.get("accumulate_grad_batches", 1), options.get("val_check_interval")
    for name, count in (("accumulate_grad_batches", accumulation), ("val_log_every_n_steps", interval)):
        if count is not None and not count > 0:
            raise ValueError(f"{name} must be at least 1, not {count}")
    steps = options.get("max_steps") or -1
    if steps > 0 and isinstance(interval, int):
        options["val_check_interval"] = min(interval, steps * accumulation)


def _devices(gpus: int) -> dict[str, Any]:
    if not isinstance(gpus, int) or gpus < -1:
        raise ValueError(f"trainer.gpus={gpus}: choose 0 (CPU), a number of GPUs, or -1 (all of them)")
    if gpus == 0:
        return {"accelerator": "cpu", "devices": 1}
    if torch.backends.mps.is_available() and gpus in (1, -1):
        return {"accelerator": "mps", "devices": 1}
    found = torch.cuda.device_count()
    if found == 0:
        raise ValueError(f"trainer.gpus={gpus}, but PyTorch sees no GPU here: trainer.gpus=0 trains on the CPU")
    if gpus > found:
        raise ValueError(f"trainer.gpus={gpus}, but there are {found}: choose 0 to {found}, or -1 for all")
    return {"accelerator": "gpu", "devices": gpus}
