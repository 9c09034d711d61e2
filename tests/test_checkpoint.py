"""Models are found by any name, read whatever they are, loaded in little memory; no code that they carry is run."""

import dataclasses
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import models
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from runs import tiny_config

from tiny_audio_diffusion import checkpoint, command, hub, settings, storage
from tiny_audio_diffusion.foreign.model import NETWORK, under_our_names
from tiny_audio_diffusion.training import build_module

UPSTREAM = ("tiny", "unet")  # written by packages that are there for tests alone


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of ours."""
    return models.write("ours", tmp_path_factory.mktemp("own"))


def written(kind: str, folder: Path) -> Path:
    if kind in UPSTREAM:
        pytest.importorskip("audio_diffusion_pytorch")
        pytest.importorskip("ema_pytorch")
    return models.write(kind, folder)


def changed(own: Path, path: Path, **changes: Any) -> Path:
    """The checkpoint with other content, written whole."""
    storage.write(checkpoint.read(own).content | changes, path)
    return path


def told(action: Callable[[], object], kind: type[Exception] = ValueError) -> str:
    """What an error says, if it is short."""
    with pytest.raises(kind) as error:
        action()
    assert 1 <= len(str(error.value).splitlines()) <= 15
    return str(error.value)


def run_of(logs: Path, name: str, own: Path, *, files: tuple[str, ...] = ("last.ckpt", "previous.ckpt")) -> Path:
    """A run's folder, whose files are the same checkpoint."""
    folder = logs / "runs" / "one_shots" / name / "checkpoints"
    folder.mkdir(parents=True)
    for file in files:
        (folder / file).write_bytes(own.read_bytes())
    return folder


# Found.


def test_the_newest_run(own: Path, tmp_path: Path) -> None:
    assert "no run under" in told(lambda: checkpoint.find("last", logs=tmp_path), FileNotFoundError)
    first, second = (run_of(tmp_path, name, own) for name in ("1", "2"))
    os.utime(second / "last.ckpt", (1e9, 1e9))
    os.utime(second / "previous.ckpt", (1e9, 1e9))
    assert checkpoint.find("last", logs=tmp_path) == first / "last.ckpt"
    os.utime(second / "last.ckpt", (4e9, 4e9))
    assert checkpoint.find("last", logs=tmp_path) == second / "last.ckpt"


def test_paths(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run_of(tmp_path, "1", own)
    monkeypatch.chdir(tmp_path)
    for name in (folder / "last.ckpt", folder, folder.parent, folder.relative_to(tmp_path)):
        assert checkpoint.find(str(name), logs="nowhere") == folder / "last.ckpt"
    (tmp_path / "mine" / "checkpoints").mkdir(parents=True)
    (tmp_path / "mine" / "checkpoints" / "kicks.ckpt").write_bytes(own.read_bytes())
    assert checkpoint.find("mine/checkpoints", logs="nowhere").name == "kicks.ckpt"
    exported = models.write("export", tmp_path / "export")
    (exported / "other.ckpt").write_bytes(own.read_bytes())
    assert checkpoint.find(str(exported), logs="nowhere") == exported / "model.safetensors"
    theirs = models.write("diffusers", tmp_path / "diffusers")
    inside = theirs / "unet" / "diffusion_pytorch_model.safetensors"
    assert checkpoint.find(str(theirs), logs="nowhere") == inside
    assert checkpoint.read(theirs).kind == checkpoint.read(inside).kind == "dance-diffusion-diffusers"
    assert "one file of weights" in told(lambda: checkpoint.find(str(tmp_path), logs="nowhere"), FileNotFoundError)


def test_models_of_the_hub(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def pull(name: str, *, folder: Path) -> Path:
        asked.append((name, folder))
        return own.parent

    monkeypatch.setattr(hub, "pull", pull)
    monkeypatch.chdir(tmp_path)
    for name in ("kicks", "someone/drums"):
        assert checkpoint.find(name, logs="nowhere", models=tmp_path) == own
    assert asked == [("kicks", tmp_path), ("someone/drums", tmp_path)]
    assert "no checkpoint" in told(lambda: checkpoint.find("some/no.ckpt", logs="nowhere"), FileNotFoundError)
    assert len(asked) == 2


@pytest.mark.parametrize("missing", [False, True], ids=["torn", "missing"])
def test_the_checkpoint_before_a_torn_one(
    missing: bool, own: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = run_of(tmp_path, "1", own)
    last, previous = folder / "last.ckpt", folder / "previous.ckpt"
    last.unlink()
    if not missing:
        last.write_bytes(own.read_bytes()[:5000])
    for name in ("last", str(folder.parent)):
        caplog.clear()
        assert checkpoint.find(name, logs=tmp_path) == previous
        (line,) = caplog.messages
        assert str(last) in line
        assert "taking previous.ckpt" in line
    previous.write_bytes(own.read_bytes()[:6000])
    message = told(lambda: checkpoint.find("last", logs=tmp_path))
    assert "last.ckpt: it is" in message
    assert "previous.ckpt: it is cut off" in message
    (folder / "best-step_3.ckpt").write_bytes(own.read_bytes())
    assert "best-step_3.ckpt is whole" in told(lambda: checkpoint.find("last", logs=tmp_path))


def test_a_damaged_file_that_was_named(own: Path, tmp_path: Path) -> None:
    folder = run_of(tmp_path, "1", own)
    last, data = folder / "last.ckpt", bytearray(own.read_bytes())
    data[data.index(b"diffusion.network")] ^= 1
    last.write_bytes(data)
    assert checkpoint.find(str(last), logs="nowhere") == last
    message = told(lambda: checkpoint.load_pipeline(last))
    assert message.startswith(f"{last}: ")
    assert message.endswith(f"\n{folder / 'previous.ckpt'} is whole: use it instead")
    (folder / "previous.ckpt").unlink()
    assert len(told(lambda: checkpoint.load_pipeline(last)).splitlines()) == 1


# Read.


def test_a_checkpoint_of_ours(own: Path) -> None:
    model = checkpoint.read(own)
    assert (model.kind, model.step, model.notes) == ("ours", 7, [])
    assert model.level == pytest.approx(0.3)
    assert model.current_model_state is not None
    assert model.config.network.channels == [8, 16]
    assert model.content["global_step"] == 7
    assert checkpoint.read_run(own).step == 7


@pytest.mark.parametrize("kind", models.KINDS)
def test_every_kind(kind: str, tmp_path: Path) -> None:
    path = written(kind, tmp_path / "model")
    model = checkpoint.read(path)
    assert model.kind == models.KINDS[kind]
    assert model.state_dict.keys() == checkpoint.build_pipeline(model).state_dict().keys()
    assert (model.current_model_state is None) == (kind in ("export", "half", "unet", "diffusers"))
    pipeline = checkpoint.load_pipeline(path)
    pipeline.steps = 2
    assert pipeline.generate(2, length=64).shape == (2, 2, 64)
    if kind != "ours":
        message = told(lambda: checkpoint.read_run(path))
        assert f"use init={path} instead of ckpt=" in message


def test_more_than_weights_is_read_on_demand(tmp_path: Path) -> None:
    pytest.importorskip("audio_diffusion_pytorch")
    path = models.write("tiny", tmp_path)
    content = torch.load(path, weights_only=True)
    torch.save(content | {"hyper_parameters": Fraction(1, 2)}, path)
    message = told(lambda: checkpoint.load_pipeline(path))
    assert "would run fractions.Fraction" in message
    assert "allow_pickle=true" in message
    assert checkpoint.load_pipeline(path, allow_pickle=True).sampling_rate == 22050


def test_weights_alone_cannot_be_resumed(own: Path, tmp_path: Path) -> None:
    content = checkpoint.read(own).content
    storage.write({name: content[name] for name in ("config", "state_dict")}, tmp_path / "slim.ckpt")
    assert checkpoint.load_pipeline(tmp_path / "slim.ckpt").channels == 2
    assert "use init=" in told(lambda: checkpoint.read_run(tmp_path / "slim.ckpt"))


def test_weights_have_to_be_exactly_those_of_the_network(own: Path, tmp_path: Path) -> None:
    weights = checkpoint.read(own).state_dict
    skip, level = "diffusion.network.levels.0.skip.weight", "representation.level"
    odd = {f"diffusion.network.extra.{index}": torch.ones(2) for index in range(20)}
    for number, (other, what) in enumerate(
        [
            ({name: value for name, value in weights.items() if name != skip}, f"1 missing:\n  {skip} [8, 16]"),
            (weights | odd, "20 unexpected, such as"),
            (weights | {skip: torch.ones(1, 16)}, f"{skip} is [1, 16], not [8, 16]"),
            ({name: value for name, value in weights.items() if name != level}, f"{level} []"),
            (weights | {skip: torch.ones(8, 16, dtype=torch.int64)}, "no plain numbers"),
            (weights | {skip: "weights"}, "something else"),
            ([1, 2], "something else"),
        ]
    ):
        path = changed(own, tmp_path / f"{number}.ckpt", state_dict=other)
        message = told(lambda path=path: checkpoint.load_pipeline(path))
        assert what in message
        assert str(path) in message


def test_weights_in_other_forms(own: Path) -> None:
    model = checkpoint.read(own)
    name = "diffusion.network.levels.0.skip.weight"
    wide = model.state_dict | {name: model.state_dict[name].double()}
    expected = checkpoint.build_pipeline(model).state_dict()
    made = checkpoint.build_pipeline(dataclasses.replace(model, state_dict=wide)).state_dict()
    assert all(torch.equal(value, made[name]) and value.dtype == made[name].dtype for name, value in expected.items())
    sparse = dataclasses.replace(model, state_dict=model.state_dict | {name: torch.ones(8, 16).to_sparse()})
    assert "no plain numbers" in told(lambda: checkpoint.build_pipeline(sparse))


def test_a_level_that_is_none(own: Path, tmp_path: Path) -> None:
    for value in (torch.tensor(0.0), torch.tensor(float("nan")), torch.ones(3)):
        weights = checkpoint.read(own).state_dict | {"representation.level": value}
        model = checkpoint.read(changed(own, tmp_path / "level.ckpt", state_dict=weights))
        assert "level of its sounds" in told(lambda model=model: model.level)


def with_config(own: Path, path: Path, **changes: Any) -> Path:
    """The checkpoint with other settings, by their dotted place."""
    config = checkpoint.read(own).config
    for place, value in changes.items():
        OmegaConf.update(config, place.replace("__", "."), value, merge=False, force_add=True)
    return changed(own, path, config=OmegaConf.to_yaml(config))


EVIL = {"_target_": "os.mkdir", "_args_": ["proof"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objective": EVIL}, r"code from elsewhere.*os\.mkdir"),
        ({"network__channels": [8, EVIL]}, r"code from elsewhere.*os\.mkdir"),
        ({"sampler___target_": "tiny_audio_diffusion.sampler.torch.load"}, "code from elsewhere"),
        ({"objective___target_": "tiny_audio_diffusion.command.os.mkdir"}, "code from elsewhere"),
        ({"network___target_": "tiny_audio_diffusion.storage.write"}, "code from elsewhere"),
        ({"network___target_": "tiny_audio_diffusion.network.unet.nn.Linear"}, "code from elsewhere"),
        ({"network___target_": "tiny_audio_diffusion.network.unet.fold"}, "code from elsewhere"),
        ({"network___target_": "tiny_audio_diffusion.network.FutureNet"}, "or of another version"),
        ({"network___partial_": True}, "_partial_"),
        ({"network": "unet"}, "what to build as network"),
        ({"ladder": None}, "lack ladder"),
        ({"length": EVIL}, "length must be a whole number"),
        ({"channels": 0}, "channels must be a whole number"),
        ({"threshold": "high"}, "threshold must be"),
        ({"experiment": "${oc.env:HOME}"}, "not resolved"),
        ({"network__widths": [1]}, "cannot be built: .*widths"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_settings_build_models_and_nothing_else(
    change: dict[str, Any], message: str, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = with_config(own, tmp_path / "evil.ckpt", **change)
    with pytest.raises(ValueError, match=message) as error:
        checkpoint.load_pipeline(path)
    assert str(path) in str(error.value)
    assert {file.name for file in tmp_path.iterdir()} == {"evil.ckpt"}


def test_settings_that_never_end(tmp_path: Path) -> None:
    laughs = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
    for text in (laughs, "[" * 100_000, "a" * 2_000_000, "a: [", "- 1", "text", ""):
        started = time.monotonic()
        told(lambda text=text: settings.parse(text, "a file"))
        assert time.monotonic() - started < 5


def test_settings_of_others_are_plain_values(tmp_path: Path) -> None:
    pytest.importorskip("audio_diffusion_pytorch")
    path = models.write("tiny", tmp_path)
    config = (tmp_path / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(config.replace("length: 64", f"length: {json.dumps(EVIL)}"))
    assert "length must be a whole number" in told(lambda: checkpoint.read(path))


# Loaded.

# Each of configs/network at small size.
NETWORKS: dict[str, dict[str, Any]] = {
    "slim": {"channels": [8, 16], "factors": [1, 4], "items": [1, 1], "attentions": [0, 1], "patch": 4},
    "published": {"channels": [8, 16], "factors": [1, 4], "items": [1, 1], "attentions": [0, 1]},
    "dance": {"channels": [8, 32, 32], "attentions": [0, 0, 1]},
}


@pytest.mark.parametrize("name", sorted(path.stem for path in (command.ROOT / "configs" / "network").glob("*.yaml")))
def test_a_network_that_took_no_memory_computes_the_same(name: str, own: Path) -> None:
    config = checkpoint.read(own).config
    network = OmegaConf.load(command.ROOT / "configs" / "network" / f"{name}.yaml")
    config.network = OmegaConf.merge(network, NETWORKS[name], {"in_channels": 2})
    expected = instantiate(config.network)
    state = models.lively(under_our_names(expected.state_dict()))
    expected.load_state_dict({key.removeprefix(NETWORK): value for key, value in state.items() if NETWORK in key})
    pipeline = checkpoint.build_pipeline(checkpoint.Model(own, "ours", config, state, None, None))
    assert not any(value.is_meta for value in (*pipeline.parameters(), *pipeline.buffers()))
    x, time = torch.randn(2, 2, 64), torch.tensor([0.2, 0.8])
    with torch.no_grad():
        assert torch.equal(pipeline.diffusion.network(x, time), expected(x, time))


@pytest.mark.parametrize("kind", ["ours", "export", "harmonai", "diffusers"])
def test_a_file_that_is_written_over_changes_no_model(kind: str, tmp_path: Path) -> None:
    file = checkpoint.find(str(models.write(kind, tmp_path / "model")), logs="nowhere")
    pipeline = checkpoint.load_pipeline(file)
    before = {name: value.clone() for name, value in pipeline.state_dict().items()}
    with file.open("rb+") as stream:
        stream.write(bytes(file.stat().st_size))
        stream.truncate(1)
    assert all(torch.equal(value, before[name]) for name, value in pipeline.state_dict().items())


def test_changes_of_the_command(own: Path) -> None:
    sampler = {"_target_": "tiny_audio_diffusion.sampler.Heun"}
    pipeline = checkpoint.load_pipeline(own, changes=OmegaConf.create({"sampler": sampler, "steps": 9}))
    assert (type(pipeline.sampler).__name__, pipeline.steps) == ("Heun", 9)
    assert checkpoint.load_pipeline(own).steps == 3


LOADING = """
import sys, time
from pathlib import Path
from tiny_audio_diffusion import checkpoint
checkpoint.load_pipeline(Path(sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()
started = time.monotonic()
pipeline = checkpoint.load_pipeline(Path(sys.argv[1]))
print(time.monotonic() - started, sum(value.nbytes for value in pipeline.state_dict().values()), flush=True)
sys.stdin.readline()
"""


def anonymous_bytes(process: "subprocess.Popen[str]") -> int:
    """Memory of its own that a process holds: pages of files that it only looks at are not among it."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to count memory")
def test_a_published_checkpoint_takes_the_memory_of_its_averaged_weights(own: Path, tmp_path: Path) -> None:
    config = tiny_config(tmp_path, tmp_path, experiment="drum_diffusion")
    config.network = OmegaConf.load(command.ROOT / "configs" / "network" / "published.yaml")
    config.network.in_channels, config.length = 2, 32768
    module = build_module(config)
    state = module.state_dict()
    moments = [{"exp_avg": value.clone(), "exp_avg_sq": value.square()} for value in module.parameters()]
    content = {"config": module.config, "global_step": 1, "optimizer_states": [{"state": dict(enumerate(moments))}]}
    path = tmp_path / "published.ckpt"
    online = {name: value + 1 for name, value in state.items()}
    torch.save(content | {"state_dict": state, "current_model_state": online}, path)
    assert path.stat().st_size > 500e6
    process = subprocess.Popen(
        [sys.executable, "-c", LOADING, str(path), str(own)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    before = peak = anonymous_bytes(process)
    process.stdin.write("go\n")
    process.stdin.flush()
    while not select.select([process.stdout], [], [], 0.002)[0]:
        peak = max(peak, anonymous_bytes(process))
    peak = max(peak, anonymous_bytes(process))
    seconds, weights = map(float, process.stdout.readline().split())
    process.communicate("end\n")
    path.unlink()
    assert weights == 4 * 31_574_724 + 4
    assert peak - before < 1.3 * weights
    assert seconds < 20  # one or two; a machine may be busy
