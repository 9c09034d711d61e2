"""Files that are not read: other networks, damaged or dangerous files, and what is said of them."""

import os
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("audio_diffusion_pytorch")
pytest.importorskip("ema_pytorch")

from audio_diffusion_pytorch import UNetV0
from upstream import SMALL, Upstream, network_of, save, trained, write_config

from tiny_audio_diffusion.foreign import explain_mismatch, read, recognise


@pytest.fixture(scope="module")
def small() -> tuple[Upstream, dict[str, Any]]:
    return trained(SMALL)


def old_unet() -> dict[str, Tensor]:
    return {
        "model.unet.to_time.0.0.weights": torch.ones(8),
        "model.unet.downsamples.0.downsample.weight": torch.ones(1),
    }


def test_the_older_network_is_refused(tmp_path: Path) -> None:
    path = save({"state_dict": old_unet()}, tmp_path / "old.ckpt")
    assert recognise(path) == "audio-diffusion-pytorch 0.0"
    with pytest.raises(ValueError, match="UNet1d") as refusal:
        read(path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "extra",
    [
        {"cross_attentions": [0, 0, 1], "embedding_features": 6},
        {"cross_attentions": [0, 0, 1], "embedding_features": 6, "use_embedding_cfg": True, "embedding_max_length": 4},
        {"context_channels": [0, 3, 0]},
        {"dim": 2},
    ],
    ids=["cross attention", "guidance", "latents", "pictures"],
)
def test_other_variants_are_refused_by_name(extra: dict[str, Any], tmp_path: Path) -> None:
    network = UNetV0(**({"dim": 1} | SMALL | extra))
    with pytest.raises(ValueError, match=r"holds a UNetV0, but it is (conditioned|made for pictures)"):
        read(save(network.state_dict(), tmp_path / "variant.pt"))


def test_parts_of_other_models_are_named(small: tuple[Upstream, dict[str, Any]], tmp_path: Path) -> None:
    state = small[0].model.state_dict() | {"encoder.to_in.weight": torch.ones(3)}
    with pytest.raises(ValueError, match=re.escape("1 tensors that are no part of it, such as encoder.to_in.weight")):
        read(save(state, tmp_path / "autoencoder.pt"))


def test_what_does_not_fit_is_told_in_a_few_lines(small: tuple[Upstream, dict[str, Any]], tmp_path: Path) -> None:
    state = dict(small[0].model.net.state_dict())
    state = {name: value for name, value in state.items() if not name.endswith(".bias")}
    state |= {f"blocks.9.{index}.weight": torch.ones(2) for index in range(20)}
    state["blocks.2.net.skip.blocks.0.1.weight"] = torch.ones(5, 7)
    with pytest.raises(ValueError, match=r"of \d+ tensors fit \(\d+ %\)") as refusal:
        read(save(state, tmp_path / "odd.pt"))
    lines = str(refusal.value).splitlines()
    assert len(lines) <= 15
    assert "20 unexpected, such as" in lines
    assert "  blocks.2.net.skip.blocks.0.1.weight is [5, 7], not [2, 32]" in lines
    without_a_way_in = {name: value for name, value in state.items() if "blocks.2.net.skip" not in name}
    with pytest.raises(ValueError, match="of 595 tensors fit"):
        read(save(without_a_way_in, tmp_path / "odd.pt"))


def test_explain_mismatch() -> None:
    network = dict(nn.Linear(2, 3).state_dict())
    assert explain_mismatch(network, network) == ""
    found = {"weight": torch.ones(3, 4), "scale": torch.ones(())}
    assert explain_mismatch(network, found).splitlines() == [
        "0 of 2 tensors fit (0 %)",
        "1 missing:",
        "  bias [3]",
        "1 unexpected:",
        "  scale []",
        "1 of another shape:",
        "  weight is [3, 4], not [3, 2]",
    ]


def test_a_config_of_another_network_is_refused(small: tuple[Upstream, dict[str, Any]], tmp_path: Path) -> None:
    path = save(small[1], tmp_path / "kicks.ckpt")
    other = write_config(tmp_path / "config.yaml", SMALL | {"items": [1, 1, 1], "attention_features": 4})
    with pytest.raises(ValueError, match="describes another network") as refusal:
        read(path)
    assert "  items: [1, 1, 1] there, [1, 1, 2] in the weights" in str(refusal.value).splitlines()
    assert "attention_features: 4 there, 2 in the weights" in str(refusal.value)
    other.write_text("trainer: {}\n")
    assert network_of(read(path)) == SMALL  # somebody else's config.yaml, which happens to lie there
    with pytest.raises(ValueError, match=r"model\.model\.channels is missing"):
        read(path, config_file=other)
    other.write_text("a: [")
    with pytest.raises(ValueError, match="no YAML file"):
        read(path)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml"):
        read(path, config_file=tmp_path / "nowhere.yaml")


class Spell:
    """A pickle that does something when it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def test_nothing_in_a_file_is_run(small: tuple[Upstream, dict[str, Any]], tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    path = save(small[1] | {"spell": Spell(proof)}, tmp_path / "evil.ckpt")
    assert recognise(path) == "tiny-audio-diffusion"
    with pytest.raises(ValueError, match=r"would run \w+\.mkdir.*allow_pickle=true"):
        read(path)
    assert not proof.exists()
    read(path, allow_pickle=True)
    assert proof.exists()


def test_a_pickle_with_more_than_weights(small: tuple[Upstream, dict[str, Any]], tmp_path: Path) -> None:
    path = save(small[1] | {"hyper_parameters": Fraction(1, 2)}, tmp_path / "kicks.ckpt")
    with pytest.raises(ValueError, match=r"fractions\.Fraction"):
        read(path)
    assert read(path, allow_pickle=True).step == 3


def test_files_of_others_are_not_recognised(small: tuple[Upstream, dict[str, Any]], tmp_path: Path) -> None:
    content = {"config": "steps: 1", "state_dict": {"diffusion.network.time.frequencies": torch.ones(2)}}
    ours = save(content, tmp_path / "ours.ckpt")
    text = tmp_path / "text.ckpt"
    text.write_text("version https://git-lfs.github.com/spec/v1\n")
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes(save(small[1], tmp_path / "whole.ckpt").read_bytes()[:20000])
    (tmp_path / "bad.safetensors").write_bytes(b"nothing of the kind")
    for path in (ours, text, cut, tmp_path / "bad.safetensors", tmp_path / "nowhere.ckpt", tmp_path):
        assert recognise(path) is None
    for path in (text, cut, tmp_path / "bad.safetensors"):
        with pytest.raises(ValueError, match="is damaged, or no file of weights"):
            read(path)
    with pytest.raises(ValueError, match="holds no network that can be read"):
        read(ours)
    with pytest.raises(FileNotFoundError, match="should hold one file of weights"):
        read(tmp_path)
