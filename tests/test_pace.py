"""The yardstick in training: a recorded curve, what it says about a run, and what it leaves in the run's files."""

import csv
import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from runs import QUIET, tiny_config, train, write_sounds

from tiny_audio_diffusion import command, pace
from tiny_audio_diffusion.callbacks import Yardstick
from tiny_audio_diffusion.pace import Curve, Pace

pytestmark = QUIET
CURVE = Curve([100, 1000, 10000], [0.9, 0.7, 0.5])


def test_a_curve_is_straight_over_the_logarithm() -> None:
    assert [CURVE.loss_after(sounds) for sounds in (100, 1000, 10000)] == [0.9, 0.7, 0.5]
    assert CURVE.loss_after(3162) == pytest.approx(0.6, abs=1e-4)
    assert CURVE.loss_after(99) is None
    assert CURVE.loss_after(10001) is None


def test_the_way_back_is_its_inverse() -> None:
    for sounds in (100, 250, 1000, 5000, 10000):
        loss = CURVE.loss_after(sounds)
        assert loss is not None
        assert CURVE.sounds_until(loss) == pytest.approx(sounds)
    assert CURVE.sounds_until(0.49) is None
    assert CURVE.sounds_until(0.95) == 100


@pytest.mark.parametrize(("sounds", "losses"), [([], []), ([1, 2], [0.5]), ([2, 1], [0.5, 0.4]), ([1, 1], [0.5, 0.4])])
def test_what_is_no_curve_is_refused(sounds: list[int], losses: list[float]) -> None:
    with pytest.raises(ValueError, match="these have to rise"):
        Curve(sounds, losses)


@pytest.mark.parametrize(
    ("sounds", "loss", "words"),
    [
        (50, 0.95, "too early"),
        (200, 0.95, "was lower after 100 sounds"),
        (5000, 0.95, "something may be wrong"),
        (1100, 0.7, "there after 1,000: on course"),
        (250, 0.7, "there after 1,000: ahead"),
        (8000, 0.7, "8.0 times slower"),
        (1000, 0.45, "lower than the recorded run of drums ever was"),
    ],
)
def test_a_verdict(sounds: int, loss: float, words: str) -> None:
    assert words in Pace("drums", {}, CURVE).verdict(sounds, loss)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def column(folder: Path, name: str) -> list[float]:
    return [float(row[name]) for row in rows(folder) if row.get(name)]


def record(folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What utils/record_pace.py does with a run."""
    utils = command.ROOT / "utils"
    monkeypatch.syspath_prepend(str(utils))
    monkeypatch.setattr("sys.argv", ["record_pace.py", str(folder), "--sounds", "ten sines", "--out", str(out)])
    spec = importlib.util.spec_from_file_location("record_pace", utils / "record_pace.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main()


def test_a_run_is_compared_with_a_recorded_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sounds = write_sounds(tmp_path / "sounds")
    caplog.set_level("INFO", "tiny_audio_diffusion")
    train(tiny_config(sounds, tmp_path / "first", "sample_count=0"))
    assert column(tmp_path / "first", "sounds_seen") == [2, 4, 6, 8]  # two at each of four steps
    assert "valid_loss_expected" not in rows(tmp_path / "first")[-1]
    assert "step 4: valid_loss" in caplog.text
    assert "recorded run" not in caplog.text
    out = tmp_path / "pace.json"
    record(tmp_path / "first", out, monkeypatch)
    content = json.loads(out.read_text())
    assert content["curve"]["sounds_seen"] == [4, 8]
    assert len(content["curve"]["valid_loss_sigma_0.01"]) == 2

    train(tiny_config(sounds, tmp_path / "second", "sample_count=0", f"callbacks.yardstick.recorded='{out}'"))
    expected = column(tmp_path / "second", "valid_loss_expected")
    assert expected == pytest.approx(column(tmp_path / "second", "valid_loss"), abs=1e-4)
    assert "the recorded run of test" in caplog.text
    assert "another" not in caplog.text

    caplog.clear()
    changed = [f"callbacks.yardstick.recorded='{out}'", "sample_count=0", "module.optimizer.lr=0.1"]
    train(tiny_config(sounds, tmp_path / "third", *changed))
    assert "recorded with another optimizer" in caplog.text
    caplog.clear()
    train(tiny_config(sounds, tmp_path / "fourth", *changed[:2], "representation=raw"))
    assert "no expected valid_loss: the recorded run had another representation" in caplog.text
    assert not column(tmp_path / "fourth", "valid_loss_expected")


def test_a_rise_is_told_once_it_lasts(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level("INFO", "tiny_audio_diffusion")
    yardstick = Yardstick(recorded=str(tmp_path / "missing.json"))

    def validate(loss: float) -> None:
        caplog.clear()
        trainer: Any = SimpleNamespace(
            sanity_checking=False, global_step=1, callback_metrics={"valid_loss": torch.tensor(loss)}
        )
        yardstick.on_validation_end(trainer, None)  # type: ignore[arg-type]

    for loss in (0.6, 0.5, 0.6, 0.6):
        validate(loss)
        assert "heart" not in caplog.text
    again = Yardstick(recorded=str(tmp_path / "missing.json"))
    again.load_state_dict(yardstick.state_dict())
    yardstick = again  # a run that goes on remembers
    validate(0.6)
    assert "by heart" in caplog.text
    validate(0.51)
    assert "heart" not in caplog.text


@pytest.mark.parametrize("file", sorted((command.ROOT / "exp" / "pace").glob("*.json")), ids=lambda file: file.stem)
def test_what_was_recorded_belongs_to_its_experiment(file: Path, tmp_path: Path) -> None:
    """An experiment that has changed since needs a new recording."""
    recorded = pace.read(file)
    assert recorded.experiment == file.stem
    from hydra import compose, initialize_config_dir

    command.prepare()
    places = ["run_folder=here", "logs_dir=here", f"experiment={file.stem}", f"datamodule.dataset.path={tmp_path}"]
    with initialize_config_dir(str(command.ROOT / "configs"), version_base="1.3"):
        config = compose("config", [f"exp={file.stem}", *places])
    settings = pace.settings_of(config)
    assert recorded.differences(settings, (*pace.MEANING, *pace.PACE)) == []
