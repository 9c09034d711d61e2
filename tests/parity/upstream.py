"""Networks and files of audio-diffusion-pytorch and ema-pytorch, and the same networks as ours."""

from pathlib import Path
from typing import Any

import torch
from audio_diffusion_pytorch import DiffusionModel, UNetV0
from ema_pytorch import EMA
from torch import nn

from tiny_audio_diffusion.foreign import Foreign
from tiny_audio_diffusion.foreign.unet_names import rename
from tiny_audio_diffusion.network import UNet

SMALL: dict[str, Any] = {
    "in_channels": 2,
    "channels": [8, 16, 24],
    "factors": [1, 2, 2],
    "items": [1, 1, 2],
    "attentions": [0, 0, 1],
    "attention_heads": 8,
    "attention_features": 2,
    "modulation_features": 32,
}


def build_upstream(config: dict[str, Any]) -> nn.Module:
    """Their network of the same configuration; `config` holds arguments of our UNet."""
    config = dict(config)
    groups = config.pop("groups", 8)
    features = config.pop("sequence_features", 0)
    if features:
        config |= {"embedding_features": features, "cross_attentions": config["attentions"]}
    return UNetV0(**{"dim": 1, "resnet_groups": groups, **config})


def build_pair(config: dict[str, Any], *, seed: int = 0) -> tuple[nn.Module, UNet]:
    """Their network and ours with the same random weights."""
    torch.manual_seed(seed)
    theirs = build_upstream(config)
    ours = UNet(**config)
    ours.load_state_dict(rename(theirs.state_dict(), ours))
    return theirs, ours


class Upstream(nn.Module):
    """What their LightningModule holds."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        super().__init__()
        self.arguments = arguments
        self.model = DiffusionModel(net_t=UNetV0, **arguments)
        self.model_ema = EMA(self.model, beta=0.9, power=0.7, update_after_step=-1, update_every=1)

    def averaged(self) -> DiffusionModel:
        """The averaged weights in a network of their own: the EMA's copy computes with those of its original."""
        model = DiffusionModel(net_t=UNetV0, **self.arguments)
        model.load_state_dict(self.model_ema.ema_model.state_dict())
        return model

    def train_a_little(self) -> torch.optim.Optimizer:
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=3e-3)
        for _ in range(3):
            self.model(0.3 * torch.randn(2, 2, 32)).backward()
            optimizer.step()
            optimizer.zero_grad()
            self.model_ema.update()
        return optimizer


def trained(arguments: dict[str, Any]) -> tuple[Upstream, dict[str, Any]]:
    """Their module after a few steps, and the content of its checkpoint."""
    torch.manual_seed(0)
    module = Upstream(arguments)
    optimizer = module.train_a_little()
    content = {
        "epoch": 1,
        "global_step": 3,
        "pytorch-lightning_version": "1.7.7",
        "state_dict": module.state_dict(),
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.1), "best_model_path": "x.ckpt"}},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
    }
    return module, content


def save(content: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def write_config(path: Path, arguments: dict[str, Any]) -> Path:
    """Their config.yaml: an experiment file, in whose interpolations and targets we have no part."""
    lines = [f"    {name}: {value}" for name, value in arguments.items() if name != "in_channels"]
    path.write_text(
        "module: main.diffusion_module\nsampling_rate: 22050\nlength: 64\nchannels: 2\n"
        "model:\n  _target_: ${module}.Model\n  lr: 2e-4\n  lr_beta1: 0.9\n  lr_beta2: 0.99\n  lr_eps: 1e-7\n"
        "  lr_weight_decay: 1e-2\n  ema_beta: 0.99\n  ema_power: 0.6\n  model:\n    in_channels: ${channels}\n"
        "    net_t:\n      _target_: ${module}.UNetT\n" + "\n".join(lines) + "\n"
        "loggers:\n  wandb:\n    project: ${oc.env:A_VARIABLE_THAT_NOBODY_SET}\n    save_dir: ${logs_dir}\n"
    )
    return path


def network_of(foreign: Foreign) -> dict[str, Any]:
    return {name: value for name, value in foreign.config.network.items() if name in SMALL}
