"""Dance Diffusion: our network computes what diffusers' UNet1DModel computes, from both layouts of its weights."""

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from omegaconf import OmegaConf
from torch import Tensor, nn

from tiny_audio_diffusion import checkpoint, command
from tiny_audio_diffusion.diffusion import Diffusion
from tiny_audio_diffusion.foreign import Foreign, read, recognise, to_diffusers, to_harmonai
from tiny_audio_diffusion.foreign.model import under_our_names
from tiny_audio_diffusion.network.dance import DanceUNet
from tiny_audio_diffusion.noise import SeededNoise
from tiny_audio_diffusion.objective import V
from tiny_audio_diffusion.schedule import Crash
from tiny_audio_diffusion.training import build_module

SMALL: dict[str, Any] = {"in_channels": 2, "channels": [8, 16, 32, 32, 32], "attentions": [0, 0, 0, 1, 1]}
LENGTH = 96
TOLERANCE = {"rtol": 0, "atol": 1e-4}

# Both layouts, as the published converter pairs them.
BLOCK = {
    "main.0": "conv_1",
    "main.1": "group_norm_1",
    "main.3": "conv_2",
    "main.4": "group_norm_2",
    "skip": "conv_skip",
}


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    """Their network at small size, with weights that leave nothing at its beginning."""
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    network = diffusers.UNet1DModel(
        sample_rate=16000,
        sample_size=LENGTH,
        extra_in_channels=16,
        time_embedding_dim=16,
        block_out_channels=(8, 16, 32, 32),
        down_block_types=("DownBlock1DNoSkip", "DownBlock1D", "DownBlock1D", "AttnDownBlock1D"),
        up_block_types=("AttnUpBlock1D", "UpBlock1D", "UpBlock1D", "UpBlock1DNoSkip"),
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return network.requires_grad_()


@pytest.fixture
def folder(theirs: nn.Module, tmp_path: Path) -> Path:
    """Their pipeline's folder."""
    theirs.save_pretrained(tmp_path / "unet")
    index = {"_class_name": "DanceDiffusionPipeline", "unet": ["diffusers", "UNet1DModel"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    return tmp_path


def as_harmonai(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The small network's weights in the older layout, where each level stands inside the one before."""
    state = dict(state)
    renamed = {"timestep_embed.weight": state.pop("time_proj.weight")[:, None]}
    levels = [(f"down_blocks.{depth}", f"up_blocks.{3 - depth}", 0) for depth in range(4)]
    levels.append(("mid_block", "mid_block", 3))
    for depth, (down, up, offset) in enumerate(levels):
        here = "net" if depth == 0 else "net.3" + ".main.7" * (depth - 1) + ".main"
        blocks = [(0, 1, 2), (4, 5, 6)] if depth == 0 else [(1, 3, 5), (8, 10, 12)]
        if depth:
            renamed[f"{here}.0.kernel"] = state.pop(f"{down}.down.kernel")
            renamed[f"{here}.14.kernel"] = state.pop(f"{up}.up.kernel")
        for way, first, positions in ((down, 0, blocks[0]), (up, offset, blocks[1])):
            for number, position in enumerate(positions, start=first):
                for own, other in BLOCK.items():
                    for leaf in ("weight", "bias"):
                        if f"{way}.resnets.{number}.{other}.{leaf}" in state:
                            value = state.pop(f"{way}.resnets.{number}.{other}.{leaf}")
                            renamed[f"{here}.{position}.{own}.{leaf}"] = value
                attention = f"{way}.attentions.{number}"
                for leaf in ("weight", "bias") if f"{attention}.query.weight" in state else ():
                    three = [state.pop(f"{attention}.{name}.{leaf}") for name in ("query", "key", "value")]
                    layers = {"norm": state.pop(f"{attention}.group_norm.{leaf}"), "qkv_proj": torch.cat(three)}
                    layers["out_proj"] = state.pop(f"{attention}.proj_attn.{leaf}")
                    for name, value in layers.items():
                        shaped = value[..., None] if value.ndim == 2 else value
                        renamed[f"{here}.{position + 1}.{name}.{leaf}"] = shaped
    assert not state
    return renamed


def harmonai_file(theirs: nn.Module, path: Path) -> Path:
    """A .ckpt whose averaged weights are theirs, and whose weights in training are others."""
    averaged = as_harmonai(theirs.state_dict())
    online = {name: value + (0 if name.endswith("kernel") else 0.01) for name, value in averaged.items()}
    state = {f"diffusion.{name}": value for name, value in online.items()}
    state |= {f"diffusion_ema.{name}": value for name, value in averaged.items()}
    torch.save({"global_step": 9, "state_dict": state, "callbacks": {}, "optimizer_states": []}, path)
    return path


def network_in(foreign: Foreign) -> DanceUNet:
    module = build_module(foreign.config)
    module.load_state_dict(foreign.state_dict)
    network = module.diffusion.network
    assert isinstance(network, DanceUNet)
    return network


def assert_same_network(ours: nn.Module, theirs: nn.Module) -> None:
    x, time = torch.randn(2, 2, LENGTH), torch.tensor([0.1, 0.9])
    with torch.no_grad():
        expected = theirs(x, time).sample
        assert expected.std() > 0.1
        torch.testing.assert_close(ours(x, time), expected, **TOLERANCE)


def assert_equal(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert actual[name].shape == value.shape, name
        assert torch.equal(actual[name], value), name


def published() -> dict[str, Any]:
    config = yaml.safe_load((command.ROOT / "configs" / "network" / "dance.yaml").read_text())
    return {name: value for name, value in config.items() if name != "_target_"} | {"in_channels": 2}


def test_published_size_in_both_layouts() -> None:
    with torch.device("meta"):
        network = DanceUNet(**published())
    assert sum(parameter.numel() for parameter in network.parameters()) == 221_389_322
    assert network.multiple == 8192
    state = under_our_names(network.state_dict())
    harmonai, diffusers = to_harmonai(state), to_diffusers(state)
    assert len(harmonai) == 2 * 932
    assert len(diffusers) == 1076
    assert {name.partition(".")[0] for name in harmonai} == {"diffusion", "diffusion_ema"}
    assert harmonai[f"diffusion.net.3{'.main.7' * 12}.main.13.qkv_proj.weight"].shape == (1536, 512, 1)
    assert diffusers["mid_block.attentions.5.query.weight"].shape == (512, 512)


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_folder_of_diffusers(theirs: nn.Module, folder: Path, suffix: str) -> None:
    written = folder / "unet" / "diffusion_pytorch_model.safetensors"
    if suffix == ".bin":
        written.unlink()
        torch.save(theirs.state_dict(), written.with_suffix(".bin"))
    assert recognise(folder) == "dance-diffusion-diffusers"
    foreign = read(folder)
    config = foreign.config
    assert (config.sampling_rate, config.length, config.channels) == (16000, LENGTH, 2)
    assert {name: config.network[name] for name in SMALL} == SMALL
    assert config.noise._target_ == config.ladder._target_ == "tiny_audio_diffusion.schedule.Crash"
    assert foreign.current_model_state is None
    assert_same_network(network_in(foreign), theirs)
    assert_equal(to_diffusers(foreign.state_dict), theirs.state_dict())


def test_checkpoint_of_harmonai(theirs: nn.Module, tmp_path: Path) -> None:
    path = harmonai_file(theirs, tmp_path / "maestro-uncond-150k.ckpt")
    assert recognise(path) == "dance-diffusion"
    foreign = read(path)
    assert foreign.step == 9
    assert (foreign.config.sampling_rate, foreign.config.length) == (16000, 65536)
    assert len(foreign.notes) == 1
    assert_same_network(network_in(foreign), theirs)
    written = torch.load(path, weights_only=True)["state_dict"]
    assert_equal(to_harmonai(foreign.state_dict, current=foreign.current_model_state), written)
    assert_equal(to_diffusers(foreign.state_dict), theirs.state_dict())  # from one layout to the other


def test_only_the_averaged_weights_without_kernels(theirs: nn.Module, tmp_path: Path) -> None:
    state = {f"diffusion_ema.{name}": value for name, value in as_harmonai(theirs.state_dict()).items()}
    path = tmp_path / "pruned.ckpt"
    torch.save({name: value for name, value in state.items() if not name.endswith("kernel")}, path)
    said = tmp_path / "said.yaml"
    said.write_text("sample_rate: 22050\nsample_size: 192\n")
    foreign = read(path, config_file=said)
    assert (foreign.config.sampling_rate, foreign.config.length) == (22050, 192)
    assert foreign.current_model_state is None
    assert_same_network(network_in(foreign), theirs)


def test_sounds(theirs: nn.Module, folder: Path, tmp_path: Path) -> None:
    foreign = read(folder)
    ours = tmp_path / "ours.ckpt"
    torch.save({"config": OmegaConf.to_yaml(foreign.config), "state_dict": foreign.state_dict}, ours)
    pipeline = checkpoint.load_pipeline(ours)
    pipeline.steps = 8
    # DDIM in their terms: x = cos(a) clean + sin(a) noise, over the angles of the crash schedule
    x = SeededNoise([3])(torch.empty(1, 2, LENGTH))
    sines = (torch.linspace(1, 0, 9, dtype=torch.float64) * math.pi / 2).sin() ** 2
    angles = torch.atan2(sines, (1 - sines**2).sqrt()).tolist()
    with torch.inference_mode():
        for now, after in pairwise(angles):
            velocity = theirs(x, torch.tensor([now * 2 / math.pi])).sample
            clean = math.cos(now) * x - math.sin(now) * velocity
            noise = math.sin(now) * x + math.cos(now) * velocity
            x = math.cos(after) * clean + math.sin(after) * noise
        torch.testing.assert_close(pipeline.generate(1, seed=3), x, **TOLERANCE)


def test_gradients(theirs: nn.Module, folder: Path) -> None:
    network = network_in(read(folder))
    x, time = torch.randn(2, 2, LENGTH), torch.tensor([0.1, 0.9])
    network(x, time).square().mean().backward()
    theirs.zero_grad()
    theirs(x, time).sample.square().mean().backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    for name, grad in gradients.items():
        assert grad is not None, name
    expected = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    actual = to_diffusers(under_our_names({name: grad for name, grad in gradients.items() if grad is not None}))
    for name, grad in expected.items():
        torch.testing.assert_close(actual[name], grad, rtol=1e-3, atol=1e-5)


def test_loss_of_a_new_network_falls() -> None:
    torch.manual_seed(0)
    diffusion = Diffusion(
        network=DanceUNet(in_channels=2, channels=[32, 32], attentions=[0, 1]), objective=V(), schedule=Crash()
    )
    optimizer = torch.optim.Adam(diffusion.parameters(), lr=3e-3)
    clean = torch.sin(torch.arange(LENGTH) / 3).expand(8, 2, -1)
    losses = []
    for _ in range(40):
        loss = diffusion.loss(clean)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_what_does_not_fit_is_told(theirs: nn.Module, tmp_path: Path) -> None:
    state = as_harmonai(theirs.state_dict())
    path = tmp_path / "odd.ckpt"
    torch.save({name: value for name, value in state.items() if not name.endswith("main.4.bias")}, path)
    with pytest.raises(ValueError, match=r"of \d+ tensors fit") as refusal:
        read(path)
    assert "net.0.main.4.bias [8]" in str(refusal.value)
    assert len(str(refusal.value).splitlines()) <= 15
    torch.save(state | {"net.3.main.0.kernel": torch.ones(8) / 8}, path)
    with pytest.raises(ValueError, match="another filter"):
        read(path)
    torch.save({f"diffusion.{name}": value for name, value in state.items()} | {"decoder.weight": torch.ones(1)}, path)
    with pytest.raises(ValueError, match=r"no part of a Dance Diffusion model: decoder\.weight"):
        read(path)


def test_other_time_features_are_refused(folder: Path) -> None:
    path = folder / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"flip_sin_to_cos": False}))
    with pytest.raises(ValueError, match="sines stand before cosines"):
        read(folder)


def test_what_cannot_be_exported() -> None:
    state = under_our_names(DanceUNet(**SMALL).state_dict()) | {"representation.level": torch.tensor(0.1)}
    with pytest.raises(ValueError, match="scaled sounds"):
        to_harmonai(state)
    with pytest.raises(ValueError, match="not the weights of a DanceUNet"):
        to_diffusers(under_our_names({"time.frequencies": torch.ones(8)}))


def test_lengths_and_arguments_are_checked() -> None:
    network = DanceUNet(**SMALL)
    assert network(torch.randn(1, 2, 48), torch.rand(1)).shape == (1, 2, 48)
    with pytest.raises(ValueError, match="use 48 or more"):
        network(torch.randn(1, 2, 32), torch.rand(1))
    with pytest.raises(ValueError, match="use 48 or 64"):
        network(torch.randn(1, 2, 50), torch.rand(1))
    with pytest.raises(ValueError, match="one for each level"):
        DanceUNet(in_channels=2, channels=[8, 8], attentions=[0])
    with pytest.raises(ValueError, match="level 1 attends"):
        DanceUNet(in_channels=2, channels=[8, 32], attentions=[0, 1])
    with pytest.raises(ValueError, match="outermost level does not attend"):
        DanceUNet(in_channels=2, channels=[32, 32], attentions=[1, 1])
    with pytest.raises(ValueError, match="channels is empty"):
        DanceUNet(in_channels=2, channels=[], attentions=[])
