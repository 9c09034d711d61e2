"""Loggers: which are on, and that a broken one costs nothing."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger

from tiny_audio_diffusion import loggers


def build(folder: Path, **choices: Any) -> list[Any]:
    usual = {"name": "test", "tensorboard": "auto", "wandb": "auto", "project": "p", "entity": None, "wandb_id": None}
    return loggers.build(folder=str(folder), **usual | choices)


def test_files_are_always_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    (only,) = build(tmp_path)
    assert isinstance(only, loggers.MetricsFile)
    with pytest.raises(ValueError, match="not installed"):
        build(tmp_path, wandb=True)


@pytest.mark.parametrize(
    ("environment", "state"),
    [
        ({"WANDB_MODE": "disabled"}, r"off \(WANDB_MODE"),
        ({"WANDB_MODE": "offline"}, "offline"),
        ({"WANDB_MODE": "online", "NETRC": "nowhere", "WANDB_API_KEY": ""}, r"off \(no key"),
    ],
    ids=["disabled", "offline", "no key"],
)
def test_the_line_says_what_wandb_does(
    environment: dict[str, str],
    state: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(loggers, "_open_wandb", lambda *_: WandbLogger(save_dir=tmp_path, offline=True))
    caplog.set_level("INFO", logger="tiny_audio_diffusion")
    kinds = [type(getattr(logger, "inner", logger)) for logger in build(tmp_path)]
    assert caplog.text.count("W&B") == 1
    assert re.search(f"W&B {state}", caplog.text)
    assert kinds == [loggers.MetricsFile, TensorBoardLogger] + [WandbLogger] * (state == "offline")


def test_a_broken_logger_is_told_once_and_left_alone() -> None:
    class Broken:
        calls = 0
        name = version = save_dir = "broken"

        def log_metrics(self, metrics: dict[str, float], step: int | None) -> None:
            Broken.calls += 1
            raise RuntimeError("the service is down")

    logger = loggers.Forgiving(Broken())
    with pytest.warns(UserWarning, match="Broken failed and is now off: RuntimeError: the service is down"):
        logger.log_metrics({"loss": 1.0}, 1)
    logger.log_metrics({"loss": 1.0}, 2)
    loggers.log_sounds([logger], torch.zeros(1, 1, 100), 44100, step=2)
    assert Broken.calls == 1
