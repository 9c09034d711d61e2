"""How far a run is, and what it left behind."""

import sys
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ProgressBar, Timer
from tqdm import tqdm


class Progress(ProgressBar):
    """One line: steps, loss, best validation, sounds per second and the time that remains."""

    def __init__(self, *, seconds_between_lines: float = 10.0) -> None:
        super().__init__()
        self.bar: tqdm | None = None
        self.seconds_between_lines = seconds_between_lines

    def disable(self) -> None:
        self._is_enabled = False

    def enable(self) -> None:
        self._is_enabled = True

    @property
    def is_enabled(self) -> bool:
        return getattr(self, "_is_enabled", True)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started, self.first_step = time.monotonic(), trainer.global_step
        total = trainer.max_steps if trainer.max_steps and trainer.max_steps > 0 else None
        interval = 0.2 if sys.stderr.isatty() else self.seconds_between_lines
        self.bar = tqdm(
            total=total,
            initial=trainer.global_step,
            desc="train",
            unit="step",
            mininterval=interval,
            disable=not self.is_enabled,
            dynamic_ncols=True,
        )

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.bar is None or self.bar.disable or trainer.global_step == self.bar.n:
            return
        if time.monotonic() - self.bar.last_print_t >= self.bar.mininterval or trainer.global_step == self.bar.total:
            seconds = max(1e-9, time.monotonic() - self.started)
            sounds = (trainer.global_step - self.first_step) * sounds_per_step(trainer, batch)
            loss = outputs["loss"].item() * trainer.accumulate_grad_batches  # Lightning divides it
            figures = {"loss": f"{loss:.4f}", "sounds/s": f"{sounds / seconds:.1f}"}
            callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
            remaining = [some.time_remaining() for some in callbacks if isinstance(some, Timer)]
            if remaining and remaining[0] is not None:
                figures["at most"] = tqdm.format_interval(remaining[0])  # by trainer.max_time
            if "valid_loss" in trainer.callback_metrics:
                figures["valid"] = f"{trainer.callback_metrics['valid_loss'].item():.4f}"
            self.bar.set_postfix(figures, refresh=False)
        self.bar.update(trainer.global_step - self.bar.n)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._close()

    def print(self, *args: Any, **options: Any) -> None:
        tqdm.write(" ".join(str(arg) for arg in args), file=sys.stderr)

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class Summary(pl.Callback):
    """The last lines of a run: what was done and where it lies."""

    def __init__(self, *, folder: str) -> None:
        self.folder = Path(folder).resolve()
        self.best = float("inf")
        self.sounds = 0
        self.started = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.sounds += len(batch["path"]) * trainer.world_size

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking and "valid_loss" in trainer.callback_metrics:
            self.best = min(self.best, trainer.callback_metrics["valid_loss"].item())

    def report(self, trainer: pl.Trainer) -> str:
        """The summary, once training is over and the last checkpoint is written."""
        checkpoint = trainer.checkpoint_callback
        minutes = (time.monotonic() - self.started) / 60
        best = f"{self.best:.4f}" if self.best < float("inf") else "none yet"
        lines = [
            f"{trainer.global_step} steps in {minutes:.1f} minutes, {self.sounds} sounds seen",
            f"best validation loss {best}, peak memory {peak_memory()}",
            f"run         {self.folder}",
        ]
        sheets = sorted(self.folder.glob("samples/*/sheet.png"))
        if sheets:
            lines.append(f"sounds      {sheets[-1].parent}")
        for name, path in (("best", "best_model_path"), ("last", "last_model_path")):
            file = getattr(checkpoint, path, "")
            if file and Path(file).exists():
                lines.append(f"{name:<11} {Path(file).resolve()}")
        if trainer.interrupted or getattr(checkpoint, "stopped_by", None):
            lines.insert(0, f"stopped at step {trainer.global_step}; ckpt=last goes on from there")
        return "\n".join(lines)


def sounds_per_step(trainer: pl.Trainer, batch: Any) -> int:
    """Sounds that one optimizer step sees, over all processes."""
    return len(batch["path"]) * trainer.accumulate_grad_batches * trainer.world_size


def peak_memory() -> str:
    """Of the GPU's tensors where there is a GPU in use, else of the process."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated() > 0:
        return f"{torch.cuda.max_memory_allocated() / 2**30:.2f} GiB on the GPU"
    try:
        import resource
    except ImportError:  # Windows has no such count
        return "unknown"
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30:.2f} GiB"
