"""Models of every kind are looked into, handed on as small folders and published; they sound the same afterwards."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import models
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from tiny_audio_diffusion import audio, checkpoint, command, export, hub

SECTIONS = ["file", "size", "kind", "experiment", "steps", "weights", "network", "objective", "noise", "representation"]
SECTIONS += ["sampling", "sampling rate", "length", "channels", "conditions"]
STEPS = {
    "tiny": "3",
    "harmonai": "9",
    "unet": "unknown",
    "diffusers": "unknown",
    "ours": "7",
    "export": "7",
    "half": "7",
}


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """utils/checkpoint.py."""
    path = command.ROOT / "utils" / "checkpoint.py"
    spec = importlib.util.spec_from_file_location("checkpoint_command", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def of_each_kind(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model of every kind."""
    pytest.importorskip("audio_diffusion_pytorch")
    pytest.importorskip("ema_pytorch")
    return {kind: models.write(kind, tmp_path_factory.mktemp(kind)) for kind in models.KINDS}


def run(tool: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    """The command, as typed."""
    monkeypatch.setattr(sys, "argv", [str(tool.__file__), *map(str, arguments)])
    tool.main()


def refused(tool: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> str:
    """The one line of an error; exit code 1."""
    with pytest.raises(SystemExit) as stop:
        run(tool, monkeypatch, *arguments)
    assert isinstance(stop.value.code, str)  # printed, and 1 for the shell
    (line,) = stop.value.code.splitlines()
    assert line.startswith("error: ")
    return line


def sounds_of(path: Path) -> Tensor:
    pipeline = checkpoint.load_pipeline(path)
    pipeline.steps = 3
    with torch.inference_mode():
        return pipeline.generate(2, seed=4, length=64)


def export_of(path: Path, folder: Path, *, half: bool = False, overwrite: bool = False) -> Path:
    model = checkpoint.read(path)
    weights = checkpoint.build_pipeline(model).state_dict()
    export.write(folder, weights, config=model.config, step=model.step, half=half, overwrite=overwrite)
    return folder


@pytest.mark.parametrize("kind", models.KINDS)
def test_every_kind_is_inspected_and_exported(
    kind: str,
    tool: ModuleType,
    of_each_kind: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = of_each_kind[kind]
    run(tool, monkeypatch, "inspect", path)
    told = {line[:15].strip(): line[16:] for line in capsys.readouterr().out.splitlines()}
    assert list(told)[: len(SECTIONS)] == SECTIONS
    assert told["kind"] == tool.KINDS[models.KINDS[kind]]
    sets = {"export": "averaged", "half": "averaged", "unet": "one set", "diffusers": "one set"}
    precision = "float16" if kind == "half" else "float32"
    assert told["weights"] == f"{sets.get(kind, 'averaged, and those in training')}; {precision}"
    parameters = sum(value.numel() for name, value in checkpoint.read(path).state_dict.items() if "network" in name)
    assert told["network"].endswith(f", {parameters:,} parameters")
    assert told["steps"].split()[0] == STEPS[kind]

    run(tool, monkeypatch, "export", path, tmp_path / "out")
    run(tool, monkeypatch, "export", path, tmp_path / "half", "--half")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"model.safetensors", "config.yaml"}
    expected = sounds_of(path)
    assert torch.equal(sounds_of(tmp_path / "out"), expected)
    torch.testing.assert_close(sounds_of(tmp_path / "half"), expected, rtol=0, atol=1e-3)
    run(tool, monkeypatch, "inspect", tmp_path / "out")
    assert f"kind            {tool.KINDS['export']}" in capsys.readouterr().out


def test_what_an_export_holds(of_each_kind: dict[str, Path], tmp_path: Path) -> None:
    path = of_each_kind["ours"]
    folder = export_of(path, tmp_path / "full")
    text = (folder / "config.yaml").read_text()
    for secret in (
        str(path.parent),
        "logs_dir",
        "run_folder",
        "datamodule",
        "trainer",
    ):  # of the machine it was made on
        assert secret in checkpoint.read(path).content["config"]
        assert secret not in text
    with safe_open(folder / "model.safetensors", framework="pt") as opened:
        about = opened.metadata()
        assert str(path.parent) not in json.dumps(about)
        assert (about["step"], about["precision"], about["format"]) == ("7", "float32", "pt")
        assert set(opened.keys()) == checkpoint.read(path).state_dict.keys()  # averaged weights, and no others
    half = export_of(path, tmp_path / "half", half=True)
    stored = checkpoint.read(half).state_dict
    kinds = {name: value.dtype for name, value in stored.items()}
    assert kinds["diffusion.network.levels.0.descent.0.residual.conv1.weight"] == torch.float16
    assert kinds["representation.level"] == kinds["diffusion.network.time.frequencies"] == torch.float32
    large = {name: value.numel() for name, value in stored.items() if value.ndim > 1}
    saved = (folder / "model.safetensors").stat().st_size - (half / "model.safetensors").stat().st_size
    assert saved == pytest.approx(2 * sum(large.values()), abs=300)
    assert {value.dtype for value in checkpoint.load_pipeline(half).state_dict().values()} == {torch.float32}
    assert len({file.stat().st_mode for file in folder.iterdir()}) == 1  # whoever may read one may read the other


def test_the_file_alone_is_enough(of_each_kind: dict[str, Path], tmp_path: Path) -> None:
    folder = export_of(of_each_kind["ours"], tmp_path / "full")
    settings = folder / "config.yaml"
    settings.write_text("# mine\r\n" + settings.read_text())
    expected = sounds_of(folder)
    settings.write_text(settings.read_text().replace("steps: 3", "steps: 4"))
    with pytest.raises(ValueError, match="is not what model"):
        checkpoint.read(folder)
    settings.unlink()
    assert torch.equal(sounds_of(folder / "model.safetensors"), expected)


def test_what_is_not_written_over(of_each_kind: dict[str, Path], tmp_path: Path) -> None:
    path, folder = of_each_kind["ours"], tmp_path / "out"
    export_of(path, folder)
    before = (folder / "model.safetensors").read_bytes()
    with pytest.raises(ValueError, match="already holds a model"):
        export_of(path, folder, half=True)
    assert (folder / "model.safetensors").read_bytes() == before
    export_of(path, folder, half=True, overwrite=True)
    assert len((folder / "model.safetensors").read_bytes()) < len(before)
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    (run_folder / "config.yaml").write_text("of a run")
    with pytest.raises(ValueError, match=r"a config\.yaml of something else"):
        export_of(path, run_folder, overwrite=True)
    assert (run_folder / "config.yaml").read_text() == "of a run"
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file"):
        export_of(path, tmp_path / "file")


@pytest.mark.parametrize("value", [1e5, float("nan")])
def test_what_float16_cannot_hold(value: float, of_each_kind: dict[str, Path], tmp_path: Path) -> None:
    model = checkpoint.read(of_each_kind["ours"])
    name = "diffusion.network.levels.0.upsample.weight"
    weights = model.state_dict | {name: torch.full_like(model.state_dict[name], value)}
    with pytest.raises(ValueError, match=f"{name} is too large"):
        export.write(tmp_path / "half", weights, config=model.config, step=None, half=True, overwrite=False)
    assert not (tmp_path / "half").exists()


def test_a_newer_format(of_each_kind: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = export_of(of_each_kind["ours"], tmp_path / "full")
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(
        data.replace(b'"tiny-audio-diffusion":"1"', b'"tiny-audio-diffusion":"2"')
    )
    with pytest.raises(ValueError, match="newer version"):
        checkpoint.read(folder)


def test_mistakes_are_one_line(
    tool: ModuleType, of_each_kind: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "text.ckpt"
    text.write_text("no model")
    assert "there is no checkpoint" in refused(tool, monkeypatch, "inspect", tmp_path / "nowhere")
    assert "text.ckpt" in refused(tool, monkeypatch, "inspect", text)
    assert "text.ckpt" in refused(tool, monkeypatch, "export", text, tmp_path / "out")
    taken = of_each_kind["export"]
    assert "already holds a model" in refused(tool, monkeypatch, "export", of_each_kind["ours"], taken)
    about = ["--licence", "mit", "--trained-on", "noise"]
    for name in ("kicks", "someone/drums@v1", "drums"):
        assert "give owner/name" in refused(tool, monkeypatch, "push", taken, name, *about)
    assert "at least 1" in refused(tool, monkeypatch, "push", taken, "a/b", *about, "--samples", "0")


class Pushed:
    """Stands in for hub.push, and keeps what lay in the folder."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def __call__(self, folder: Path, name: str, *, private: bool) -> str:
        files = [path for path in folder.rglob("*") if path.is_file()]
        self.files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
        return f"https://hub/{name}"


@pytest.mark.parametrize("kind", ["ours", "export", "tiny"])
def test_a_model_is_published_with_sounds_and_a_page(
    kind: str,
    tool: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = models.write(kind, tmp_path / "model")
    pushed = Pushed()
    monkeypatch.setattr(hub, "push", pushed)
    about = ["--licence", "cc-by-4.0", "--trained-on", "512 kicks of my own", "--samples", 2]
    run(tool, monkeypatch, "push", path, "someone/kicks", *about)
    assert "pushed to https://hub/someone/kicks" in capsys.readouterr().out
    assert pushed.files.keys() >= {*hub.NEEDED, "sheet.png", "samples/sound_000.wav", "samples/sound_001.wav"}
    page = pushed.files["README.md"].decode()
    for said in ("license: cc-by-4.0", "# kicks", "512 kicks of my own", "samples/sound_001.wav", "sheet.png"):
        assert said in page
    assert str(tmp_path) not in page
    (tmp_path / "sound.wav").write_bytes(pushed.files["samples/sound_000.wav"])
    model = checkpoint.read(path)
    assert audio.read(tmp_path / "sound.wav")[0].shape == (2, model.config.length)
    if kind == "export":
        (path / "README.md").write_text("my own words")
        run(tool, monkeypatch, "push", path, "someone/kicks", *about)
        assert pushed.files["README.md"] == b"my own words"
    else:
        assert {file.name for file in path.parent.iterdir()} <= {path.name, "config.yaml"}
