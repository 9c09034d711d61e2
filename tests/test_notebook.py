"""The notebook: nothing of anybody's run in it, and from a clean kernel it makes what generate.py makes."""

import ast
import base64
import io
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest
import soundfile
import torch
from hydra import compose, initialize_config_dir
from models import write_own
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell
from sounds import hit

from tiny_audio_diffusion import audio, command, notebook
from tiny_audio_diffusion.generation import generate

PATH = command.ROOT / "Inference.ipynb"
SETTINGS = "settings"  # the cell that a user fills in
STEPS, SEED = 2, 5
# What generate.py is told to make the sounds of each cell, beside count, seed and steps.
TASKS = {
    "sounds": ("task=generate", "count=8"),
    "relatives": ("task=vary", "count=3", "strength=0.5"),
    "journey": ("task=interpolate", "count=4"),
    "between": ("task=interpolate", "count=4", f"input={SEED}", f"second={SEED + 1}"),
    "repaired": ("task=inpaint", "count=2", "keep=0-0.1", "repeats=3"),
    "longer": ("task=extend", "count=1", "spans=1", "overlap=0.1", "repeats=3"),
}


@dataclass
class Run:
    """What an execution of the notebook has left."""

    model: Path
    inputs: dict[str, Path]
    kit: Path
    tensors: dict[str, torch.Tensor]
    cells: list[Any]


def cells(kind: str) -> list[Any]:
    return [cell for cell in nbformat.read(PATH, as_version=4).cells if cell.cell_type == kind]


def execute(folder: Path, *, started_in: Path, **values: Any) -> list[Any]:
    """Run all cells in a new kernel with other settings; what they have made goes to tensors.pt."""
    book = nbformat.read(PATH, as_version=4)
    (settings,) = [cell for cell in book.cells if cell.id == SETTINGS]
    names = [target.id for line in ast.parse(settings.source).body for target in line.targets]
    assert set(values) <= set(names)
    settings.source += "".join(f"\n{name} = {value!r}" for name, value in values.items())
    made = ", ".join(f"{name!r}: {name}" for name in (*TASKS, "remixed"))
    book.cells.append(new_code_cell(f"torch.save({{{made}}}, {str(folder / 'tensors.pt')!r})"))
    NotebookClient(
        book, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(started_in)}}
    ).execute()
    return [cell for cell in book.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The notebook on two files of another rate, started deep inside the checkout."""
    folder = tmp_path_factory.mktemp("notebook")
    write_own(folder / "model" / "last.ckpt", "length=16384", "channels=1", "representation=raw")
    inputs = {"input": folder / "one.wav", "second": folder / "other.wav"}
    for number, path in enumerate(inputs.values()):
        soundfile.write(path, hit(5 * number, sampling_rate=22_050, seconds=0.2 + 0.1 * number), 22_050)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # as many as here: other numbers of threads round in another way
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.setenv("JUPYTER_RUNTIME_DIR", str(folder / "runtime"))
        done = execute(
            folder,
            started_in=PATH.parent / "docs" / "images",
            MODEL=str(folder / "model"),
            SEED=SEED,
            STEPS=STEPS,
            SOUND=str(inputs["input"]),
            SECOND=str(inputs["second"]),
            FOLDER=str(folder / "kit"),
        )
    return Run(folder / "model", inputs, folder / "kit", torch.load(folder / "tensors.pt"), done)


def at_the_shell(run: Run, out: Path, *overrides: str) -> Path:
    """What generate.py does, on the model and the files of the notebook unless told otherwise."""
    task = next(each for each in overrides if each.startswith("task="))
    wanted = {"task=generate": [], "task=interpolate": ["input", "second"]}.get(task, ["input"])
    files = [f"{name}='{run.inputs[name]}'" for name in wanted]
    common = [f"ckpt='{run.model}'", f"out='{out}'", f"seed={SEED}", f"steps={STEPS}", "device=cpu"]
    with initialize_config_dir(str(command.ROOT / "configs"), version_base="1.3"):
        return generate(compose("generate", [*common, *files, *overrides]))


def test_it_holds_nothing_of_a_run() -> None:
    content = json.loads(PATH.read_text(encoding="utf-8"))
    nbformat.validate(content)
    assert set(content["metadata"]) == {"kernelspec", "language_info"}
    assert content["metadata"]["kernelspec"]["name"] == "python3"  # every environment with ipykernel has it
    found = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert found
    assert [cell["id"] for cell in found if cell["outputs"] or cell["execution_count"] or cell["metadata"]] == []


def test_cells_are_short_and_explained() -> None:
    for cell in cells("code"):
        nodes = list(ast.walk(ast.parse(cell.source)))
        assert not [node for node in nodes if isinstance(node, ast.ClassDef | ast.FunctionDef)], cell.id
        assert len(cell.source.splitlines()) <= 15, cell.id
    explained = {cell.id.removeprefix("about-") for cell in cells("markdown")}
    assert {cell.id for cell in cells("code")} - explained == {"root"}  # explained together with the cell before it


def test_every_cell_runs_without_a_complaint(run: Run) -> None:
    assert [output.text for cell in run.cells for output in cell.outputs if output.get("name") == "stderr"] == []
    pages = [output.data.get("text/html", "") for cell in run.cells for output in cell.outputs if "data" in output]
    assert f"generate: {8 * STEPS} steps in" in " ".join(pages)  # a bar that has come to its end
    assert "<progress" not in " ".join(pages)


def test_there_is_a_player_for_each_sound_and_a_picture_for_each_task(run: Run) -> None:
    players = pictures = 0
    for output in (output for cell in run.cells for output in cell.outputs if "data" in output):
        players += output.data.get("text/html", "").count("<audio controls")
        pictures += "image/png" in output.data
    assert (players, pictures) == (8 + 4 + 4 + 4 + 3 + 1 + 1, 7)


def test_its_kit_is_that_of_the_shell_byte_for_byte(run: Run, tmp_path: Path) -> None:
    kit = at_the_shell(run, tmp_path / "kit", *TASKS["sounds"])
    names = [f"sound_{number:03d}.wav" for number in range(8)]
    assert {path.name for path in run.kit.iterdir()} == {*names, "sheet.png", "manifest.json"}
    assert [name for name in names if (run.kit / name).read_bytes() != (kit / name).read_bytes()] == []
    ours, theirs = (json.loads((folder / "manifest.json").read_text()) for folder in (run.kit, kit))
    assert ours["sounds"] == theirs["sounds"]
    assert ours["finished"]


@pytest.mark.parametrize("name", TASKS)
def test_its_sounds_are_those_of_the_shell_bit_for_bit(name: str, run: Run, tmp_path: Path) -> None:
    # a task of seeds comes last, and so outranks the files
    folder = at_the_shell(run, tmp_path / "kit", "bits=32", *TASKS[name])
    files = sorted(folder.glob("*.wav"))
    made = torch.stack([torch.from_numpy(soundfile.read(path, dtype="float32", always_2d=True)[0].T) for path in files])
    assert made.std() > 1e-3
    assert torch.equal(run.tensors[name], made)


def test_the_remix_has_the_length_of_what_it_remixes(run: Run) -> None:
    assert run.tensors["remixed"].shape == run.tensors["longer"].shape
    assert not torch.equal(run.tensors["remixed"], run.tensors["longer"])


def test_on_colab_it_fetches_and_installs_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = next(cell.source for cell in cells("code") if cell.id == "setup")
    assert "/content" in setup
    setup = setup.replace("/content", str(tmp_path))
    commands: list[list[str]] = []

    def recorded(arguments: list[str], *, check: bool) -> None:
        assert check
        commands.append(arguments)
        Path("tiny-audio-diffusion").mkdir(exist_ok=True)  # what the clone makes

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "run", recorded)
    exec(setup, {})
    assert commands == []  # on any other machine it does nothing
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    with pytest.raises(ValueError, match="REPOSITORY needs the address"):
        exec(setup, {})
    exec(setup.replace('REPOSITORY = ""', 'REPOSITORY = "https://example.org/it"'), {})
    assert [arguments[:2] for arguments in commands] == [["git", "clone"], [sys.executable, "-m"]]
    assert "https://example.org/it" in commands[0]
    assert Path.cwd() == tmp_path / "tiny-audio-diffusion"
    exec(setup, {})
    assert len(commands) == 2  # not again


def test_the_pair_that_it_installs_is_the_locked_one() -> None:
    lock = (PATH.parent / "utils" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    setup = next(cell.source for cell in cells("code") if cell.id == "setup")
    for name in ("torch", "torchaudio"):
        (pinned,) = [line.split()[0] for line in lock if line.startswith(f"{name}==")]
        assert f'"{pinned}"' in setup


def test_outside_the_project_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    root = next(cell.source for cell in cells("code") if cell.id == "root")
    with pytest.raises(FileNotFoundError, match="lies outside the project"):
        exec(root, {"Path": Path})


def test_a_level_is_heard_as_it_is_up_to_full_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    from IPython import display

    shown: list[Any] = []
    monkeypatch.setattr(display, "display", shown.append)
    notebook.listen(torch.tensor([[[0.0, 0.25, -0.25]], [[0.0, 1.5, -0.25]]]), 8000, ["<quiet>", "loud"])
    page = shown[0].data
    assert "&lt;quiet&gt;</figcaption>" in page
    assert "loud (peak 1.50, limited)</figcaption>" in page
    heard = [soundfile.read(io.BytesIO(base64.b64decode(data))) for data in re.findall(r'base64,([^"]+)"', page)]
    assert [rate for _, rate in heard] == [8000, 8000]
    assert [samples.tolist() for samples, _ in heard] == [
        pytest.approx([0, 0.25, -0.25], abs=1e-4),
        pytest.approx([0, audio.CEILING, -0.25], abs=1e-4),
    ]


def test_a_file_is_brought_to_the_model_and_that_is_told(run: Run) -> None:
    (said,) = [output.text for cell in run.cells if cell.id == "sound" for output in cell.outputs]
    assert said.splitlines() == ["one.wav: 22050 Hz to 44100 Hz", "other.wav: 22050 Hz to 44100 Hz"]


def test_titles_have_to_be_as_many_as_sounds() -> None:
    with pytest.raises(ValueError, match="2 titles were given for 1 sounds"):
        notebook.listen(torch.zeros(1, 1, 8), 8000, ["one", "two"])


def test_without_ipython_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", None)
    with pytest.raises(ValueError, match="pip install ipykernel"):
        notebook.look(torch.zeros(1, 1, 8), 8000)
