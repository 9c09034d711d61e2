"""Every file in configs/ and exp/ builds what it names, and the surroundings (.env) may be incomplete."""

import inspect
import os
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from runs import QUIET, tiny_config

from tiny_audio_diffusion import command
from tiny_audio_diffusion.network import UNet
from tiny_audio_diffusion.training import build_module, build_trainer

pytestmark = QUIET
EXPERIMENTS = sorted(path.stem for path in (command.ROOT / "exp").glob("*.yaml"))
CHOICES = [
    path
    for group in ("network", "objective", "schedule", "sampler", "representation")
    for path in sorted((command.ROOT / "configs" / group).glob("*.yaml"))
]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_builds(experiment: str, tmp_path: Path) -> None:
    config = tiny_config(tmp_path, tmp_path / "run", experiment=experiment)
    module = build_module(config)
    names = [type(callback).__name__ for callback in build_trainer(config).callbacks]
    assert {"Samples", "FiniteGuard", "Summary", "Progress"} <= set(names)
    average = next(name for name in names if name.endswith("Average"))
    assert names.index("Samples") < names.index(average)  # or the sounds would come from the weights in training
    assert names[-1] == "Checkpoint"
    assert module.config == OmegaConf.to_yaml(config, resolve=True)


def test_there_are_experiments_and_choices() -> None:
    assert {"drum_diffusion", "one_shots", "quickstart"} <= set(EXPERIMENTS)
    assert len(CHOICES) >= 18


@pytest.mark.parametrize("path", CHOICES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_choice_builds(path: Path) -> None:
    part = instantiate(OmegaConf.merge({"channels": 2}, {"part": OmegaConf.load(path)}).part)
    if isinstance(part, UNet):
        length = 4 * part.multiple
        with torch.no_grad():
            assert part(torch.randn(1, 2, length), torch.rand(1)).shape == (1, 2, length)


def test_published_experiment_is_the_published_model(tmp_path: Path) -> None:
    command.prepare()
    with initialize_config_dir(str(command.ROOT / "configs"), version_base="1.3"):
        config = compose("config", ["exp=drum_diffusion", f"run_folder='{tmp_path}'", "experiment=test"])
    module = build_module(config)
    assert sum(parameter.numel() for parameter in module.diffusion.parameters()) == 31_574_724
    (group,) = module.optimizer(module.diffusion.parameters()).param_groups
    published = {"lr": 1e-4, "betas": (0.95, 0.999), "eps": 1e-6, "weight_decay": 1e-3}
    assert {name: group[name] for name in published} == published
    assert (config.batch_size, config.accumulate_grad_batches, config.length, config.steps) == (1, 32, 32768, 50)
    assert module.representation.level == 1.0


def test_lightnings_trainer_keys_can_be_set_without_a_plus(tmp_path: Path) -> None:
    ours = set(tiny_config(tmp_path, tmp_path).trainer) - {"_target_", "gpus", "memory", "compile"}
    assert ours <= set(inspect.signature(pl.Trainer.__init__).parameters)
    assert {"devices", "strategy", "accelerator", "max_time", "num_nodes", "limit_val_batches"} <= ours


@pytest.mark.parametrize(
    ("text", "logs"),
    [("", "/logs"), ("DIR_LOGS=\nWANDB_API_KEY=\n", "/logs"), ("DIR_LOGS=my runs/\n# half filled\nDIR_DA", "/my runs")],
    ids=["missing", "empty values", "half filled"],
)
def test_dotenv_is_optional(text: str, logs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DIR_LOGS", "DIR_DATA", "WANDB_API_KEY", "WANDB_MODE", "PROJECT_ROOT"):
        monkeypatch.setenv(name, "")  # so that all of them are put back afterwards
        monkeypatch.delenv(name)
    monkeypatch.setattr(command, "ROOT", tmp_path)
    if text:
        (tmp_path / ".env").write_text(text)
    command.prepare()
    assert os.environ["DIR_LOGS"] == logs
    assert os.environ["DIR_DATA"] == "/data"
    assert "WANDB_API_KEY" not in os.environ
