"""How much memory a configuration takes in training: a rehearsal with tensors that are not there, and its account."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.optim import Optimizer

from tiny_audio_diffusion.memory.ledger import BACKWARD, FORWARD, Ledger
from tiny_audio_diffusion.memory.pretence import pretend
from tiny_audio_diffusion.memory.rehearsal import rehearse
from tiny_audio_diffusion.trainer import best_precision

KINDS = ("parameters", "gradients", "optimizer", "average", "activations", "temporaries")
HOST = "average on the host"
STEP, AVERAGING, VALIDATION, SAMPLING = "optimizer step", "averaging", "validation", "sampling"
SMALLEST_BLOCK = {"cpu": 1, "cuda": 512}  # bytes that an allocator hands out


@dataclass(frozen=True)
class Estimate:
    """Bytes of tensors on a device, when they are most."""

    device: str
    precision: str
    kinds: dict[str, int]  # what they hold then
    during: str  # and what is being done
    phases: dict[str, int]  # the highest of each phase

    @property
    def total(self) -> int:
        return sum(self.kinds.values())


def estimate(config: DictConfig, *, device: str) -> Estimate:
    """For a whole configuration of train.py; the device need not be there."""
    if device not in SMALLEST_BLOCK:
        raise ValueError(f"memory is estimated for cpu and cuda, not for {device}")
    precision = precision_on(config, device)
    ledger = Ledger(rounding=SMALLEST_BLOCK[device])
    with pretend(device), ledger:
        half = "bf16-mixed" if precision == "16-mixed" else precision  # as large, and without a loss scale to ask for
        rehearse(
            config, accelerator="cpu", precision=half, watching=[Observer(ledger, on_cuda=device == "cuda")], steps=1
        )
    return _read(ledger, device, precision)


def precision_on(config: DictConfig, device: str) -> str:
    """Lightning's name of the configured precision; auto is what the device here would choose."""
    configured = str(config.trainer.precision)
    if configured == "auto":
        there = device == "cpu" or torch.cuda.is_available()
        configured = best_precision(device) if there else "bf16-mixed"
    return {"32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed", "64": "64-true"}.get(configured, configured)


class Observer(pl.Callback):
    """Tells the ledger which phase begins, and what lives longer than a step."""

    def __init__(self, ledger: Ledger, *, on_cuda: bool) -> None:
        self.ledger, self.on_cuda = ledger, on_cuda
        self.shortened: list[tuple[dict[str, Any], list[nn.Parameter]]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.ledger.tag((*pl_module.parameters(), *pl_module.buffers()), "parameters")
        if self.on_cuda:  # optimizers take their foreach kernels there, but for tensors of known types alone
            for group in (group for optimizer in trainer.optimizers for group in optimizer.param_groups):
                if group.get("foreach", False) is None and not group.get("fused"):
                    group["foreach"] = True
        self._tag_averages(trainer)
        self._step(trainer, pl_module)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, index: int) -> None:
        self.ledger.begin(FORWARD)

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        self.ledger.begin(BACKWARD)

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        gradients = (parameter.grad for parameter in pl_module.parameters())
        self.ledger.tag((gradient for gradient in gradients if gradient is not None), "gradients")
        self.ledger.begin(STEP)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        self.shortened = [(group, group["params"]) for group in optimizer.param_groups]
        for group in optimizer.param_groups:  # one step has told what all parameters take: another only takes time
            group["params"] = group["params"][:1]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._tag_averages(trainer)
        self.ledger.begin(AVERAGING)
        for group, parameters in self.shortened:
            group["params"] = parameters
        self.shortened = []

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.ledger.begin(VALIDATION)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.ledger.begin(SAMPLING)

    def _step(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """A step of the optimizer to begin with: all batches find its moments there, and the gradients of a step."""
        self.ledger.begin(STEP)
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        for parameter in trained:
            parameter.grad = torch.empty_like(parameter)
        self.ledger.tag((parameter.grad for parameter in trained if parameter.grad is not None), "gradients")
        for optimizer in trainer.optimizers:
            optimizer.step()
            self.ledger.tag(_tensors(optimizer.state), "optimizer")

    def _tag_averages(self, trainer: pl.Trainer) -> None:
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, WeightAveraging) and callback._average_model is not None:
                kind = HOST if self.on_cuda and getattr(callback, "place", None) == "cpu" else "average"
                self.ledger.tag((*callback._average_model.parameters(), *callback._average_model.buffers()), kind)


def _tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor in dictionaries, lists and modules."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, nn.Module):
        yield from (*value.parameters(), *value.buffers())
    elif isinstance(value, dict):
        for each in value.values():
            yield from _tensors(each)
    elif isinstance(value, Iterable) and not isinstance(value, str):
        for each in value:
            yield from _tensors(each)


def _read(ledger: Ledger, device: str, precision: str) -> Estimate:
    highest = ledger.highest(without=[HOST])
    during, (_, clock) = max(highest.items(), key=lambda item: item[1])
    end = ledger.forward_end(clock)
    kinds = dict.fromkeys(KINDS, 0)
    for block in ledger.held(clock):
        saved = end is not None and block.birth <= end < block.death
        kind = block.kind or ("activations" if saved else "temporaries")
        if kind != HOST:
            kinds[kind] += block.size
    return Estimate(device, precision, kinds, during, {phase: size for phase, (size, _) in highest.items()})
