"""Find checkpoints and make pipelines of them: tensors, plain types and the configuration as text."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from tiny_audio_diffusion.pipeline import Pipeline

# What a run cannot change when it goes on: the weights mean something else under another value.
FIXED = ("network", "objective", "representation", "channels", "sampling_rate")


def find(name: str, *, logs: str | Path) -> Path:
    """The file that `name` means: a file, a run's folder, or `last` for the newest run under `logs`."""
    if name == "last":
        found = sorted(Path(logs).glob("runs/*/*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
        if not found:
            raise FileNotFoundError(
                f"no run under {Path(logs).resolve()} has a checkpoint yet: "
                "train one (make quickstart), or give ckpt=<file>"
            )
        return found[-1].resolve()
    path = Path(name).expanduser().resolve()
    in_folder = path / "checkpoints" / "last.ckpt"
    if in_folder.is_file():
        return in_folder
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}; ckpt=last takes the newest run's")
    return path


def read(path: Path) -> tuple[DictConfig, dict[str, Any]]:
    """The configuration and the content of a checkpoint, without running any code that it may carry."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(f"{path} is no checkpoint of this project, or a damaged one") from error
    if not isinstance(content, dict) or "config" not in content:
        raise ValueError(f"{path} is no checkpoint of this project: it carries no configuration")
    return DictConfig(OmegaConf.create(content["config"])), content


def check_resume(path: Path, config: DictConfig) -> None:
    """Raises ValueError where a run cannot go on from a checkpoint as configured."""
    saved, content = read(path)
    different = [name for name in FIXED if saved.get(name) != config.get(name)]
    if different:
        raise ValueError(
            f"{path} was trained with another {', '.join(different)}; its experiment was {saved.get('experiment')}"
        )
    step, last = content["global_step"], config.trainer.max_steps
    if last is not None and 0 <= last <= step:
        raise ValueError(f"{path} is already at step {step}: set trainer.max_steps above it to go on")


def load_pipeline(path: Path, *, changes: DictConfig | None = None) -> Pipeline:
    """A pipeline with the averaged weights; `changes` replaces sampler, ladder, steps or threshold of the run."""
    config, content = read(path)
    for name, value in (changes or {}).items():
        config[name] = value
    parts = (config.module.diffusion, config.module.representation, config.sampler, config.ladder)
    strangers = {
        target for part in parts for target in _targets(part) if not target.startswith("tiny_audio_diffusion.")
    }
    if strangers:
        raise ValueError(f"{path} asks for code from elsewhere, which is not run: {', '.join(sorted(strangers))}")
    diffusion, representation, sampler, ladder = (instantiate(part) for part in parts)
    pipeline = Pipeline(
        diffusion=diffusion,
        representation=representation,
        sampler=sampler,
        ladder=ladder,
        steps=config.steps,
        sampling_rate=config.sampling_rate,
        channels=config.channels,
        length=config.length,
        threshold=config.threshold,
    )
    weights = content["state_dict"]
    pipeline.load_state_dict({name: weights[name] for name in pipeline.state_dict()})
    return pipeline.eval()


def _targets(node: Any) -> Iterator[str]:
    """Every `_target_` in a configuration."""
    if isinstance(node, DictConfig):
        if "_target_" in node:
            yield node._target_
        for value in node.values():
            yield from _targets(value)
