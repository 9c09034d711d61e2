"""Distances while a model learns: the numbers are right, the training is not touched, a failure is told."""

import csv
from pathlib import Path

import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from runs import QUIET, tiny_config, train, write_sounds

from tiny_audio_diffusion import checkpoint, metrics
from tiny_audio_diffusion.callbacks import Distance
from tiny_audio_diffusion.embedder import LogMel
from tiny_audio_diffusion.training import build_trainer

pytestmark = QUIET
ON = ["callbacks/evaluate=distance", "callbacks.evaluate.count=3", "module.decay_to=1.0", "sample_count=0"]
NAMES = ("kernel_distance", "kernel_distance_low", "kernel_distance_high", "frechet_distance")


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sounds(tmp_path_factory.mktemp("sounds"), 24)


@pytest.fixture(scope="module")
def finished(sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six steps with three validations, of which every second is measured."""
    folder = tmp_path_factory.mktemp("finished")
    train(tiny_config(sounds, folder, *ON, "callbacks.evaluate.every_validations=2", "trainer.max_steps=8"))
    return folder


def logged(run: Path, name: str) -> dict[int, float]:
    """A number of metrics.csv by its step."""
    with (run / "metrics.csv").open(newline="") as file:
        return {int(row["step"]): float(row[name]) for row in csv.DictReader(file) if row.get(name)}


def test_it_stands_before_the_average(sounds: Path, tmp_path: Path) -> None:
    names = [type(callback).__name__ for callback in build_trainer(tiny_config(sounds, tmp_path, *ON)).callbacks]
    average = next(name for name in names if name.endswith("Average"))
    assert names.index("Distance") < names.index(average)
    usual = [type(callback).__name__ for callback in build_trainer(tiny_config(sounds, tmp_path)).callbacks]
    assert "Distance" not in usual


def test_every_second_validation_is_measured(finished: Path) -> None:
    validations = sorted(logged(finished, "valid_loss"))
    assert len(validations) == 4
    for name in NAMES:
        assert sorted(logged(finished, name)) == validations[1::2]


def test_the_number_is_that_of_the_averaged_weights(sounds: Path, finished: Path) -> None:
    config = tiny_config(sounds, finished)
    pipeline = checkpoint.load_pipeline(finished / "checkpoints" / "last.ckpt")
    made = pipeline.generate(3, seed=0, batch_size=4)
    data = instantiate(config.datamodule)
    space = metrics.Standardise(metrics.log_mel(data.training_audio(256), 44100))
    held_out = torch.stack([data.validation[place]["audio"] for place in range(len(data.validation))])
    features = [space(metrics.log_mel(some, 44100)) for some in (held_out, made)]
    last = list(logged(finished, "kernel_distance").values())[-1]
    assert last == pytest.approx(metrics.kernel_distance(*features), abs=0.01)
    low, high = (list(logged(finished, name).values())[-1] for name in NAMES[1:3])
    assert low <= high


def test_training_is_the_same_without_it(sounds: Path, finished: Path, tmp_path: Path) -> None:
    off = ["module.decay_to=1.0", "sample_count=0", "trainer.max_steps=8"]
    train(tiny_config(sounds, tmp_path, *off))
    for name in ("train_loss", "valid_loss"):
        assert logged(tmp_path, name) == logged(finished, name)


def test_a_resumed_run_goes_on_counting(sounds: Path, finished: Path, tmp_path: Path) -> None:
    given = [*ON, "callbacks.evaluate.every_validations=2"]
    train(tiny_config(sounds, tmp_path / "first", *given, "trainer.max_steps=6"))
    rest = [f"ckpt='{tmp_path / 'first'}'", "trainer.max_steps=8"]
    train(tiny_config(sounds, tmp_path / "rest", *given, *rest))
    assert logged(tmp_path / "rest", "kernel_distance") == logged(finished, "kernel_distance")
    assert logged(tmp_path / "rest", "train_loss") == logged(finished, "train_loss")


def test_a_failure_is_told_and_costs_nothing(
    sounds: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: LogMel, audio: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no memory")

    monkeypatch.setattr(LogMel, "embed", fail)
    with pytest.warns(UserWarning, match="no distance at step 2: RuntimeError: no memory"):
        train(tiny_config(sounds, tmp_path, *ON, "trainer.max_steps=2"))
    assert logged(tmp_path, "kernel_distance") == {}
    assert logged(tmp_path, "train_loss")[0] == logged(finished, "train_loss")[0]


@pytest.mark.parametrize(
    ("override", "message"), [("count=1", "at least 2 sounds"), ("every_validations=0", "must be at least 1")]
)
def test_impossible_numbers_are_refused(override: str, message: str, sounds: Path, tmp_path: Path) -> None:
    config = tiny_config(sounds, tmp_path, *ON, f"callbacks.evaluate.{override}")
    with pytest.raises((ValueError, InstantiationException), match=message):
        instantiate(config.callbacks.evaluate)
    assert isinstance(instantiate(tiny_config(sounds, tmp_path, *ON).callbacks.evaluate), Distance)
