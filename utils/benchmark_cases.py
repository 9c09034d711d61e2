"""What utils/benchmark.py compares: the original and our networks, each at some precision, as their users run them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from tiny_audio_diffusion import command
from tiny_audio_diffusion.device import compile_network
from tiny_audio_diffusion.diffusion import Diffusion
from tiny_audio_diffusion.memory import measure
from tiny_audio_diffusion.objective import V
from tiny_audio_diffusion.optimizer import AdamW8bit
from tiny_audio_diffusion.schedule import Angle

OPTIMIZER: dict[str, Any] = {"lr": 1e-4, "betas": (0.95, 0.999), "eps": 1e-6, "weight_decay": 1e-3}
EXPERIMENTS = {"published": "drum_diffusion", "one_shots": "one_shots", "quickstart": "quickstart"}


def half_of(device: str) -> torch.dtype:
    return torch.float16 if device == "cuda" else torch.bfloat16


@dataclass
class Case:
    """A model and how it runs; several cases may share one model."""

    name: str
    model: nn.Module
    network: Callable[..., Tensor]
    loss: Callable[[Tensor], Tensor]
    batch: int  # of training
    channels: int
    length: int
    half: torch.dtype | None = None
    low: bool = False  # memory: activations are computed once more on the way back
    bytewise: bool = False  # moments of the optimizer
    compiled: bool = False
    is_original: bool = False
    kept: dict[str, Any] = field(default_factory=dict)  # optimizer and average, while they are in use

    @property
    def label(self) -> str:
        half = "float32" if self.half is None else str(self.half).removeprefix("torch.")
        options = {"compiled": self.compiled, "memory=low": self.low, "AdamW8bit": self.bytewise}
        return ", ".join([self.name, half, *(name for name, given in options.items() if given)])

    @property
    def trains_only(self) -> bool:
        return self.low or self.bytewise

    def on(self, device: str, prepare: Callable[["Case"], Callable[[], object]]) -> Callable[[], object]:
        """What `prepare` makes of the model on the device; on CUDA one model is there at a time."""
        self.model.to(device)
        return prepare(self)

    def release(self, device: str) -> None:
        self.kept.clear()
        self.model.zero_grad(set_to_none=True)
        if device == "cuda":
            self.model.cpu()

    @torch.no_grad()
    def evaluate(self, x: Tensor, level: Tensor) -> Tensor:
        with torch.autocast(x.device.type, self.half, enabled=self.half is not None):
            return self.network(x, level)

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.model, Diffusion):
            self.model.network.recompute = self.low
        with torch.autocast(x.device.type, self.half or half_of(x.device.type), enabled=self.half is not None):
            return self.loss(x)

    def backward(self, x: Tensor) -> None:
        self.forward(x).backward()

    def finish(self, device: str) -> Callable[[], None]:
        """What ends an optimizer step: weights and average; the optimizer and the average are kept until `release`."""
        parameters = list(self.model.parameters())
        if self.is_original:
            from ema_pytorch import EMA

            optimizer, average = torch.optim.AdamW(parameters, **OPTIMIZER), EMA(self.model, beta=0.995, power=0.7)
            self.kept = {"optimizer": optimizer, "average": list(average.ema_model.parameters())}
            return lambda: (optimizer.step(), average.update())[0]
        kind = AdamW8bit if self.bytewise else torch.optim.AdamW
        ours = kind(parameters, **OPTIMIZER) if self.bytewise else kind(parameters, **OPTIMIZER, fused=True)
        averaged = [parameter.detach().clone() for parameter in parameters]
        self.kept = {"optimizer": ours, "average": averaged}

        def finish() -> None:
            ours.step()
            with torch.no_grad():
                torch._foreach_lerp_(averaged, [parameter.detach() for parameter in parameters], 0.001)

        return finish

    def held(self, device: str) -> dict[str, int]:
        """Bytes of what stays from step to step."""
        states = self.kept["optimizer"].state.values()
        gradients = (parameter.grad for parameter in self.model.parameters() if parameter.grad is not None)
        moments = (value for state in states for value in state.values() if isinstance(value, Tensor))
        parts: dict[str, Iterable[Tensor]] = {
            "parameters": self.model.parameters(),
            "gradients": gradients,
            "optimizer": moments,
            "average": self.kept["average"],
        }
        return {name: measure.size(tensors) for name, tensors in parts.items()}

    def saved(self, x: Tensor) -> int:
        """Bytes of what the forward pass keeps for the backward pass, beside the parameters."""
        own = {parameter.untyped_storage().data_ptr() for parameter in self.model.parameters()}
        kept: dict[int, Tensor] = {}

        def pack(tensor: Tensor) -> Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = self.forward(x)
        size = measure.size(tensor for place, tensor in kept.items() if place not in own)
        del loss
        return size


def make_cases(device: str, *, compiled: bool, chosen: str) -> list[Case]:
    """The original, and those of ours whose name has `chosen` in it."""
    half = half_of(device)
    configs = {name: _config(experiment) for name, experiment in EXPERIMENTS.items()}
    base = _original(configs["published"])
    cases = [Case(**base), Case(**base, half=half)]
    for name, config in configs.items():
        base = _ours(name, config)
        cases += [Case(**base), Case(**base, half=half)]
        if name == "published":
            cases += [Case(**base, low=True), Case(**base, low=True, bytewise=True)]
            cases += [Case(**base, low=True, half=half)]
        if compiled:
            base = _ours(name, config)
            compile_network(base["network"], True, key="--compile")
            cases += [Case(**base, compiled=True)]
    return [case for case in cases if case.is_original or chosen in case.label]


def _config(experiment: str) -> DictConfig:
    command.prepare()
    with initialize_config_dir(str(command.ROOT / "configs"), version_base="1.3"):
        return compose("config", [f"exp={experiment}", f"run_folder={Path.cwd()}", "experiment=benchmark"])


def _shape(config: DictConfig) -> dict[str, int]:
    return {"batch": config.batch_size, "channels": config.channels, "length": config.length}


def _ours(name: str, config: DictConfig) -> dict[str, Any]:
    network = instantiate(config.network)
    model = Diffusion(network=network, objective=V(), schedule=Angle())
    return {"name": name, "model": model, "network": network, "loss": model.loss} | _shape(config)


def _original(config: DictConfig) -> dict[str, Any]:
    try:
        from audio_diffusion_pytorch import DiffusionModel, UNetV0, VDiffusion, VSampler
    except ImportError:
        raise SystemExit('nothing to compare with: pip install "audio-diffusion-pytorch==0.1.3"') from None
    network = OmegaConf.to_container(config.network, resolve=True)
    assert isinstance(network, dict)
    options = {key: value for key, value in network.items() if key not in ("_target_", "patch")}
    model = DiffusionModel(net_t=UNetV0, diffusion_t=VDiffusion, sampler_t=VSampler, **options)
    base = {"name": "the original", "model": model, "network": model.net, "loss": model, "is_original": True}
    return base | _shape(config)
