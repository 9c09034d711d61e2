"""Files of tiny-audio-diffusion and audio-diffusion-pytorch, written by those packages, read and heard by ours."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file, save_model

pytest.importorskip("audio_diffusion_pytorch")
pytest.importorskip("ema_pytorch")

from audio_diffusion_pytorch import DiffusionModel
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from upstream import SMALL, Upstream, network_of, save, trained, write_config

from tiny_audio_diffusion import audio, checkpoint, command
from tiny_audio_diffusion.foreign import Foreign, read, recognise
from tiny_audio_diffusion.generation import generate
from tiny_audio_diffusion.noise import SeededNoise
from tiny_audio_diffusion.pipeline import Pipeline
from tiny_audio_diffusion.training import build_module

UNUSUAL = SMALL | {"channels": [12, 20, 28], "attention_heads": 3, "attention_features": 5, "resnet_groups": 4}
PUBLISHED = {
    "in_channels": 2,
    "channels": [32, 32, 64, 64, 128, 128, 256, 256],
    "factors": [1, 2, 2, 2, 2, 2, 2, 2],
    "items": [2, 2, 2, 2, 2, 2, 4, 4],
    "attentions": [0, 0, 0, 0, 0, 1, 1, 1],
    "attention_heads": 8,
    "attention_features": 64,
}


@pytest.fixture(scope="module")
def small() -> tuple[Upstream, dict[str, Any]]:
    return trained(SMALL)


def pipeline_of(foreign: Foreign, folder: Path) -> Pipeline:
    """The model as one of our checkpoints, loaded as generate.py loads it."""
    path = save({"config": OmegaConf.to_yaml(foreign.config), "state_dict": foreign.state_dict}, folder / "ours.ckpt")
    return checkpoint.load_pipeline(path)


def assert_same_sounds(theirs: DiffusionModel, pipeline: Pipeline, *, steps: int = 4) -> None:
    noise = SeededNoise([7])(torch.empty(1, 2, 64))
    expected = theirs.sample(noise, num_steps=steps)
    pipeline.steps = steps
    with torch.inference_mode():
        sounds = pipeline.generate(1, seed=7, length=64)
    torch.testing.assert_close(sounds, expected, rtol=0, atol=1e-4)


def test_their_style_transfer(tmp_path: Path) -> None:
    command.prepare()
    theirs, content = trained(SMALL)
    path = save(content, tmp_path / "kicks.ckpt")
    write_config(tmp_path / "config.yaml", SMALL)
    sound = 0.3 * SeededNoise([3])(torch.empty(1, 2, 64))
    audio.write(tmp_path / "sound.wav", sound[0], 22050, subtype="FLOAT")
    asked = ["task=vary", "rule=tiny", "strength=0.3", "count=2", "seed=7", "steps=50", "device=cpu", "bits=32"]
    places = [f"ckpt='{path}'", f"input='{tmp_path / 'sound.wav'}'", f"out='{tmp_path / 'kit'}'"]
    with initialize_config_dir(str(command.ROOT / "configs"), version_base="1.3"):
        folder = generate(compose("generate", [*asked, *places]))
    for place in range(2):
        noise = SeededNoise([7 + place])(sound)
        expected = theirs.averaged().sample(sound + 0.3 * noise, num_steps=50)
        made, _ = audio.read(folder / f"sound_{place:03d}.wav")
        torch.testing.assert_close(made, expected[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("arguments", [SMALL, UNUSUAL], ids=["small", "unusual"])
def test_checkpoint_with_its_config(arguments: dict[str, Any], tmp_path: Path) -> None:
    theirs, content = trained(arguments)
    path = save(content, tmp_path / "kicks.ckpt")
    write_config(tmp_path / "config.yaml", arguments)
    foreign = read(path)
    assert (foreign.kind, foreign.step, foreign.notes) == ("tiny-audio-diffusion", 3, [])
    assert network_of(foreign) == {name: arguments[name] for name in SMALL}
    config = foreign.config
    assert (config.sampling_rate, config.length, config.channels) == (22050, 64, 2)
    optimizer = {"lr": 2e-4, "betas": [0.9, 0.99], "eps": 1e-7, "weight_decay": 1e-2}
    assert {name: config.module.optimizer[name] for name in optimizer} == optimizer
    assert (config.callbacks.average.beta, config.callbacks.average.power) == (0.99, 0.6)
    pipeline = pipeline_of(foreign, tmp_path)
    assert (pipeline.sampling_rate, pipeline.length, pipeline.steps) == (22050, 64, 50)
    assert_same_sounds(theirs.averaged(), pipeline, steps=50)
    with pytest.raises(AssertionError):  # the weights in training make others
        assert_same_sounds(theirs.model, pipeline)


def test_checkpoint_without_config(small: tuple[Upstream, dict[str, Any]], tmp_path: Path) -> None:
    theirs, content = small
    foreign = read(save(content, tmp_path / "kicks.ckpt"))
    assert network_of(foreign) == SMALL
    assert "8 attention heads" in foreign.notes[0]
    assert "44100 Hz and 32768 samples" in foreign.notes[1]
    assert_same_sounds(theirs.averaged(), pipeline_of(foreign, tmp_path))


def test_training_goes_on_from_the_weights_in_training(
    small: tuple[Upstream, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, content = small
    path = save(content, tmp_path / "kicks.ckpt")
    foreign = read(path, config_file=write_config(tmp_path / "other name.yaml", SMALL))
    module = build_module(foreign.config)
    assert foreign.current_model_state is not None
    module.load_state_dict(foreign.current_model_state)
    clean, noise, time = torch.randn(3, 2, 64), torch.randn(3, 2, 64), torch.tensor([0.03, 0.5, 0.97])
    with monkeypatch.context() as patch:
        patch.setattr(torch, "randn_like", lambda _: noise)
        patch.setattr(theirs.model.diffusion, "sigma_distribution", lambda num_samples, device: time)
        expected = theirs.model(clean)
    sigma = (time.double() * torch.pi / 2).tan()
    loss = module.diffusion.loss(module.representation.encode(clean), sigma=sigma, noise=noise)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-6)
    loss.backward()
    assert all(parameter.grad is not None for parameter in module.diffusion.parameters())


def test_counters_of_a_newer_ema(small: tuple[Upstream, dict[str, Any]], tmp_path: Path) -> None:
    state = dict(small[1]["state_dict"])
    state |= {"model_ema.step": torch.tensor(3), "model_ema.initted": torch.tensor(True)}
    foreign = read(save({"state_dict": state}, tmp_path / "new.ckpt"))
    assert foreign.kind == "tiny-audio-diffusion"
    assert foreign.step is None


def test_copies_have_to_be_equal(small: tuple[Upstream, dict[str, Any]], tmp_path: Path) -> None:
    state = dict(small[1]["state_dict"])
    for name in ("model.sampler.net.blocks.0.weights", "model_ema.ema_model.net.blocks.1.blocks.1.0.bias"):
        changed = state | {name: state[name] + 1}
        with pytest.raises(ValueError, match="differ"):
            read(save({"state_dict": changed}, tmp_path / "kicks.ckpt"))


@pytest.mark.parametrize(
    ("prefix", "suffix"),
    [("", ".pt"), ("net.", ".safetensors"), ("diffusion.net.", ".bin"), ("model.", ".ckpt"), ("model.net.", ".pth")],
)
def test_weights_alone(small: tuple[Upstream, dict[str, Any]], prefix: str, suffix: str, tmp_path: Path) -> None:
    theirs = small[0].model
    weights = {f"{prefix}{name}": value.clone() for name, value in theirs.net.state_dict().items()}
    path = tmp_path / f"weights{suffix}"
    save_file(weights, path) if suffix == ".safetensors" else torch.save(weights, path)
    assert recognise(path) == recognise(tmp_path) == "audio-diffusion-pytorch"
    foreign = read(tmp_path)
    assert foreign.current_model_state is None
    assert "one set of weights" in foreign.notes[0]
    assert_same_sounds(theirs, pipeline_of(foreign, tmp_path / "ours"))


def test_the_whole_diffusion_model(small: tuple[Upstream, dict[str, Any]], tmp_path: Path) -> None:
    theirs = small[0].model
    save_model(theirs, str(tmp_path / "deduplicated.safetensors"))  # leaves out copies, one of the time layers too
    for path in (save(theirs.state_dict(), tmp_path / "model.pt"), tmp_path / "deduplicated.safetensors"):
        assert_same_sounds(theirs, pipeline_of(read(path), tmp_path))
    ema = read(save(small[0].model_ema.state_dict(), tmp_path / "ema.pt"))
    assert ema.current_model_state is not None
    assert_same_sounds(small[0].averaged(), pipeline_of(ema, tmp_path))


def test_half_precision_and_files_of_old_torch(small: tuple[Upstream, dict[str, Any]], tmp_path: Path) -> None:
    theirs = small[0].model
    half = read(save({name: value.half() for name, value in theirs.net.state_dict().items()}, tmp_path / "half.pt"))
    assert {value.dtype for value in half.state_dict.values()} == {torch.float32}
    assert any("float32" in note for note in half.notes)
    old = tmp_path / "old.pt"
    torch.save(theirs.net.state_dict(), old, _use_new_zipfile_serialization=False)
    assert recognise(old) == "audio-diffusion-pytorch"
    assert_same_sounds(theirs, pipeline_of(read(old), tmp_path))


def test_the_published_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = Upstream(PUBLISHED)
    with torch.no_grad():
        theirs.model.net.blocks[0].weights += 1
    state = theirs.state_dict()
    assert len(state) == 5357
    foreign = read(save({"global_step": 5, "state_dict": state}, tmp_path / "kicks_v7.ckpt"))
    with initialize_config_dir(str(command.ROOT / "configs"), version_base="1.3"):
        ours = compose("config", ["exp=drum_diffusion", f"hydra.searchpath=['file://{command.ROOT}']"])
    for name in (
        "network",
        "objective",
        "representation",
        "noise",
        "ladder",
        "sampler",
    ):  # so exp=drum_diffusion takes it
        assert foreign.config[name] == ours[name]
    frequencies = "diffusion.network.time.frequencies"
    assert foreign.current_model_state is not None
    assert torch.equal(foreign.current_model_state[frequencies], foreign.state_dict[frequencies] + 1)
    module = build_module(foreign.config)
    module.load_state_dict(foreign.state_dict)
    x, time = torch.randn(1, 2, 1024), torch.tensor([0.5])
    with torch.no_grad():
        expected = theirs.averaged().net(x, time)
        torch.testing.assert_close(module.diffusion.network(x, time), expected, rtol=0, atol=1e-5)


def test_hydra_in_use_stays_as_it_is(small: tuple[Upstream, dict[str, Any]], tmp_path: Path) -> None:
    path = save(small[1], tmp_path / "kicks.ckpt")
    (tmp_path / "simple.yaml").write_text("a: 1\n")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        running = GlobalHydra.instance().hydra
        read(path)
        assert GlobalHydra.instance().hydra is running
        assert compose("simple") == {"a": 1}
    assert not GlobalHydra.instance().is_initialized()
