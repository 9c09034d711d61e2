"""utils/train_embedder.py and utils/check_metrics.py, as people call them."""

import subprocess
import sys
from pathlib import Path

import pytest

from tiny_audio_diffusion import command
from tiny_audio_diffusion.data.synthesis import synthesise
from tiny_audio_diffusion.embedder import Classifier


def call(script: str, *arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    path = command.ROOT / "utils" / script
    return subprocess.run([sys.executable, str(path), *map(str, arguments)], cwd=folder, capture_output=True, text=True)


@pytest.fixture(scope="module")
def drums(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drums") / "it's [mine]"
    synthesise(folder, count=90, seed=0)
    return folder


def test_a_classifier_is_trained_and_the_metrics_are_checked_with_it(drums: Path, tmp_path: Path):
    trained = call("train_embedder.py", drums, "--out", "new/x.safetensors", "--steps", "2", folder=tmp_path)
    assert trained.returncode == 0, trained.stderr
    classifier = Classifier(path=tmp_path / "new" / "x.safetensors")
    assert classifier.classes == ["clap", "hihat", "kick", "snare", "tom", "none of these"]
    for name, share in classifier.accuracy.items():
        assert any(
            line.startswith(f"| {name} | ") and f"| {share:.0%} |" in line for line in trained.stdout.splitlines()
        )

    checked = call("check_metrics.py", drums, "--classifier", classifier.path, folder=tmp_path)
    assert checked.returncode == 0, checked.stderr
    rows = {tuple(line.split(" | ")[:2]): line for line in checked.stdout.splitlines() if line.startswith("| ")}
    assert rows["| log_mel", "kernel"].endswith(", holds |")
    assert rows["| log_mel", "Fréchet"].endswith("| holds, holds |")
    assert len(rows) == 1 + 2 * 9
    assert "10 of 10 planted ones are found" in checked.stdout
    assert "0 of 22 others are flagged" in checked.stdout
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["new", "x.safetensors"]


def test_a_mistake_ends_in_one_line(drums: Path, tmp_path: Path):
    ended = call("train_embedder.py", drums / "kick", "--out", "x.safetensors", folder=tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("error: ")
    assert ended.stderr.endswith("holds 0 folders of sounds: two classes or more are needed\n")
