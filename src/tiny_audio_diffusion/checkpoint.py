"""Find checkpoints and make pipelines of them: tensors, plain types and the configuration as text, no code."""

from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from tiny_audio_diffusion.pipeline import Pipeline


def find(name: str, *, logs: str | Path) -> Path:
    """The file that `name` means: a path, or `last` for the newest run's last checkpoint under `logs`."""
    if name == "last":
        found = sorted(Path(logs).glob("runs/*/*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
        if not found:
            raise FileNotFoundError(
                f"no run under {Path(logs).resolve()} has a checkpoint yet: "
                "train one (make quickstart), or give ckpt=<file>"
            )
        return found[-1].resolve()
    path = Path(name).expanduser().resolve()
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}; ckpt=last takes the newest run's")
    return path


def read(path: Path) -> tuple[DictConfig, dict[str, Any]]:
    """The configuration and the content of a checkpoint, without running any code that it may carry."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    if "config" not in content:
        raise ValueError(f"{path} is no checkpoint of this project: it carries no configuration")
    return DictConfig(OmegaConf.create(content["config"])), content


def load_pipeline(path: Path, *, changes: DictConfig | None = None) -> Pipeline:
    """A pipeline with the averaged weights; `changes` replaces sampler, ladder, steps or threshold of the run."""
    config, content = read(path)
    for name, value in (changes or {}).items():
        config[name] = value
    diffusion, representation = instantiate(config.module.diffusion), instantiate(config.module.representation)
    pipeline = Pipeline(
        diffusion=diffusion,
        representation=representation,
        sampler=instantiate(config.sampler),
        ladder=instantiate(config.ladder),
        steps=config.steps,
        sampling_rate=config.sampling_rate,
        channels=config.channels,
        length=config.length,
        threshold=config.threshold,
    )
    weights = content["state_dict"]
    pipeline.load_state_dict({name: weights[name] for name in pipeline.state_dict()})
    return pipeline.eval()
